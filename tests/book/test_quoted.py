import json
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from book.tools import quoted
from minilib.weights import card


def test_a_card_is_quoted():
    facts = card("ddpm_digits")
    fd = facts["samples"]["fd"]
    assert quoted.card_text("ddpm_digits", "samples.fd", ".2f")[0] == (
        f"{statistics.mean(fd):.2f} ± {statistics.stdev(fd):.2f}"
    )
    assert (
        quoted.card_text("ddpm_digits", "parameters", ",")[0]
        == f"{facts['parameters']:,}"
    )


def test_a_claim_is_quoted_from_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(quoted, "EVIDENCE", tmp_path)
    measured = {"middle": 0.123456, "low": 0.1, "high": 0.15}
    parts = [measured, {"error": 3e-15, "bound": 1e-12}]
    (tmp_path / "AE-1.json").write_text(
        json.dumps({"outcome": "holds", "parts": parts})
    )
    assert quoted.claim_text("AE-1") == ("AE-1 holds", tmp_path / "AE-1.json")
    assert quoted.claim_text("AE-1", "0")[0] == "0.123 (0.1 to 0.15)"
    assert quoted.claim_text("AE-1", "1")[0] == "3e-15"


def run(name, text):
    role, noted = quoted.Quoted(), []
    document = new_document("page")
    document.reporter.stream = None
    document.settings.env = SimpleNamespace(note_dependency=noted.append)
    inliner = SimpleNamespace(reporter=document.reporter, document=document)
    return *role(name, f"{{{name}}}`{text}`", text, 1, inliner), noted


def test_a_page_depends_on_what_it_quotes():
    (found,), messages, (path,) = run("card", "ddpm_digits parameters ,")
    assert isinstance(found, nodes.Text)
    assert messages == []
    assert json.loads(Path(path).read_text())["name"] == "ddpm_digits"


@pytest.mark.parametrize(
    "text",
    [
        "card nothing parameters",
        "card ddpm_digits samples.beauty",
        "card",
        "measured AE-99",
        "measured AE-1 9",
    ],
)
def test_what_is_not_there_is_an_error(text):
    name, _, what = text.partition(" ")
    found, messages, _ = run(name, what)
    assert found == []
    assert "nothing to quote" in messages[0].astext()
