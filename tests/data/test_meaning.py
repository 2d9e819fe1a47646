import pytest

from minilib.data.meaning import require_meant

KNOWN = ["red", "red cap", "light skin", "skin tight"]


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        (["zzz"], "'zzz'? It is no attribute of a cap"),
        (["rde"], "'rde'? It is no attribute of a cap: did you mean 'red'?"),
        (["skin"], "'skin'? It is no attribute of a cap: did you mean 'light skin'?"),
        (["red"], "'red'? It is no attribute of a cap"),
        (
            ["capp", "zzz", "capp", "tigt"],
            "'capp', 'zzz' and 'tigt'? They are no attributes of a cap: did you mean "
            "'cap' for 'capp' and 'tight' or 'light' for 'tigt'?",
        ),
    ],
)
def test_each_word_is_named_once_with_the_nearest_to_say(rest, says):
    with pytest.raises(ValueError, match="what is meant by") as raised:
        require_meant("a text", rest, KNOWN, "a cap")
    assert str(raised.value) == f"'a text': what is meant by {says}"


def test_where_no_word_is_left_nothing_is_said():
    require_meant("a text", [], KNOWN, "a cap")
