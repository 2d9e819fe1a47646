"""From texts to a batch of tokens, by byte pair encoding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minilib.text.bpe import BPE


class PaddedBPE:
    """Texts as rows of `length` tokens, as by `words.WordTokenizer`, but of any words:
    <|startoftext|>, the text, <|endoftext|>, and `padding` to the end.

    What `train` makes has padding 0, start 1 and end 2, as words have. CLIP has no
    padding of its own: Stable Diffusion takes <|endoftext|>.
    """

    def __init__(self, bpe: BPE, length: int, padding: str = "<|padding|>"):
        self.bpe, self.length = bpe, length
        self.padding = bpe.special_token(padding)
        self.start = bpe.special_token("<|startoftext|>")
        self.end = bpe.special_token("<|endoftext|>")

    def __len__(self) -> int:
        return len(self.bpe)

    def fits(self, text: str) -> bool:
        """Whether the text is short enough for `encode`."""
        return len(self.bpe.encode(text)) <= self.length - 2

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(B, length), int64. An empty text is start, end, padding.

        Raises ValueError for a text that is too long, saying which, and for one text in
        place of a list.
        """
        require_list(texts)
        rows = torch.full((len(texts), self.length), self.padding)
        for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
            found = self.bpe.encode(text)
            require_fit(number, text, len(found), self.length - 2)
            row[: len(found) + 2] = torch.tensor([self.start, *found, self.end])
        return rows

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) → texts, up to the end of each. Raises ValueError for a token
        out of range.
        """
        rows = tokens.tolist()
        return [
            self.bpe.decode(row[: row.index(self.end)] if self.end in row else row)
            for row in rows
        ]


def require_list(texts: object) -> None:
    if isinstance(texts, str | bytes):
        raise ValueError(
            f"expected a list of texts, got the text {texts!r}: put it into a list"
        )


def require_fit(number: int, text: str, size: int, room: int) -> None:
    if size > room:
        raise ValueError(
            f"text {number}, {text!r:.60}, has {size} tokens, and at most "
            f"{max(0, room)} fit: shorten it"
        )
