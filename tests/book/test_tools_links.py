"""Links: what counts as a reference, which anchors there are, and what is reported as
broken.
"""

import subprocess
from pathlib import Path

import nbformat
import pytest

from book.tools.markdown import headings, labels, references, slugs

TEXT = """\
# A *first* `title`

A [link](a.md) and
![a picture](b.png), $f[x](y)$, `[code](no)`, <https://a.org> and \
<a href="c.md">this</a>.

```{figure} d.png
:name: fig-d
:alt: a drawing

A caption with a [link](e.md).
```

:::{note}
Look
[there](f.md#part) and {cite}`hinton2006, kingma2014`.
:::

```python
"[no](link)"
```

<div id="here"><img src="g.png"></div>

(a-label)=
## A title

## A title

| a |
|---|
| [cell](h.md) |
"""


def test_references_are_found_with_their_lines() -> None:
    found = [
        (reference.line, reference.kind, reference.target, reference.alt)
        for reference in references(TEXT)
    ]
    assert found == [
        (3, "link", "a.md", None),
        (4, "image", "b.png", "a picture"),
        (4, "link", "https://a.org", None),
        (4, "link", "c.md", None),
        (6, "image", "d.png", "a drawing"),
        (10, "link", "e.md", None),
        (15, "link", "f.md#part", None),
        (15, "cite", "hinton2006", None),
        (15, "cite", "kingma2014", None),
        (22, "image", "g.png", None),
        (31, "link", "h.md", None),
    ]


def test_anchors_are_githubs_and_the_texts_own() -> None:
    assert slugs(headings(TEXT)) == ["a-first-title", "a-title", "a-title-1"]
    assert slugs(["1. KL(q ‖ p), and how", "It's β_t!"]) == [
        "1-klq--p-and-how",
        "its-β_t",
    ]
    assert labels(TEXT) == {"fig-d", "here", "a-label"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[a](nowhere.md)", "nowhere.md leads nowhere: there is no nowhere.md"),
        (
            "[a](claims.md#nothing)",
            "claims.md#nothing leads nowhere: book/claims.md has no heading or "
            "label #nothing",
        ),
        (
            "[a](#nothing)",
            "#nothing leads nowhere: book/intro.md has no heading or label #nothing",
        ),
        (
            "[a](../chapters/01_autoencoder.ipynb#area)",
            "chapters/01_autoencoder.ipynb has no heading or label #area",
        ),
        ("[a](/book/claims.md)", "/book/claims.md begins with /"),
        ("[a](../../secret.md)", "there is no ../../secret.md"),
        (
            "[a](http://example.org)",
            "http://example.org: write an address that begins with https://",
        ),
        ("[a](https://example)", "https://example is no address"),
        ("![](../chapters)", "the picture ../chapters has no alt text"),
        ("![a](no.png)", "no.png leads nowhere"),
        (
            '<img src="data:image/png;base64,AA">',
            "the picture data:image/png;base64,AA has no alt text",
        ),
        ("{cite}`nobody1999`", "book/references.bib has no entry nobody1999"),
        (
            "[a](https://arxiv.org/abs/1312.6114)",
            "https://arxiv.org/abs/1312.6114 cites a paper",
        ),
        (
            "[a](https://doi.org/10.1000/182)",
            "https://doi.org/10.1000/182 cites a paper",
        ),
        ("Look at chapter 20.", "there is no chapter 20: the outline ends with 19"),
        (
            "[chapter 2](../chapters/01_autoencoder.ipynb#areas)",
            "chapter 2 is 02_vae.ipynb, not ../chapters/01_autoencoder.ipynb#areas",
        ),
    ],
)
def test_a_broken_reference_is_reported_with_its_line(
    tool, tree: Path, line: str, message: str
) -> None:
    page = tree / "book/intro.md"
    page.write_text(page.read_text() + f"\n{line}\n")
    done = tool("links")
    assert done.returncode == 1
    assert [
        problem
        for problem in done.stdout.splitlines()
        if problem.startswith("book/intro.md:5: ") and message in problem
    ]


def test_references_that_lead_somewhere_pass(tool, tree: Path) -> None:
    lines = [
        "(mine)=\n## Here and there\n",
        "[a](#mine) [b](#here-and-there) [c](claims.md#the-claims-one-by-one) "
        "[d](../Makefile) [e](mailto:a@b.org)",
        "[f](https://arxiv.org/abs/2006.00001v2) [g](https://arxiv.org/pdf/2006.00001)",
        "{cite}`hinton2006` [h](../README.md)",
        "![alt](data:image/png;base64,AA)",
        "Chapters 12 to 19, [chapter 1](../chapters/01_autoencoder.ipynb) and "
        "[chapter 12](claims.md)",
    ]
    page = tree / "book/intro.md"
    page.write_text(page.read_text() + "\n" + "\n".join(lines))
    done = tool("links")
    assert done.returncode == 0, done.stdout


def test_a_broken_link_in_a_notebook_names_cell_and_line(tool, chapter: Path) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[4].source += "\n![](x.png)"
    nbformat.write(notebook, chapter)
    done = tool("links")
    assert done.returncode == 1
    assert (
        "chapters/01_autoencoder.ipynb:cell 5, line 4: the picture x.png has no "
        "alt text" in done.stdout
    )


def test_the_table_of_contents_and_the_chapters_agree(
    tool, tree: Path, chapter: Path
) -> None:
    (tree / "_toc.yml").write_text(
        (tree / "_toc.yml").read_text().replace("book/claims", "book/missing")
    )
    (tree / "chapters/02_vae.ipynb").write_bytes(chapter.read_bytes())
    done = tool("links")
    assert done.returncode == 1
    assert "_toc.yml:5: there is no book/missing.md or .ipynb" in done.stdout
    assert "_toc.yml:1: it does not name chapters/02_vae.ipynb" in done.stdout


def track(tree: Path) -> None:
    """Make the tiny book a repository that tracks all that stands there."""
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tree, check=True)


def test_what_git_does_not_track_is_no_part_of_the_book(
    tool, tree: Path, chapter: Path
) -> None:
    """The README's example writes a picture beside it, and Jupyter an Untitled.ipynb
    beside the chapters.
    """
    track(tree)
    (tree / "glide_portraits.png").write_bytes(b"")
    (tree / "notes.md").write_text("[a](nowhere.md)")
    (tree / "chapters/Untitled.ipynb").write_text("not json")
    for command in (["links"], ["mirror", "--check"], ["notebook", "check"]):
        done = tool(*command)
        assert done.returncode == 0, done.stdout


def test_the_readmes_tree_and_the_tree_agree(tool, tree: Path) -> None:
    readme = tree / "README.md"
    readme.write_text(
        readme.read_text()
        .replace("  01_autoencoder.ipynb", "  01_encoder.ipynb")
        .replace("_toc.yml ", "toc.yml ")
    )
    (tree / "notes.txt").write_text("new")
    track(tree)
    done = tool("links")
    assert done.returncode == 1
    assert (
        "README.md:8: the tree names chapters/01_encoder.ipynb, which does not exist"
        in done.stdout
    )
    assert "README.md:5: the tree names toc.yml, which does not exist" in done.stdout
    assert "README.md:3: the tree does not name _toc.yml" in done.stdout
    assert "README.md:3: the tree does not name notes.txt" in done.stdout


def test_a_readme_without_a_tree(tool, tree: Path) -> None:
    (tree / "README.md").write_text("# Tiny\n")
    done = tool("links")
    assert done.returncode == 1
    assert "README.md:1: it shows no tree" in done.stdout
