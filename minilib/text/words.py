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

    Words that have a token but that no training caption holds are `unheard`, each with
    the word to say in its place, or "": they are refused.
    """

    STOPS = frozenset(".!?…。！？")  # a caption means the same without them

    def __init__(
        self, texts: list[str], length: int, unheard: dict[str, str] | None = None
    ):
        self.length, self.unheard = length, unheard or {}
        self.words = sorted({word for text in texts for word in split(text)})
        self.token = {word: i for i, word in enumerate(self.words, start=END + 1)}

    def __len__(self) -> int:
        return END + 1 + len(self.words)

    def encode(self, texts: list[str]) -> Tensor:
        """(B, length), int64: start, words, end, padding.

        Signs that end a sentence are left out where no known text holds them. Raises
        ValueError for an unknown word, naming it and the nearest known ones, and for a
        text that is too long.
        """
        if isinstance(texts, str):
            raise ValueError(
                f"expected a list of texts, got the text {texts!r}: put it into a list"
            )
        tokens = torch.full((len(texts), self.length), PADDING)
        for row, text in zip(tokens, texts, strict=True):
            words = [
                word
                for word in split(text)
                if word in self.token or word not in self.STOPS
            ]
            if len(words) > self.length - 2:
                raise ValueError(
                    f"{text!r} has {len(words)} words, and at most "
                    f"{self.length - 2} fit: shorten it"
                )
            found = [START, *(self.known(word, text) for word in words), END]
            row[: len(found)] = torch.tensor(found)
        return tokens

    def known(self, word: str, text: str) -> int:
        """The token of a word of a text. Raises ValueError where there is none, or none
        that training has seen.
        """
        if word not in self.token or word in self.unheard:
            self.require_known(text)
        return self.token[word]

    def require_known(self, text: str) -> None:
        """Raise ValueError that names all words of a text that are not known, each with
        the nearest that are.
        """
        allowed = {*self.STOPS, *self.token} - {*self.unheard}
        unknown = [word for word in dict.fromkeys(split(text)) if word not in allowed]
        hints = {word: self.hint(word) for word in unknown}
        if len(unknown) == 1:
            raise ValueError(
                f"unknown word {unknown[0]!r} in {text!r}: {hints[unknown[0]]}"
            )
        if unknown:  # "did you mean" sorts before "it knows", which lists all words
            each = [
                " and ".join(repr(word) for word in unknown if hints[word] == hint)
                + f" ({hint})"
                for hint in sorted(set(hints.values()))
            ]
            raise ValueError(f"unknown words in {text!r}: {', '.join(each)}")

    def heard(self) -> list[str]:
        """The words that captions may hold, by alphabet."""
        return [word for word in self.words if word not in self.unheard]

    def hint(self, word: str) -> str:
        """What to say in place of a word that is not known."""
        heard = self.heard()
        near = difflib.get_close_matches(word, heard, n=3, cutoff=0.5)
        if self.unheard.get(word):
            near = [self.unheard[word]]
        if near:
            return f"did you mean {' or '.join(map(repr, near))}?"
        if len(heard) > 100:
            return f"it knows {len(heard):,} words, which its heard() lists"
        return f"it knows {', '.join(heard)}"

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) → texts: the words up to the end, with spaces between them."""
        rows = [row[: row.index(END)] if END in row else row for row in tokens.tolist()]
        return [
            " ".join(self.words[i - END - 1] for i in row if i > END) for row in rows
        ]
