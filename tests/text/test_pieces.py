import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib.text.pieces import clip_pieces, gpt2_pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("I'm here, 2 of us", ["I", "'m", " here", ",", " 2", " of", " us"]),
        ("don't DON'T '", ["don", "'t", " DON", "'", "T", " '"]),
        ("x  y   ", ["x", " ", " y", "   "]),
        ("x \n\n y", ["x", " \n\n", " y"]),
        ("x\ny", ["x", "\n", "y"]),
        ("3.14 ½²Ⅷ٣", ["3", ".", "14", " ½²Ⅷ٣"]),
        (" 笑脸东京 Привет", [" 笑脸东京", " Привет"]),
        ("a\u0301 e\u3000z", ["a", "\u0301", " e", "\u3000", "z"]),
        ("a\x1cb\x85c", ["a", "\x1c", "b", "\x85", "c"]),
        ("a_b ___!", ["a", "_", "b", " ___!"]),
        ("hi😀👍🏽", ["hi", "😀👍🏽"]),
    ],
)
def test_pieces_of_gpt2(text, pieces):
    assert gpt2_pieces(text) == pieces


@given(st.text())
def test_the_pieces_of_gpt2_are_the_text(text):
    assert "".join(gpt2_pieces(text)) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (" \n", []),
        ("A  Caf&eacute;, 42", ["a", "café", ",", "4", "2"]),
        ("cafe\u0301 &amp;lt;b&amp;gt;", ["café", "<", "b", ">"]),
        ("IT'S it’s “x”", ["it", "'s", "it", "'s", '"', "x", '"']),
        ("oﬃce ﬅ ŉ ＡＢ１ ｶﾞ", ["office", "ſt", "'", "n", "ab", "1", "ガ"]),
        ("nul\x00l \ufeffa\u206ab", ["null", "ab"]),
        ("it'ſ x'sx", ["it", "'ſ", "x", "'s", "x"]),
    ],
)
def test_pieces_of_clip(text, pieces):
    assert clip_pieces(text) == pieces


def test_clip_drops_spaces_and_control_characters_and_no_other():
    lost = [
        i for i in [*range(0x2100), *range(0xFE00, 0x10000)] if not clip_pieces(chr(i))
    ]
    spaces = [
        0x85,
        0xA0,
        0x1680,
        *range(0x2000, 0x200B),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
    ]
    control = [0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)]
    assert lost == sorted([*range(0x21), *spaces, *control])
