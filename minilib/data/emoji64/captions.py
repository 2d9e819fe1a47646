"""What the emoji show, in English and Chinese, and captions that name the style."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from minilib.data.emoji64.styles import NAMES, require_style
from minilib.data.shipped import read_shipped

CAPTIONS = (
    "emoji64/captions.tsv",
    "83454e7bf0ca0d60008bc9444cca393bca1006034d410278d075e54961f73074",
)


@dataclass(frozen=True)
class Concept:
    """What an emoji shows in every style: names and keywords from Unicode's CLDR; code
    is the character, in hexadecimal.
    """

    code: str
    english: str
    chinese: str
    english_keywords: tuple[str, ...]
    chinese_keywords: tuple[str, ...]


@cache
def captions() -> tuple[Concept, ...]:
    """The 935 concepts, in the order of the pictures."""
    lines = read_shipped(*CAPTIONS).decode().splitlines()
    rows = (line.split("\t") for line in lines)
    return tuple(
        Concept(code, en, zh, tuple(en_keys.split(",")), tuple(zh_keys.split(",")))
        for code, _, _, en, zh, en_keys, zh_keys in rows
    )


def caption(i: int, style: str) -> str:
    """The caption of concept i in a style: "red apple, Noto style".

    Raises ValueError for an unknown style, or i not from 0 to 934.
    """
    require_style(style)
    require_concept(i)
    return f"{captions()[i].english}, {NAMES[style]} style"


def require_concept(i: int) -> None:
    """Raise ValueError unless i is the index of a concept."""
    if not 0 <= i < len(captions()):
        raise ValueError(f"expected a concept from 0 to {len(captions()) - 1}, got {i}")
