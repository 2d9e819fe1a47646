"""Byte pair encoding (BPE): tokens between bytes and words, found by counting.

Gage, "A New Algorithm for Data Compression" (1994); for words Sennrich et al.,
"Neural Machine Translation of Rare Words with Subword Units" (2016); on bytes, so that
no text is unknown, Radford et al., "Language Models are Unsupervised Multitask
Learners" (GPT-2, 2019).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from minilib.text.pieces import gpt2_pieces

Pair = tuple[int, int]
# GPT-2's order of the bytes: first those that Latin-1 prints
PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = PRINTED + [byte for byte in range(256) if byte not in PRINTED]
CACHED = 100_000  # pieces whose tokens a tokenizer remembers


class BPE:
    """A tokenizer: `tokens`, the bytes of each; `merges`, for two neighbours the token
    that takes their place, larger for a later merge; `special`, tokens that stand for
    no text (theirs are no bytes), by name.

    `cut` makes pieces of a text, and `end` marks the last byte of a piece: nothing in
    GPT-2, a space in CLIP, whose files write it `</w>`.
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

    def encode(self, text: str | bytes) -> list[int]:
        """The tokens of a text. Bytes may be any: what is no UTF-8 is encoded too. The
        name of a special token is text as any other.

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
        """What the tokens stand for: nothing for a special one. Takes a tensor (L,),
        too. Raises ValueError for a token out of range.
        """
        return b"".join(self.tokens[i] for i in require_tokens(tokens, len(self)))

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

    def padded(
        self,
        texts: Sequence[str],
        length: int,
        padding: str,
        start: str | None = None,
        end: str | None = None,
    ) -> list[list[int]]:
        """A row of `length` tokens for each text: the special token named `start`, the
        text, `end`, and `padding` to fill it.

        Raises ValueError for a text that is too long, and for one that leaves nothing
        but padding, saying which; and for an unknown special token.
        """
        require_texts(texts)
        fill = self.special_token(padding)
        head, tail = ([self.special_token(s)] if s else [] for s in (start, end))
        rows = []
        for number, text in enumerate(texts):
            tokens = self.encode(text)
            require_fit(number, text, len(tokens), length - len(head + tail))
            row = head + tokens + tail
            if not row:
                raise ValueError(f"text {number} is empty: {text!r} has no token")
            rows.append(row + [fill] * (length - len(row)))
        return rows


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
            continue  # a neighbour, or the symbol itself, is no more what it was
        symbols[i], symbols[j] = token, -1
        after[i] = after[j]
        before[after[i]] = i
        for left, right in ((before[i], i), (i, after[i])):
            pair = symbols[left], symbols[right]
            if pair in merges:
                heappush(heap, (merges[pair], left))
    return [symbol for symbol in symbols if symbol >= 0]


def train(
    texts: str | Iterable[str], vocab_size: int, special: Sequence[str] = ()
) -> BPE:
    """Learn a tokenizer of `vocab_size` tokens from texts: special ones, the 256 bytes,
    then one for each merge of the most frequent pair of neighbours, until the
    vocabulary is full or no pair occurs twice. Of equally frequent ones the pair of
    smaller tokens is merged, the first of the two deciding.

    Special tokens are named as <|padding|>, which no piece can spell. Raises ValueError
    for texts without a character, for what is no text, for a size below 256 and the
    special ones, and for such names as are none.
    """
    require_special(special)
    if vocab_size < 256 + len(special):
        raise ValueError(
            f"expected a vocab_size of at least {256 + len(special)}, for 256 bytes "
            f"and {len(special)} special tokens, got {vocab_size}"
        )
    tokens = [b""] * len(special) + [bytes([byte]) for byte in BYTES]
    merges: dict[Pair, int] = {}
    names = {name: i for i, name in enumerate(special)}
    unmerged, times = BPE(tokens, merges, names), count_pieces(texts)
    words = [unmerged.symbols(piece) for piece in times]
    pairs = PairCounts(words, list(times.values()))
    while len(tokens) < vocab_size:
        (left, right), count = pairs.best()
        if count < 2:
            break
        merges[left, right] = len(tokens)
        pairs.merge((left, right), len(tokens))
        tokens.append(tokens[left] + tokens[right])
    return BPE(tokens, merges, names)


def count_pieces(texts: str | Iterable[str]) -> Counter[str]:
    """How often each piece occurs in the texts: all that BPE learns from. Raises
    ValueError for texts without a character.
    """
    times: Counter[str] = Counter()
    for text in [texts] if isinstance(texts, str | bytes) else texts:
        times.update(gpt2_pieces(readable(text)))
    if not times:
        raise ValueError("nothing to learn from: the texts hold no character")
    return times


class PairCounts:
    """How often each two tokens stand side by side in the words of a corpus: `words`,
    each once, that occur `times` times.

    A merge counts anew in the words that hold the pair, and in no other. A heap has the
    most frequent pair on top, among entries that have become wrong, which are dropped
    when they come up.
    """

    def __init__(self, words: list[list[int]], times: list[int]):
        self.words, self.times = words, times
        self.count: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for i in range(len(words)):
            self.add(i, +1)
        self.heap = [(-count, pair) for pair, count in self.count.items()]
        heapify(self.heap)

    def add(self, i: int, sign: int) -> None:
        """Count the pairs of word i (+1), or take them away (-1)."""
        for pair in pairwise(self.words[i]):
            self.count[pair] += sign * self.times[i]
            self.where[pair].add(i)

    def best(self) -> tuple[Pair, int]:
        """The most frequent pair, of equal ones the smallest, and how often it occurs:
        0 where no pair is left.
        """
        while self.heap:
            negative, pair = self.heap[0]
            if self.count[pair] == -negative:
                return pair, -negative
            heappop(self.heap)
        return (-1, -1), 0

    def merge(self, pair: Pair, token: int) -> None:
        """Put the token in the place of the pair, wherever it stands."""
        changed: set[Pair] = set()
        for i in self.where.pop(pair):
            self.add(i, -1)
            changed.update(pairwise(self.words[i]))
            self.words[i] = replaced(self.words[i], pair, token)
            self.add(i, +1)
            changed.update(pairwise(self.words[i]))
        for one in changed:
            heappush(self.heap, (-self.count[one], one))


def replaced(word: list[int], pair: Pair, token: int) -> list[int]:
    """The word with the token in the place of the pair, from left to right: a a a
    becomes aa a.
    """
    found: list[int] = []
    i = 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            found.append(token)
            i += 2
        else:
            found.append(word[i])
            i += 1
    return found


def readable(text: Any) -> str:
    """The text, or bytes as one: those that are no UTF-8 become half surrogate pairs,
    which hold no letter, and which encoding makes bytes again.
    """
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    if not isinstance(text, str):
        raise ValueError(f"expected a text or bytes, got {text!r}")
    half = re.search("[\ud800-\udfff]", text)
    if half:
        raise ValueError(
            f"character {half.start()} of the text is {half[0]!r}, half of a surrogate "
            "pair: no encoding of it is valid. Give bytes as bytes"
        )
    return text


def require_tokens(tokens: Any, size: int) -> list[int]:
    """The tokens as a list. Raises ValueError unless each is from 0 to size − 1."""
    found = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
    for place, token in enumerate(found):
        if not isinstance(token, int) or not 0 <= token < size:
            raise ValueError(
                f"expected tokens from 0 to {size - 1}, got {token!r} at place {place}"
            )
    return found


def require_texts(texts: Any) -> None:
    if isinstance(texts, str | bytes):
        raise ValueError(
            f"expected a list of texts, got the text {texts!r}: put it into a list"
        )


def require_fit(number: int, text: str, size: int, room: int) -> None:
    if size > room:
        raise ValueError(
            f"text {number}, {text!r}, has {size} tokens, and at most {max(0, room)} "
            "fit: shorten it"
        )


def require_special(names: Sequence[str]) -> None:
    """Raise ValueError unless all are as <|padding|>, and no two alike."""
    require_texts(names)
    for name in names:
        if not re.fullmatch(r"<\|[a-zA-Z]\w*\|>", name, re.ASCII) or names.count(name) > 1:
            raise ValueError(
                "expected different names such as <|padding|>, of letters, then "
                f"digits and _ too, got {name!r} among {list(names)}"
            )
