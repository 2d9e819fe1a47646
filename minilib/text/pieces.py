"""How a text is cut into pieces before byte pair encoding: no merge crosses a cut.

GPT-2 and CLIP publish their patterns in Unicode's classes, which Python's `re` lacks:
here they are spelt out. A letter is what this Python's Unicode knows as one.
"""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from functools import cache
from itertools import groupby

# Unicode's white space. Python's \s has four control characters more, \x1c to \x1f.
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@cache
def classes() -> tuple[str, str]:
    r"""The letters \p{L} and the numbers \p{N}, each as ranges "A-Za-z…" to stand in
    brackets of `re`.
    """
    ranges = {"L": "", "N": ""}
    kinds = groupby(
        map(chr, range(sys.maxunicode + 1)), key=lambda c: unicodedata.category(c)[0]
    )
    for kind, run in kinds:
        if kind in ranges:
            first, *more = run
            ranges[kind] += f"{first}-{more[-1]}" if more else first
    return ranges["L"], ranges["N"]


@cache
def gpt2_pattern() -> re.Pattern[str]:
    r"""GPT-2's (Radford et al., 2019, `encoder.py`): an English ending such as 's, or
    letters, numbers or other signs, each with the space before them, or spaces.

        's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    """
    letter, number = classes()
    return re.compile(
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+"
        rf"| ?[^{SPACE}{letter}{number}]+|[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+"
    )


@cache
def clip_pattern() -> re.Pattern[str]:
    r"""CLIP's (Radford et al., 2021, `simple_tokenizer.py`): as GPT-2's, but a number
    is cut into digits, and spaces are left out. It ignores case, in which ſ is an s.

        's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+
    """
    letter, number = classes()
    return re.compile(
        rf"'[sſ]|'t|'re|'ve|'m|'ll|'d|[{letter}]+|[{number}]"
        rf"|[^{SPACE}{letter}{number}]+"
    )


def gpt2_pieces(text: str) -> list[str]:
    """ "I'm here, 2 of us" → I, 'm, ␣here, a comma, ␣2, ␣of, ␣us: together they are the
    text.
    """
    return gpt2_pattern().findall(text)


@cache
def simpler() -> dict[int, str]:
    """What OpenAI's code, by the package ftfy, writes for a sign: a straight quote for
    a curly one, the letters of a ligature, the usual width for full or half width, and
    nothing for a control character.
    """
    wide = [*range(0xFF01, 0xFFEF), *map(ord, "ĲĳŉǄǅǆǇǈǉǊǋǌǱǲǳﬀﬁﬂﬃﬄﬆ")]
    table = {i: unicodedata.normalize("NFKC", chr(i)) for i in wide}
    for signs, sign in {"ŉ": "'n", "ʼ‘’‚‛": "'", "“”„‟": '"', "ﬅ": "ſt"}.items():
        table |= dict.fromkeys(map(ord, signs), sign)
    control = [*range(9), 11, *range(14, 32), 127, *range(0x206A, 0x2070), 0xFEFF]
    return table | dict.fromkeys([*control, *range(0xFFF9, 0xFFFD)], "")


def clip_pieces(text: str) -> list[str]:
    """ "A  Caf&eacute;, 42" → a, café, a comma, 4, 2.

    HTML's entities are resolved, signs made `simpler`, accents joined with their
    letters (NFC), and letters made small. OpenAI's code also repairs what was decoded
    wrongly (â€œ for “), drops a terminal's colours, and takes the names of special
    tokens for these.
    """
    plain = html.unescape(html.unescape(text)).translate(simpler())
    return clip_pattern().findall(unicodedata.normalize("NFC", plain).lower())
