"""The house rules that a machine can check: rooms, size, cheap imports, and what the
wheel holds.
"""

import ast
import graphlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import minilib
from book.tools.common import chapters, read_notebook
from book.tools.sources import library, module_imports, module_name
from minilib.experiments.stamp import is_guard, is_requirement, resolved_imports

ROOT = Path(__file__).resolve().parents[1]
BELOW = {  # a room, and the rooms that it may import from; within one all may
    "runtime": set(),
    "weights": set(),
    "plot": set(),
    "nets": {"runtime"},
    "text": {"runtime"},
    "data": {"runtime"},
}
BOTTOM = set(BELOW)
SCORES = {"train", "metrics", "claims"}
BELOW |= {room: BOTTOM for room in SCORES}
BELOW["diffusion"] = BOTTOM | SCORES
# interop reads models, so that they cannot read it
BELOW["models"] = BELOW["diffusion"] | {"diffusion"}
BELOW["interop"] = {"models", "nets"}
BELOW["recipes"] = BELOW["models"] | {"models", "interop"}
BELOW["experiments"] = BELOW["recipes"] | {"recipes"}
BELOW["commands"] = BELOW["experiments"] | {"experiments"}
BELOW["__main__"] = BELOW["commands"] | {"commands"}
FILES = {module_name(path): path for path in library()}
modules = pytest.mark.parametrize("module", FILES)


def room(module: str) -> str:
    """The part of the library that a module stands in; "" for the library itself."""
    return module.removeprefix("minilib").removeprefix(".").split(".")[0]


def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def test_every_module_has_a_room() -> None:
    assert {room(module) for module in FILES} - {""} <= set(BELOW)


@modules
def test_imports_point_down(module: str) -> None:
    allowed = {"", room(module), *BELOW.get(room(module), set())}
    higher = [
        name for name in module_imports(FILES[module]) if room(name) not in allowed
    ]
    assert not higher, f"{module} may import from {sorted(allowed - {''})} alone"


def test_no_folder_has_more_modules_than_fit_on_a_screen() -> None:
    folders = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in FILES.values()
        if path.name != "__init__.py"
    )
    folders.pop("minilib/experiments")  # one module a chapter, nineteen of them
    full = {folder: count for folder, count in folders.items() if count > 15}
    assert not full, f"more than 15 modules in a folder: it wants a wall: {full}"


def test_imports_make_no_circle() -> None:
    # a package that gathers its modules runs before each of them, and is no import of
    # theirs
    graph = {
        module: {
            name
            for name in module_imports(path)
            if name != module and not module.startswith(f"{name}.")
        }
        for module, path in FILES.items()
    }
    # raises CycleError, which names the circle
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("minilib.runtime") < order.index("minilib.recipes")


@modules
def test_modules_and_functions_fit_a_reader(module: str) -> None:
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= 350
    functions = [
        node
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [
        node.name
        for node in functions
        if node.end_lineno and node.end_lineno - node.lineno + 1 > 40
    ]
    assert not long, f"longer than a screen of 40 lines: {long}"


def swallows(node: ast.Try) -> bool:
    """Whether a handler of this `try` goes on, instead of raising."""
    return any(not isinstance(one.body[-1], ast.Raise) for one in node.handlers)


@modules
def test_what_a_stamp_leaves_out_only_refuses(module: str) -> None:
    nodes = list(ast.walk(tree(module)))
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and is_requirement(node.name):
            assert ast.unparse(node.returns or ast.Constant(0)) == "None", node.name
        if isinstance(node, ast.If) and is_guard(node):
            changes = [n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
            assert not changes, f"line {node.lineno}: a guard binds a name"
    caught = [
        inner.lineno
        for node in nodes
        if isinstance(node, ast.Try) and swallows(node)
        for one in node.body
        for inner in ast.walk(one)
        if isinstance(inner, ast.stmt) and is_guard(inner)
    ]
    assert not caught, f"a guard whose error is caught decides what runs: {caught}"


@modules
def test_no_star_imports(module: str) -> None:
    imports = [
        node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)
    ]
    assert not [
        node.lineno
        for node in imports
        if any(alias.name == "*" for alias in node.names)
    ]


@pytest.mark.parametrize(
    "module", [name for name in FILES if room(name) not in ("__main__", "commands")]
)
def test_the_library_does_not_print(module: str) -> None:
    names = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Name)]
    assert not [node.lineno for node in names if node.id == "print"]


