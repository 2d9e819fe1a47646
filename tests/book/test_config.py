import yaml
from sphinx.project import Project

from book.tools.common import ROOT


def test_what_tools_leave_lying_about_is_no_page(tmp_path):
    """A page that no contents list names is a warning, and a warning fails `make
    book`.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    left = [
        ".text/01_autoencoder.md",
        ".pytest_cache/README.md",
        "runs/a/notes.md",
        ".venv/lib/x.md",
        "README.md",
    ]
    pages = ["book/intro.md", "chapters/01_autoencoder.md"]
    for name in [*left, *pages]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = Project(tmp_path, {".md": "markdown"}).discover(config["exclude_patterns"])
    assert sorted(found) == ["book/intro", "chapters/01_autoencoder"]
