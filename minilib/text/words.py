"""From text to numbers: one token a word."""

from __future__ import annotations

import difflib
import re

import torch
from torch import Tensor

PADDING, START, END = 0, 1, 2
# a Chinese character, a word, or a sign
PIECES = re.compile(r"[一-鿿]|[^\W_一-鿿]+|[^\w\s]|_")


def split(text: str) -> list[str]:
    """Words in lower case, signs, and Chinese characters one by one: "A red-hot 火" →
    a, red, -, hot, 火.
    """
    return PIECES.findall(text.lower())


def trimmed(tokens: Tensor) -> Tensor:
    """Tokens (B, L) without the last columns, if they are padding in all rows."""
    longest = int((tokens != PADDING).any(dim=0).sum())
    return tokens[:, : max(1, longest)]


class WordTokenizer:
    """Tokens for the words of known texts: 0 pads, 1 starts a caption, 2 ends it, then
    the words by alphabet.
    """

    def __init__(self, texts: list[str], length: int):
        self.length = length
        self.words = sorted({word for text in texts for word in split(text)})
        self.token = {word: i for i, word in enumerate(self.words, start=END + 1)}

    def __len__(self) -> int:
        return END + 1 + len(self.words)

    def encode(self, texts: list[str]) -> Tensor:
        """(B, length), int64: start, words, end, padding.

        Raises ValueError for an unknown word, naming it and the nearest known ones, and
        for a text that is too long.
        """
        if isinstance(texts, str):
            raise ValueError(
                f"expected a list of texts, got the text {texts!r}: put it into a list"
            )
        tokens = torch.full((len(texts), self.length), PADDING)
        for row, text in zip(tokens, texts, strict=True):
            words = split(text)
            if len(words) > self.length - 2:
                raise ValueError(
                    f"{text!r} has {len(words)} words, and at most "
                    f"{self.length - 2} fit: shorten it"
                )
            found = [START, *(self.known(word, text) for word in words), END]
            row[: len(found)] = torch.tensor(found)
        return tokens

    def known(self, word: str, text: str) -> int:
        """The token of a word. Raises ValueError where there is none."""
        if word not in self.token:
            near = difflib.get_close_matches(word, self.words, n=3, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"it knows {', '.join(self.words[:20])} …"
            )
            raise ValueError(f"unknown word {word!r} in {text!r}: {hint}")
        return self.token[word]

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) → texts: the words up to the end, with spaces between them."""
        rows = [row[: row.index(END)] if END in row else row for row in tokens.tolist()]
        return [
            " ".join(self.words[i - END - 1] for i in row if i > END) for row in rows
        ]
