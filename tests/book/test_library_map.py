import re

import pytest

from book.tools import library_map
from book.tools.sources import library, module_imports, module_name


def test_detours_are_left_out_and_circles_named():
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}
    assert library_map.without_detours(graph) == {
        "a": {"b"},
        "b": {"c"},
        "c": set(),
        "d": set(),
    }
    with pytest.raises(ValueError, match="a → b → c → a"):
        library_map.without_detours({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_every_module_has_its_box_and_every_import_a_way():
    drawn = library_map.drawing()
    arrows = set(re.findall(r"(\w+) --> (\w+)", drawn))

    def reached(box):
        return {box}.union(*(reached(b) for a, b in arrows if a == box))

    for path in library():
        name = module_name(path)
        if library_map.only_holds(name):
            continue
        box = library_map.drawn_as(name).replace(".", "_")
        assert f"  {box}[" in drawn
        found = {
            library_map.drawn_as(other).replace(".", "_")
            for other in module_imports(path)
            if not library_map.only_holds(other)
        }
        assert found <= reached(box), name


def test_the_table_counts_what_is_there():
    last = library_map.table().splitlines()[-1]
    lines = sum(len(path.read_text().splitlines()) for path in library())
    assert last.startswith(f"| all | {len(library())} | {lines:,} | ")


def test_a_function_is_as_long_as_its_lines(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "def one(): pass\n\n\nclass A:\n    def three(self):\n        a = 1\n      "
        "  return a\n"
    )
    assert sorted(library_map.lengths([file])) == [(1, "one"), (3, "three")]


def test_check_fails_until_the_map_is_drawn(tmp_path, monkeypatch, capsys):
    page = tmp_path / "CONTRIBUTING.md"
    page.write_text(f"before\n{library_map.START}\nold\n{library_map.END}\nafter\n")
    monkeypatch.setattr(library_map, "PAGE", page)
    monkeypatch.setattr(library_map, "shown", lambda path: path.name)
    assert library_map.main(["--check"]) == 1
    assert "make library" in capsys.readouterr().err
    assert library_map.main([]) == 0
    assert library_map.main(["--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
