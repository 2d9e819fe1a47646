"""English text for tokenizers: books in the public domain, and the captions of the
other data sets.
"""

from __future__ import annotations

import gzip
import math

import numpy as np

from minilib.data.emoji64.captions import caption
from minilib.data.emoji64.splits import split
from minilib.data.emoji64.styles import STYLES
from minilib.data.people import attributes
from minilib.data.people import captions as of_people
from minilib.data.portraits import captions as of_portraits
from minilib.data.portraits import drawing as portraits
from minilib.data.scenes import captions as of_scenes
from minilib.data.scenes import drawing as scenes
from minilib.data.shipped import read_shipped

FILE = (
    "corpus.txt.gz",
    "56b4c10ef97d9a101cd155b313eabb9a3cd2e5d0058a4c4ba57b4f2d0b52f8ef",
)


def text() -> str:
    """1,069,514 characters of English, all ASCII, so as many bytes.

    Carroll's "Alice's Adventures in Wonderland", Shakespeare's "A Midsummer Night's
    Dream", "The Tempest", "Hamlet" and sonnets, and Milton's "Paradise Lost".
    """
    return gzip.decompress(read_shipped(*FILE)).decode("ascii")


def captions(n: int, seed: int) -> list[str]:
    """4n captions of training data: n of portraits, n of scenes, n of people in four
    styles, n of emoji in five. Raises ValueError for n below 1.
    """
    if n < 1:
        raise ValueError(f"expected n from 1 up, got {n}")
    crowd = [
        text
        for style in attributes.STYLES
        for text in of_people.captions(
            attributes.draw(math.ceil(n / 4), seed, style=style), seed, style
        )
    ]
    cells = split().nonzero().tolist()
    chosen = np.random.default_rng([seed, 13]).integers(len(cells), size=n).tolist()
    return [
        *of_portraits.captions(portraits.draw(n, seed), seed),
        *of_scenes.captions(scenes.draw(n, seed), seed),
        *crowd[:n],
        *(caption(i, STYLES[style]) for i, style in (cells[k] for k in chosen)),
    ]