def test_importing_minilib_loads_nothing_but_itself() -> None:
    code = (
        "import json, sys; old = set(sys.modules); import minilib; "
        "print(json.dumps(sorted(set(sys.modules) - old)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["minilib"]


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert minilib.__version__ == project["version"]


def test_every_process_collects_the_same_tests() -> None:
    """pytest-xdist refuses workers that disagree: no test's name may hold a time, an
    address or a set's order.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "--quiet",
        "--numprocesses=0",
        "tests",
    ]
    lists = []
    # of the order of sets; the second run starts seconds later, in another process
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stdout
        lists.append([line for line in done.stdout.splitlines() if "::" in line])
    assert lists[0] == lists[1]
    assert len(lists[0]) > 100


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from this tree, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    # setuptools writes build/ and egg-info beside what it builds
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "minilib"):
        (source / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], check=True, env=environment
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_code_data_and_weights_and_stays_small(wheel: Path) -> None:
    weights = sum(
        path.stat().st_size
        for path in (ROOT / "minilib" / "weights").glob("*.safetensors")
    )
    assert weights < 60_000_000  # with all nineteen chapters
    assert wheel.stat().st_size < weights + 15_000_000
    assert wheel.name.startswith(f"minilib-{minilib.__version__}-")
    kinds = {".gz", ".json", ".npz", ".png", ".py", ".safetensors", ".tsv", ".txt"}
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "minilib").rglob("*")
        if path.suffix in kinds
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("minilib/")}
    assert held == files
    assert {".npz", ".safetensors"} <= {Path(name).suffix for name in held}


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_no_line_of_a_cell_is_cut_off(path: Path) -> None:
    """What is folded counts too: a click shows it."""
    code = [c.source for c in read_notebook(path).cells if c.cell_type == "code"]
    lines = [line for source in code for line in source.splitlines()]
    assert [line for line in lines if len(line) > 88] == []


def named_from_afar(module: str) -> set[tuple[str, str]]:
    """(module, name) of what a module takes of other rooms."""
    bound = resolved_imports(tree(module), module)
    found = {(holder, name) for holder, name in bound.values() if name}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            holder, name = bound.get(node.value.id, ("", "own"))
            if not name:  # of a module that was imported whole
                found.add((holder, node.attr))
    return {(holder, name) for holder, name in found if room(holder) != room(module)}


def paths_alone(module: str) -> set[str]:
    """The functions of a module that take a Path, and no text in its place."""
    return {
        node.name
        for node in tree(module).body
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None
        and "Path" in (said := ast.unparse(argument.annotation).split(" | "))
        and "str" not in said
    }


def test_a_path_that_comes_from_another_room_may_be_a_text() -> None:
    asked = set().union(*map(named_from_afar, FILES))
    alone = {(module, name) for module in FILES for name in paths_alone(module)}
    assert ("minilib.data.folder", "read_picture") in asked
    assert ("minilib.data.folder", "is_picture") in alone
    assert not asked & alone


def test_runtime_alone_asks_for_the_memory_and_knows_its_unit() -> None:
    """`resource` is absent on Windows, and counts in bytes on macOS."""
    folders = ("book", "minilib", "tests", "findings", "chapters")
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".ipynb")
    }
    own = Path(__file__).relative_to(ROOT).as_posix()
    asking = {name for name, text in texts.items() if "ru_maxrss" in text}
    assert asking - {own, "tests/test_runtime.py"} == {"minilib/runtime.py"}
