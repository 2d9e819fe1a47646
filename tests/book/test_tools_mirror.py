"""The mirror: what it takes from the library, and what it reports."""

import ast
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib.experiments.stamp import definitions

BLOCKS = {
    "assignment": "{name} = [\n    1,  # one\n]",
    "annotated": "{name}: int = 1",
    "commented": "# why {name}\n# is what it is\n{name} = 1",
    "function": "def {name}(x):\n    # inside\n    return x  # after",
    "decorated": "# why\n@property\n@staticmethod\ndef {name}(\n    x,\n): ...",
    "class": (
        '@dataclass(frozen=True)\nclass {name}:\n    """A doc."""\n\n'
        "    def method(self):\n        return 1"
    ),
}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(BLOCKS)),
            st.sampled_from(["\n\n", "\n\n\n", "\n\n# far away\n\n"]),
        )
    )
)
def test_a_definition_is_taken_with_its_decorators_and_comments(
    parts: list[tuple[str, str]],
) -> None:
    blocks = {
        f"name_{i}": BLOCKS[kind].format(name=f"name_{i}")
        for i, (kind, _) in enumerate(parts)
    }
    text = '"""A module."""\n\nimport os\n\n'
    text += "".join(
        block + gap for block, (_, gap) in zip(blocks.values(), parts, strict=True)
    )
    ast.parse(text)
    assert dict(definitions(text)) == blocks


def edit(chapter: Path, cell: int, old: str, new: str) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    assert old in notebook.cells[cell].source
    notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)
    nbformat.write(notebook, chapter)


def test_a_tree_in_order_passes_and_is_left_alone(tool, chapter: Path) -> None:
    before = chapter.read_bytes()
    assert tool("mirror", "--check").returncode == 0
    assert tool("mirror").returncode == 0
    assert chapter.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("side * side", "4 * side"),
        ("# not 4·side: that is the outline", "# an area"),
        ("= 3.0", "= 2.0"),
    ],
)
def test_a_drifted_cell_is_reported_and_mirror_mends_it(
    tool, chapter: Path, old: str, new: str
) -> None:
    before = chapter.read_bytes()
    edit(chapter, 2, old, new)
    done = tool("mirror", "--check")
    assert done.returncode == 1
    assert (
        "chapters/01_autoencoder.ipynb, cell 3 differs from its owner, "
        "minilib.shapes: SIDE, area" in done.stdout
    )
    assert "make mirror, make chapter N=01" in done.stdout
    removed = [
        line
        for line in done.stdout.splitlines()
        if line.startswith("    -") and new in line
    ]
    added = [
        line
        for line in done.stdout.splitlines()
        if line.startswith("    +") and old in line
    ]
    assert removed, done.stdout
    assert added, done.stdout
    assert tool("mirror").returncode == 0
    assert chapter.read_bytes() == before


def test_a_changed_library_reaches_the_cell(tool, tree: Path, chapter: Path) -> None:
    library = tree / "minilib/shapes.py"
    library.write_text(library.read_text().replace("Side times side.", "Side by side."))
    assert tool("mirror", "--check").returncode == 1
    done = tool("mirror")
    assert "make chapter N=01" in done.stdout
    source = nbformat.read(chapter, as_version=4).cells[2].source
    assert '"""Side by side."""' in source
    assert source.startswith("# minilib.shapes: SIDE, area\n# The side that")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("minilib.shapes: AREA", "minilib.shapes defines no AREA"),
        ("minilib.circles: area", "there is no module minilib.circles"),
    ],
)
def test_an_owner_that_does_not_exist(
    tool, chapter: Path, line: str, message: str
) -> None:
    edit(chapter, 2, "minilib.shapes: SIDE, area", line)
    before = chapter.read_bytes()
    for command in (("mirror", "--check"), ("mirror",)):
        done = tool(*command)
        assert done.returncode == 1
        assert f"cell 3: {message}" in done.stdout
    assert chapter.read_bytes() == before


def test_one_chapter_introduces_each_object(tool, tree: Path, chapter: Path) -> None:
    (tree / "chapters/02_vae.ipynb").write_bytes(chapter.read_bytes())
    done = tool("mirror", "--check")
    assert done.returncode == 1
    assert (
        "chapters/02_vae.ipynb, cell 3 defines area, which "
        "chapters/01_autoencoder.ipynb introduced" in done.stdout
    )


def test_a_draft_may_not_take_a_name_of_the_library(tool, chapter: Path) -> None:
    edit(chapter, 3, "area(2.0)", "class Square:\n    pass")
    done = tool("mirror", "--check")
    assert done.returncode == 1
    assert "cell 4 defines Square, which the library owns" in done.stdout
    assert "'# minilib.shapes: Square'" in done.stdout


def test_drafts_of_two_chapters_have_names_of_their_own(tool, tree: Path) -> None:
    for name in ("02_vae", "03_denoising"):
        cells = [
            nbformat.v4.new_code_cell("def toy():\n    return 1"),
            nbformat.v4.new_code_cell("def toy():\n    return 2"),
        ]
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells), tree / f"chapters/{name}.ipynb"
        )
    done = tool("mirror", "--check")
    assert done.returncode == 1
    assert (
        "chapters/03_denoising.ipynb, cell 1 defines toy, which "
        "chapters/02_vae.ipynb introduced" in done.stdout
    )
    # a chapter may improve a draft of its own
    assert "chapters/02_vae.ipynb, cell 2" not in done.stdout
