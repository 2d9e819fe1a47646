"""Chapters: text and back, execution, the stamp, and what the check reports."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from book.tools.digest import digest
from book.tools.notebook import COLOURS, quantised
from book.tools.sources import imports, parse_cell
from minilib.experiments.stamp import weights_named
from minilib.plot import curves, to_png


def change(chapter: Path, how: Callable[[Any], object]) -> None:
    """Rewrite the notebook after `how(notebook)` changed it."""
    notebook = nbformat.read(chapter, as_version=4)
    how(notebook)
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def test_what_run_leaves_passes_the_check_and_running_again_changes_no_byte(
    tool, chapter: Path
) -> None:
    assert tool("notebook", "check").returncode == 0
    before = chapter.read_bytes()
    assert tool("notebook", "run", "--once", "01").returncode == 0
    assert chapter.read_bytes() == before


def test_run_stores_outputs_counts_and_stamp_and_nothing_else(chapter: Path) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4]
    assert code[2].outputs[0].data["text/plain"] == "4.0"
    assert notebook.metadata.keys() == {
        "kernelspec",
        "language_info",
        "drawn_from_noise",
    }
    assert [dict(cell.metadata) for cell in code] == [
        {},
        {},
        {},
        {"tags": ["claim:AE-1"]},
    ]


def append(source: str) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells.append(nbformat.v4.new_code_cell(source))


def test_a_failing_cell_is_shown_and_leaves_the_file_as_it_was(
    tool, chapter: Path
) -> None:
    change(chapter, append("answer = 41\nassert answer == 42, 'not yet'"))
    before = chapter.read_bytes()
    done = tool("notebook", "run", "--once", "01_autoencoder")
    assert done.returncode == 1
    assert "chapters/01_autoencoder.ipynb is unchanged" in done.stdout
    assert "assert answer == 42" in done.stdout
    assert "AssertionError: not yet" in done.stdout
    assert chapter.read_bytes() == before
    assert [path.name for path in chapter.parent.iterdir()] == [chapter.name]


def test_an_output_that_another_processor_changes_is_refused(
    tool, chapter: Path
) -> None:
    told = "import os\n'ATEN_CPU_CAPABILITY' in os.environ"
    change(chapter, append(told))
    before = chapter.read_bytes()
    done = tool("notebook", "run")
    assert done.returncode == 1
    assert "is unchanged, since these outputs differ" in done.stdout
    assert "ATEN_CPU_CAPABILITY" in done.stdout  # the cell is shown
    assert chapter.read_bytes() == before
    assert [path.name for path in chapter.parent.iterdir()] == [chapter.name]
    change(chapter, lambda notebook: notebook.cells[-1].metadata.update(tagged))
    assert tool("notebook", "run").returncode == 0


tagged = {"tags": ["nbval-ignore-output"]}


def test_a_kernel_that_dies_leaves_the_file_as_it_was(tool, chapter: Path) -> None:
    change(chapter, append("import os\nos._exit(1)"))
    before = chapter.read_bytes()
    done = tool("notebook", "run", "--once")
    assert done.returncode == 1
    assert "is unchanged" in done.stdout
    assert chapter.read_bytes() == before


def test_the_kernel_has_one_thread_the_quick_budget_and_the_chapters_folder(
    tool, chapter: Path, monkeypatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MINILIB_BUDGET", raising=False)
    monkeypatch.setenv("MINILIB_PRECISION", "bf16")
    source = (
        "import os\nprint(os.environ['MINILIB_BUDGET'], os.environ['OMP_NUM_THREADS'], "
        "os.environ['MINILIB_PRECISION'], os.path.basename(os.getcwd()))"
    )
    change(chapter, append(source))
    assert tool("notebook", "run", "--once").returncode == 0
    assert (
        nbformat.read(chapter, as_version=4).cells[-1].outputs[0].text
        == "quick 1 float32 chapters\n"
    )


def test_pictures_are_quantised_and_widgets_dropped(tool, chapter: Path) -> None:
    source = (
        "import io, random\nfrom PIL import Image\nfrom IPython.display import "
        "Image as Show, display\n"
        "from tqdm.auto import tqdm\nlist(tqdm(range(3)))\n"
        "pixels = bytes(random.Random(0).choices(range(100, 108), k=64 * 64 * "
        "3))\nfile = io.BytesIO()\n"
        "Image.frombytes('RGB', (64, 64), pixels).save(file, "
        "'PNG')\ndisplay(Show(file.getvalue()))\n"
        "from base64 import b64encode\nfrom IPython.display import HTML\n"
        "text = b64encode(file.getvalue()).decode()\ndisplay(HTML(f'<img "
        'src="data:image/png;base64,{text}">\'))\n'
        "len(file.getvalue())"
    )
    change(chapter, append(source))
    assert tool("notebook", "run", "--once").returncode == 0
    outputs = nbformat.read(chapter, as_version=4).cells[-1].outputs
    kinds = [["image/png", "text/plain"], ["text/html", "text/plain"], ["text/plain"]]
    assert [sorted(output.data) for output in outputs] == kinds
    stored = outputs[0].data["image/png"].strip()
    assert len(base64.b64decode(stored)) < int(outputs[2].data["text/plain"])
    assert stored in outputs[1].data["text/html"]
    assert tool("notebook", "check").returncode == 0


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["RGB", "RGBA", "L", "P"]),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([8, 256]),
)
def test_quantised_pictures_are_smaller_same_sized_repeatable_and_look_alike(
    seed: int, mode: str, side: int, opaque: bool, greys: int
) -> None:
    pixels = np.random.default_rng(seed).integers(
        0, greys, (side, side, 4), dtype=np.uint8
    )
    if opaque:
        pixels[..., 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    png = file.getvalue()
    small = quantised(png)
    assert len(small) <= len(png)
    assert quantised(png) == small
    assert Image.open(io.BytesIO(small)).size == (side, side)
    if len(small) < len(png):
        assert len(Image.open(io.BytesIO(small)).getcolors() or []) <= max(COLOURS)
    before, after = (
        np.asarray(Image.open(io.BytesIO(p)).convert("RGBA"), int) for p in (png, small)
    )
    assert np.abs(before - after).mean(axis=(0, 1)).max() <= 2


def test_what_128_colours_do_not_serve_gets_256() -> None:
    shades = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.repeat(shades, 80, axis=0).reshape(200, 80, 3)).save(file, "PNG")
    stored = Image.open(io.BytesIO(quantised(file.getvalue())))
    assert stored.mode == "P"
    assert len(stored.getcolors() or []) == 200
    assert np.array_equal(np.asarray(stored.convert("RGB"))[:, 0], shades)


def test_a_figure_is_stored_in_half_its_bytes() -> None:
    png = to_png(curves({"a": (range(200), np.sin(np.arange(200) / 9))}, "t", "v"))
    assert len(quantised(png)) < min(40_000, len(png) / 2)


def test_what_is_transparent_stays_as_it_is() -> None:
    pixels = np.full((64, 64, 4), 200, dtype=np.uint8)
    pixels[:32, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert quantised(file.getvalue()) == file.getvalue()


def swap(notebook: Any) -> None:
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = 2, 1


def store_error(notebook: Any) -> None:
    notebook.cells[3].outputs = [
        nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=[])
    ]


def store_warning(notebook: Any) -> None:
    notebook.cells[3].outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="UserWarning: old\n")
    ]


def store_widget(notebook: Any) -> None:
    data = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        "text/plain": "0%",
    }
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", data)]


def store_formula(notebook: Any) -> None:
    data = {
        "text/html": "<figure><figcaption>Drawn with $w = 3$.</figcaption></figure>",
        "text/plain": "Figure",
    }
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", data)]


def store_print(text: str, *tags: str) -> Callable[[Any], None]:
    def store(notebook: Any) -> None:
        cell = notebook.cells[3]
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        cell.metadata.update({"tags": list(tags)} if tags else {})

    return store


FAULTS = {
    "rounding error": (
        store_print("largest difference 2.2e-16"),
        "cell 4 prints 2.2e-16, a rounding error",
    ),
    "stale": (lambda n: n.cells[3].update(source="area(5.0)"), "its outputs are stale"),
    "unstamped": (
        lambda n: n.metadata.pop("drawn_from_noise"),
        "its outputs are stale",
    ),
    "out of order": (swap, "not executed once each from top to bottom"),
    "never executed": (
        lambda n: n.cells[3].update(execution_count=None),
        "not executed once each from top to bottom",
    ),
    "error": (store_error, "cell 4 stores an error (ValueError)"),
    "warning": (store_warning, "cell 4 stores a warning ('UserWarning: old')"),
    "formula": (
        store_formula,
        "cell 4 has a caption with $w = 3$, which the page shows as it stands",
    ),
    "large": (
        lambda n: n.cells[0].update(source="x" * 1_600_000),
        "1.6 MB, more than 1.5",
    ),
    "timing": (
        lambda n: n.cells[3].metadata.update(execution={"a": 1}),
        "what an editor left there",
    ),
    "editor": (lambda n: n.metadata.update(vscode={}), "what an editor left there"),
    "widget": (store_widget, "what an editor left there"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_with_the_command_that_mends_it(
    tool, chapter: Path, fault: str
) -> None:
    how, message = FAULTS[fault]
    change(chapter, how)
    done = tool("notebook", "check")
    assert done.returncode == 1
    assert "chapters/01_autoencoder.ipynb: " in done.stdout
    assert message in done.stdout
    assert done.stdout.strip().endswith("run: make chapter N=01")


@pytest.mark.parametrize(
    "store",
    [
        store_print(
            "they agree to 1e-12, within 1e-10, at 2.5e-05 a step, or 1.2e-100"
        ),
        store_print("largest difference 2.2e-16", "nbval-ignore-output"),
    ],
)
def test_tolerances_and_small_numbers_may_be_printed(tool, chapter, store) -> None:
    change(chapter, store)
    done = tool("notebook", "check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "old", "new", "stale"),
    [
        # a default of the function that the chapter calls
        ("shapes", "SIDE = 3.0", "SIDE = 4.0", True),
        # a class that it does not use
        ("shapes", "self.side = side", "self.side = 2 * side", False),
        # through a decorator
        ("units", "return function", "return lambda side: function(side)", True),
        (
            "units",
            '"""Units."""',
            '"""Units."""\nimport math\n\n\ndef cubed(side):\n    return side**3',
            False,
        ),
        # what an import runs, whoever asked for it
        ("units", '"""Units."""', '"""Units."""\nassert True', True),
        ("__init__", '"""', '"""The library. ', False),
        ("units", '"""Units."""', '"""Units."""\n# a comment', False),
        (
            "shapes",
            "SIDE = 3.0",
            "SIDE = (3.0)  # another layout, and a comment",
            False,
        ),
        ("shapes", '"""Side times side."""', '"""Its size."""', False),
        ("shapes", '    """Side times side."""\n', "", False),
        # a module that it does not import
        ("experiments/measure", 'unit="seed"', 'unit="seeds"', False),
    ],
)
def test_outputs_are_stale_when_what_they_rest_on_changes(
    tool, tree: Path, chapter: Path, module: str, old: str, new: str, stale: bool
) -> None:
    change(chapter, append("shapes.area()"))
    assert tool("notebook", "run", "--once").returncode == 0
    file = tree / f"minilib/{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert tool("notebook", "check").returncode == int(stale)


@pytest.mark.parametrize(("side", "stale"), [("3.0", False), ("4.0", True)])
def test_a_library_that_moves_leaves_outputs_fresh(
    tool, tree: Path, chapter: Path, side: str, stale: bool
) -> None:
    """Modules into a folder, one of them split in two, and the imports with them."""
    change(chapter, append("shapes.area()"))
    assert tool("notebook", "run", "--once").returncode == 0
    room, library = tree / "minilib/rooms", tree / "minilib"
    room.mkdir()
    (room / "__init__.py").write_text('"""A room."""\n')
    (library / "units.py").rename(room / "measures.py")
    text = (library / "shapes.py").read_text().replace("SIDE = 3.0\n", "")
    text = text.replace("from minilib import units", MOVED_IMPORTS)
    (room / "plane.py").write_text(text)
    (room / "sides.py").write_text(f"SIDE = {side}\n")
    (library / "shapes.py").unlink()
    imported = "from minilib.rooms import measures as units\n" + (
        "from minilib.rooms import plane as shapes"
    )
    change(chapter, lambda notebook: notebook.cells[1].update(source=imported))
    assert tool("notebook", "check").returncode == int(stale)


MOVED_IMPORTS = """\
from minilib.rooms import measures as units
from minilib.rooms.sides import SIDE"""


def digest_of(*cells: str) -> str:
    return digest(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    )


SAME = {
    "layout": (["f(1, 2)"], ["f(  # a comment\n    1,\n    2,\n)"]),
    "pieces of text": (["a = 'one two'"], ["a = (\n    'one '\n    'two'\n)"]),
    "an f-string in pieces": (
        ["a = f'{b} and {c:.1f}, then'"],
        ["a = (\n    f'{b} and '\n    f'{c:.1f}'\n    ', then'\n)"],
    ),
    "an f-string without a brace": (["a = 'b'"], ["a = f'b'"]),
    "a docstring": (["def f():\n    'One.'\n    return 1"], ["def f():\n    return 1"]),
    "a method's docstring": (
        ["class A:\n    'One.'\n    def f(self):\n        'Two.'\n        return 1"],
        ["class A:\n    def f(self):\n        return 1"],
    ),
    "where a name is defined": (
        ["from minilib.plot import tile\ntile"],
        ["from minilib.plot.sheets import tile\ntile"],
    ),
    "the name of a module": (
        ["from minilib import plot\nplot.tile(x, 1)"],
        ["from minilib.plot import sheets as paper", "paper.tile(x, 1)"],
    ),
    "another name of its own": (
        ["from minilib.plot import tile\ntile"],
        ["from minilib.plot import tile as floor\nfloor"],
    ),
    "two definitions in a cell or in two": (["a = 1\nb = 2"], ["a = 1", "b = 2"]),
    "a guard": (
        ["def f(a):\n    return a"],
        ["def f(a):\n    if a < 0:\n        raise ValueError('a')\n    return a"],
    ),
    "a guard of two branches": (
        ["f()"],
        ["if a:\n    raise ValueError\nelif b:\n    raise TypeError\nf()"],
    ),
    "a requirement, where it comes from, and its definition": (
        ["f(a)"],
        [
            "from minilib.runtime import require_range\n"
            "def require_one(a):\n    b = a + 1\n    return b\n"
            "require_one(a)\nrequire_range('a', a, 0, 1)\nf(a)"
        ],
    ),
    "a method that requires": (
        ["class A:\n    b = 1"],
        ["class A:\n    b = 1\n    def require_b(self):\n        self.b + 1"],
    ),
    "the folder of a file that ships": (
        ["a = 'portraits/portrait_parts.npz'"],
        ["a = 'portrait_parts.npz'"],
    ),
}
OTHER = {
    "a number": (["f(1)"], ["f(2)"]),
    "text": (["a = 'one'"], ["a = 'two'"]),
    "text that no docstring is": (["f('one')"], ["f()"]),
    "a piece of an f-string": (["a = f'{b} and'"], ["a = f'{b} or'"]),
    "what is shown": (["f()\ng()"], ["f()", "g()"]),
    "the order": (["a = 1\nb = 2"], ["b = 2\na = 1"]),
    "what is imported": (
        ["from minilib.plot import tile"],
        ["from minilib.plot import show"],
    ),
    "a branch that does more than refuse": (
        ["f()"],
        ["if a:\n    g()\n    raise ValueError\nf()"],
    ),
    "a branch beside a guard": (
        ["if a:\n    raise ValueError"],
        ["if a:\n    raise ValueError\nelse:\n    f()"],
    ),
    "a value that is required": (["a = f(b)"], ["a = require_f(b)"]),
    "a folder of one's own": (["a = 'mine/a.npz'"], ["a = 'a.npz'"]),
}


@pytest.mark.parametrize("what", SAME)
def test_the_digest_overlooks(what: str) -> None:
    one, other = SAME[what]
    assert digest_of(*one) == digest_of(*other)


@pytest.mark.parametrize("what", OTHER)
def test_the_digest_sees(what: str) -> None:
    one, other = OTHER[what]
    assert digest_of(*one) != digest_of(*other)


@pytest.mark.parametrize(
    ("source", "stale"),
    [("'area_'", True), ("f'area_{1}'", True), ("'volumes'", False)],
)
def test_outputs_are_stale_when_weights_they_name_change(
    tool, tree: Path, chapter: Path, source, stale
) -> None:
    card = tree / "minilib/weights/area_digits.json"
    card.parent.mkdir(exist_ok=True)
    card.write_text('{"sha256": "1"}')
    change(chapter, append(source.replace("area_", "area_dig")))
    assert tool("notebook", "run", "--once").returncode == 0
    card.write_text('{"sha256": "2"}')
    assert tool("notebook", "check").returncode == int(stale)


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import minilib", "", {"minilib"}),
        ("import minilib.weights as w, os", "", {"minilib", "minilib.weights"}),
        (
            "from minilib import runtime, claims",
            "",
            {"minilib", "minilib.runtime", "minilib.claims"},
        ),
        ("from minilib.runtime import device", "", {"minilib", "minilib.runtime"}),
        (
            "def f():\n    from minilib import runtime",
            "",
            {"minilib", "minilib.runtime"},
        ),
        ("from . import runtime", "minilib", {"minilib", "minilib.runtime"}),
        ("from .runtime import device", "minilib", {"minilib", "minilib.runtime"}),
        (
            "from ..runtime import device",
            "minilib.data",
            {"minilib", "minilib.runtime"},
        ),
        (
            "%matplotlib inline\n!ls\nfrom minilib import runtime",
            "",
            {"minilib", "minilib.runtime"},
        ),
        ("from minilibrary import runtime\nimport torch", "", set()),
    ],
)
def test_imports_are_found_in_every_form(
    source: str, package: str, expected: set[str]
) -> None:
    assert imports(parse_cell(source), package) == expected


def test_apply_takes_the_text_and_keeps_ids_and_tags(
    tool, tree: Path, chapter: Path
) -> None:
    before = nbformat.read(chapter, as_version=4)
    assert tool("notebook", "text", "1").returncode == 0
    text = tree / ".text/01_autoencoder.md"
    edited = (
        text.read_text()
        .replace("area(2.0)", "area(7.0)")
        .replace("Areas grow.", "Areas grow fast.")
    )
    text.write_text(
        edited.replace(
            "## What was",
            "## New\n\nA paragraph.\n\n```{code-cell}\n1 + 1\n```\n\n## What was",
        )
    )
    applied = tool("notebook", "apply", "1")
    assert applied.returncode == 0
    assert "run: make chapter N=01" in applied.stdout
    after = nbformat.read(chapter, as_version=4)
    ids = [cell.id for cell in after.cells]
    assert [id for id in ids if id.startswith("cell-")] == [
        cell.id for cell in before.cells
    ]
    assert len(ids) == len(before.cells) + 2
    assert after.cells[3].source == "area(7.0)"
    assert after.cells[-1].metadata.tags == ["claim:AE-1"]
    assert "its outputs are stale" in tool("notebook", "check").stdout


def test_text_that_was_not_edited_changes_no_byte(tool, chapter: Path) -> None:
    before = chapter.read_bytes()
    assert tool("notebook", "text").returncode == 0
    assert tool("notebook", "apply").returncode == 0
    assert chapter.read_bytes() == before


def test_after_a_change_of_prose_nothing_has_to_run_again(tool, tree: Path) -> None:
    assert tool("notebook", "text", "1").returncode == 0
    text = tree / ".text/01_autoencoder.md"
    text.write_text(text.read_text().replace("Areas grow.", "Areas grow fast."))
    applied = tool("notebook", "apply", "1")
    assert applied.returncode == 0
    assert "make chapter" not in applied.stdout
    assert "nothing has to run again" in applied.stdout
    assert tool("notebook", "check").returncode == 0


def test_apply_without_a_text_says_what_to_run(tool, chapter: Path) -> None:
    before = chapter.read_bytes()
    done = tool("notebook", "apply", "01")
    assert done.returncode == 1
    assert "make text N=01" in done.stdout
    assert chapter.read_bytes() == before


def test_an_unknown_chapter_lists_the_known_ones(tool) -> None:
    done = tool("notebook", "run", "--once", "07")
    assert done.returncode == 1
    assert "no chapter '07': the chapters are 01_autoencoder" in done.stdout


@pytest.mark.parametrize("content", ["not json", json.dumps({"nbformat": 4}), "\udcff"])
def test_a_file_that_is_no_notebook(tool, chapter: Path, content: str) -> None:
    chapter.write_bytes(content.encode("utf-8", "surrogateescape"))
    done = tool("notebook", "check")
    assert done.returncode == 1
    assert "chapters/01_autoencoder.ipynb: not a notebook" in done.stdout
    assert "Traceback" not in done.stdout


def test_weights_are_covered_by_whole_names_and_by_beginnings() -> None:
    assert list(weights_named(["load('gan_digits')"])) == ["gan_digits"]
    seeds = [f"gan_digits_seed{i}" for i in range(1, 5)]
    assert list(weights_named(["load(f'gan_digits_seed{i}')"])) == seeds
    assert list(weights_named(["load('gan_digits_seed' + i)"])) == seeds
    assert list(weights_named(["load(f'gan_digits{i}')"])) == ["gan_digits", *seeds]
    assert not weights_named(["load('gan_')"])  # too short to mean it
