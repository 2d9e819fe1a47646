"""The table of costs says nothing of what was not measured."""

from book.tools.budgets import UNIT, table

NOW = {"chapters/01_a.ipynb": 50.0, "chapters/02_b.ipynb": 30.0}


def test_what_was_not_measured_is_empty_and_so_is_a_sum_that_lacks_it():
    rows = table({"now": NOW, "before": {"chapters/01_a.ipynb": 100.0}}).splitlines()
    assert rows[2:] == [
        "| 01_a | 100 | 50 | 0.50 |",
        "| 02_b |  | 30 |  |",
        "| all chapters |  | 80 |  |",
        "| unit and parity tests |  |  |  |",
    ]


def test_both_sides_are_summed_and_compared():
    before = {name: 2 * seconds for name, seconds in NOW.items()} | {UNIT: 40.0}
    rows = table({"now": NOW | {UNIT: 10.0}, "before": before}).splitlines()
    assert rows[-2:] == [
        "| all chapters | 160 | 80 | 0.50 |",
        "| unit and parity tests | 40 | 10 | 0.25 |",
    ]
