"""Byte pair encoding (BPE): tokens between bytes and words, found by counting.

Gage, "A New Algorithm for Data Compression" (1994); for words Sennrich et al., "Neural
Machine Translation of Rare Words with Subword Units" (2016), algorithm 1; on bytes, so
that no text is unknown, Radford et al., "Language Models are Unsupervised Multitask
Learners" (GPT-2, 2019). Training is in `bpe_training`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from minilib.text.pieces import gpt2_pieces

Pair = tuple[int, int]
# GPT-2's order of the bytes: first those that Latin-1 prints
PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = PRINTED + [byte for byte in range(256) if byte not in PRINTED]
SPECIAL_NAME = re.compile(r"<\|[a-zA-Z]\w*\|>", re.ASCII)  # no piece can spell it
CACHED = 100_000  # pieces whose tokens a BPE remembers


class BPE:
    """A tokenizer: `tokens`, the bytes of each; `merges`, for two neighbours the token
    that takes their place, larger for a later merge; `special`, by name, the tokens
    that stand for no text.

    `cut` makes pieces of a text, across which nothing merges; `end` marks the last byte
    of each: nothing in GPT-2, a space in CLIP, whose files write it `</w>`.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: dict[Pair, int],
        special: dict[str, int],
        cut: Callable[[str], list[str]] = gpt2_pieces,
        end: bytes = b"",
    ):
        self.tokens, self.merges, self.special = list(tokens), merges, special
        self.cut, self.end = cut, end
        self.token = {text: i for i, text in enumerate(tokens) if text}
        self.cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, pair: Pair) -> int:
        """Give two neighbours a token of their own, the next number."""
        left, right = pair
        text, token = self.tokens[left] + self.tokens[right], len(self.tokens)
        self.tokens.append(text)
        self.merges[pair] = self.token[text] = token
        self.cache.clear()  # what was encoded may now be shorter
        return token

    def encode(self, text: str | bytes) -> list[int]:
        """The tokens of a text. Bytes may be any, UTF-8 or not. The name of a special
        token is text as any other.

        Raises ValueError for what is neither, and for half of a surrogate pair.
        """
        pieces = self.cut(readable(text))
        return [token for piece in pieces for token in self.encode_piece(piece)]

    def encode_piece(self, piece: str) -> list[int]:
        """The tokens of one piece, from memory if it has been there before."""
        if piece not in self.cache:
            if len(self.cache) >= CACHED:
                self.cache.clear()
            self.cache[piece] = merged(self.symbols(piece), self.merges)
        return self.cache[piece]

    def symbols(self, piece: str) -> list[int]:
        """A piece as single bytes, the tokens before any merge."""
        data = [bytes([byte]) for byte in piece.encode("utf-8", "surrogateescape")]
        data[-1] += self.end
        return [self.token[byte] for byte in data]

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """What the tokens, a list or a tensor (L,), stand for: nothing for a special
        one. Raises ValueError for a token out of range.
        """
        found = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
        require_tokens(found, len(self))
        return b"".join(self.tokens[i] for i in found)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of the tokens; where its bytes are no UTF-8, as in half a character,
        stands � (U+FFFD). Raises ValueError for a token out of range.
        """
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def special_token(self, name: str) -> int:
        """The token of that name. Raises ValueError where there is none."""
        if name not in self.special:
            known = ", ".join(self.special) or "none"
            raise ValueError(f"no special token {name!r}: there are {known}")
        return self.special[name]


def merged(symbols: list[int], merges: dict[Pair, int]) -> list[int]:
    """The tokens of a piece, from its bytes: of all neighbours that have a merge, the
    earliest is done first, the left one of two, until none is left.

    A heap finds it, so that a piece of n bytes takes n log n steps.
    """
    symbols, n = [*symbols, -1], len(symbols)  # -1: no token, at either end
    before, after = list(range(-1, n)), list(range(1, n + 2))
    heap = [
        (merges[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in merges
    ]
    heapify(heap)
    while heap:
        token, i = heappop(heap)
        j = after[i]
        if merges.get((symbols[i], symbols[j])) != token:
            continue  # one of the two has merged with another since
        symbols[i], symbols[j] = token, -1
        after[i] = after[j]
        before[after[i]] = i
        for left, right in ((before[i], i), (i, after[i])):
            pair = symbols[left], symbols[right]
            if pair in merges:
                heappush(heap, (merges[pair], left))
    return [symbol for symbol in symbols if symbol >= 0]


def readable(text: Any) -> str:
    """The text, or bytes as one: those that are no UTF-8 become half surrogate pairs,
    which hold no letter, and which `symbols` makes bytes again.
    """
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    if not isinstance(text, str):
        raise ValueError(f"expected a text or bytes, got {text!r}")
    half = re.search("[\ud800-\udfff]", text)
    if half:
        raise ValueError(
            f"character {half.start()} of the text is {half[0]!r}, half of a surrogate "
            "pair, which has no bytes: give the text as bytes, or without it"
        )
    return text


def require_tokens(tokens: list[Any], size: int) -> None:
    for place, token in enumerate(tokens):
        if not isinstance(token, int) or not 0 <= token < size:
            raise ValueError(
                f"expected tokens from 0 to {size - 1}, got {token!r} at place {place}"
            )
