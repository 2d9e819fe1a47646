"""Names and keywords of the concepts, and captions."""

import pytest

from minilib.data.emoji64.captions import caption, captions
from minilib.data.emoji64.styles import NAMES


def test_names_are_935_and_no_two_equal():
    known = captions()
    assert len(known) == 935
    for name in ("code", "english", "chinese"):
        assert len({getattr(c, name) for c in known}) == 935, name
    assert all(all(c.english_keywords) and all(c.chinese_keywords) for c in known)


def test_a_concept_is_named_in_both_languages():
    apple = captions()[340]
    assert (apple.english, apple.chinese) == ("red apple", "红苹果")
    assert chr(int(apple.code, 16)) == "🍎"
    assert "fruit" in apple.english_keywords
    assert "水果" in apple.chinese_keywords


def test_a_caption_names_concept_and_style():
    assert caption(340, "noto") == "red apple, Noto style"
    assert caption(0, "fluent3d") == "grinning face, shaded Fluent style"
    assert len({caption(i, style) for i in range(935) for style in NAMES}) == 935 * 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: caption(0, "apple"), "unknown style 'apple'"),
        (lambda: caption(935, "noto"), "a concept from 0 to 934, got 935"),
        (lambda: caption(-1, "noto"), "a concept from 0 to 934, got -1"),
    ],
)
def test_what_there_is_not_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
