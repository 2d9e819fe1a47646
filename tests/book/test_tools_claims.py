"""The index of claims, and the records that it is written from."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

RECORD = "minilib/experiments/evidence/AE-1.json"


def change(chapter: Path, cell: int, **fields: Any) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[cell].update(fields)
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def row(tree: Path, id: str) -> str:
    """The claim's row on the written page."""
    lines = (tree / "book/claims.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(f"| {id} |")]
    assert len(rows) == 1
    return rows[0]


def test_a_measured_claim_shows_all_that_decides_it(tree: Path) -> None:
    found = row(tree, "AE-1")
    for text in (
        "[**holds**](../chapters/01_autoencoder.ipynb#what-was-claimed)",
        "big \\| small: **6**, 3.52 to 8.48 (holds)",
        "3 training seeds; quick size",
        "`python -m minilib measure AE-1 --size quick`",
    ):
        assert text in found


def test_the_page_opens_with_a_picture_of_all_intervals(tree: Path) -> None:
    text = (tree / "book/claims.md").read_text()
    assert text.count("<svg") == 1
    assert text.count("<circle") == 1
    assert text.index("<svg") < text.index("| ID |")


def test_the_other_claims_are_planned_in_their_chapters(tree: Path) -> None:
    assert "| planned: chapter 1 |" in row(tree, "AE-2")
    assert "| planned: chapter 2 |" in row(tree, "VAE-1")
    assert "| planned: chapter 19 |" in row(tree, "SAM-6")


def test_another_record_ages_page_and_chapter(tool, tree: Path) -> None:
    assert tool("claims", "--check").returncode == 0
    record = json.loads((tree / RECORD).read_text())
    record["minutes"] = 12.3
    (tree / RECORD).write_text(json.dumps(record))
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "book/claims.md is stale; run: make claims" in done.stdout
    assert "claim AE-1 shows another record" in done.stdout
    assert "run: make chapter N=01" in done.stdout


def test_a_record_of_earlier_code_is_named(tool, tree: Path) -> None:
    before = row(tree, "AE-1")
    shapes = tree / "minilib/shapes.py"
    shapes.write_text(shapes.read_text().replace("side * side", "side + side"))
    done = tool("claims", "--check")
    assert "AE-1 was measured with earlier code" in done.stdout
    assert "run: make evidence ID=AE-1" in done.stdout
    assert tool("claims").returncode == 0
    assert "**holds**](" in row(tree, "AE-1")
    assert "(by earlier code)" in row(tree, "AE-1")
    assert "(by earlier code)" not in before


def test_a_docstring_ages_no_record(tool, tree: Path) -> None:
    shapes = tree / "minilib/shapes.py"
    shapes.write_text(shapes.read_text().replace("Side times side.", "Its square."))
    assert "earlier code" not in tool("claims", "--check").stdout


def test_a_missing_and_a_damaged_record_are_named(tool, tree: Path) -> None:
    (tree / RECORD).write_text((tree / RECORD).read_text()[:99])
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert f"{RECORD} is truncated or no record" in done.stdout
    (tree / RECORD).unlink()
    done = tool("claims", "--check")
    assert "claim AE-1 has an experiment but no record" in done.stdout


def test_a_record_of_no_claim_is_reported(tool, tree: Path) -> None:
    text = (tree / RECORD).read_text().replace('"AE-1"', '"AE-99"')
    (tree / RECORD).with_name("AE-99.json").write_text(text)
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "AE-99.json: no claim AE-99 is listed" in done.stdout


def test_a_record_that_no_chapter_shows(tool, chapter: Path) -> None:
    change(chapter, 5, metadata={}, outputs=[])
    done = tool("claims", "--check")
    assert "claim AE-1 has a record, but no chapter shows it" in done.stdout


def test_a_tag_without_a_record(tool, chapter: Path) -> None:
    change(chapter, 3, metadata={"tags": ["claim:AE-2"]})
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "cell 4: claim AE-2 is tagged but its output shows no record" in done.stdout


def test_a_record_without_a_tag(tool, chapter: Path) -> None:
    change(chapter, 5, metadata={})
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "cell 6: claim AE-1 is shown, but its cell has no tag" in done.stdout


def test_a_tag_and_a_record_that_differ(tool, chapter: Path) -> None:
    change(chapter, 5, metadata={"tags": ["claim:AE-2"]})
    done = tool("claims", "--check")
    assert "claim AE-2 is tagged but" in done.stdout
    assert "claim AE-1 is shown, but" in done.stdout


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
    notebook = nbformat.read(chapter, as_version=4)
    data = notebook.cells[-1].outputs[0].data
    data["application/vnd.minilib.claim+json"].update(id=id)
    notebook.cells[-1].metadata["tags"] = [f"claim:{id}"]
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert f"claim {id}" in done.stdout
    assert message in done.stdout


def test_a_claim_is_shown_once(tool, chapter: Path) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells.append(nbformat.from_dict({**notebook.cells[-1], "id": "again"}))
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    done = tool("claims", "--check")
    assert done.returncode == 1
    assert "claim AE-1 is shown twice" in done.stdout
