"""The index of claims, and the evidence at full size."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest


def change(chapter: Path, cell: int, **fields: Any) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[cell].update(fields)
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def set_record(chapter: Path, **fields: Any) -> None:
    """Change the stored claim record."""
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[-1].outputs[0].data["application/vnd.minilib.claim+json"].update(
        fields
    )
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def row(tree: Path, id: str) -> str:
    """The claim's row on the written page."""
    rows = [
        line
        for line in (tree / "book/claims.md").read_text().splitlines()
        if line.startswith(f"| {id} |")
    ]
    assert len(rows) == 1
    return rows[0]


def test_a_measured_claim_shows_its_outcome_its_numbers_and_its_section(
    tree: Path,
) -> None:
    link = "[**holds**](../chapters/01_autoencoder.ipynb#what-was-claimed)"
    assert row(tree, "AE-1").endswith(
        f"| {link}<br>At quick budget:<br>big \\| small: 6.5 ± 3.5 |"
    )


def test_the_other_claims_are_planned_in_their_chapters(tree: Path) -> None:
    assert row(tree, "AE-2").endswith("| planned: chapter 1 |")
    assert row(tree, "VAE-1").endswith("| planned: chapter 2 |")
    assert row(tree, "SAM-6").endswith("| planned: chapter 19 |")


@pytest.mark.parametrize("outcome", ["fails at our scale", "inconclusive"])
def test_a_changed_outcome_makes_the_page_stale(
    tool, tree: Path, chapter: Path, outcome: str
) -> None:
    assert tool("claims", "--check").returncode == 0
    set_record(chapter, outcome=outcome)
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "book/claims.md is stale; run: make claims" in done.stdout
    assert tool("claims").returncode == 0
    assert f"[**{outcome}**]" in row(tree, "AE-1")
    assert tool("claims", "--check").returncode == 0


def test_a_tag_without_a_record(tool, chapter: Path) -> None:
    change(chapter, 3, metadata={"tags": ["claim:AE-2"]})
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert (
        "cell 4: claim AE-2 is tagged but its output holds no record of it; run: "
        "make chapter N=01" in done.stdout
    )


def test_a_record_without_a_tag(tool, chapter: Path) -> None:
    change(chapter, 5, metadata={})
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert (
        "cell 6: claim AE-1 is recorded, but its cell has no tag claim:AE-1"
        in done.stdout
    )


def test_a_tag_and_a_record_that_differ(tool, chapter: Path) -> None:
    change(chapter, 5, metadata={"tags": ["claim:AE-2"]})
    done = tool("claims", "--check")
    assert "claim AE-2 is tagged but" in done.stdout
    assert "claim AE-1 is recorded, but" in done.stdout


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("AE-99", "not listed in book/chapters.yml"),
        ("VAE-1", "belongs to 02_vae in book/chapters.yml"),
    ],
)
def test_a_claim_of_no_chapter_or_of_another(
    tool, chapter: Path, id: str, message: str
) -> None:
    change(chapter, 5, metadata={"tags": [f"claim:{id}"]})
    set_record(chapter, id=id)
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert f"claim {id}" in done.stdout
    assert message in done.stdout


def test_a_claim_is_measured_once(tool, chapter: Path) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells.append(nbformat.from_dict({**notebook.cells[-1], "id": "again"}))
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "claim AE-1 is measured twice" in done.stdout


def test_an_unknown_outcome(tool, chapter: Path) -> None:
    set_record(chapter, outcome="maybe")
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "unknown outcome 'maybe'" in done.stdout


def test_evidence_is_measured_on_a_copy_at_the_full_budget(
    tool, tree: Path, chapter: Path
) -> None:
    before = chapter.read_bytes()
    done = tool("evidence", "AE-1")
    assert done.returncode == 0, done.stdout
    assert chapter.read_bytes() == before
    evidence = json.loads((tree / "book/evidence/AE-1.json").read_text())
    assert evidence["budget"] == "full"
    assert evidence["command"] == "make evidence ID=AE-1"
    assert (
        evidence["code"]
        == nbformat.read(chapter, as_version=4).metadata.drawn_from_noise.executed
    )
    assert "1 thread" in evidence["machine"]
    assert {
        "minutes",
        "date",
        "numbers",
        "seeds",
        "rule",
        "outcome",
        "statement",
    } <= evidence.keys()
    assert tool("claims", "--check").returncode == 1
    assert tool("claims").returncode == 0
    assert "<br>**holds**<br>At full size:<br>big \\| small: 6.5 ± 3.5 |" in row(
        tree, "AE-1"
    )


def test_evidence_of_earlier_code_is_marked(tool, tree: Path) -> None:
    numbers = [{"name": "a", "values": [1.0, 1.0], "median": 1.0, "std": 0.0}]
    (tree / "book/evidence").mkdir()
    record = {
        "id": "AE-1",
        "outcome": "inconclusive",
        "budget": "full",
        "numbers": numbers,
        "code": "0123456789abcdef",
    }
    (tree / "book/evidence/AE-1.json").write_text(json.dumps(record))
    assert tool("claims").returncode == 0
    assert "**inconclusive** (by earlier code)" in row(tree, "AE-1")


def test_evidence_for_no_claim_is_reported(tool, tree: Path) -> None:
    (tree / "book/evidence").mkdir()
    (tree / "book/evidence/AE-99.json").write_text("{}")
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "book/evidence/AE-99.json: no claim AE-99 is listed" in done.stdout


def test_an_unknown_claim_lists_the_known_ones(tool, tree: Path) -> None:
    done = tool("evidence", "AE-1", "AE-9")
    assert done.returncode == 1
    assert "no chapter measures AE-9: the measured claims are AE-1" in done.stdout
    assert not (tree / "book/evidence").exists()


def test_a_claim_cell_that_gives_no_record_leaves_no_evidence(
    tool, tree: Path, chapter: Path
) -> None:
    change(chapter, 5, source="1 + 1")
    done = tool("evidence")
    assert done.returncode == 1
    assert "its cell tagged claim:AE-1 gave no record" in done.stdout
    assert not list(tree.glob("book/evidence/*"))
