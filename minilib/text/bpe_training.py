"""Byte pair encoding learned from texts: the most frequent pair of neighbours becomes a
token, again and again (Sennrich et al., 2016, algorithm 1).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from tqdm.auto import tqdm

from minilib.text.bpe import BPE, BYTES, SPECIAL_NAME, Pair, readable
from minilib.text.pieces import gpt2_pieces

# of these names `words` has PADDING, START and END, with the same numbers
SPECIAL = ("<|padding|>", "<|startoftext|>", "<|endoftext|>")


def train(
    texts: str | Iterable[str],
    vocab_size: int,
    special: Sequence[str] = SPECIAL,
    progress: bool = False,
) -> BPE:
    """Learn a BPE of `vocab_size` tokens: special ones, the 256 bytes, then one for
    each merge of the most frequent pair, until the vocabulary is full or no pair occurs
    twice. Of equally frequent pairs the one of smaller tokens merges first.

    Raises ValueError for texts that hold no character, for a size below 256 and the
    special tokens, and for their names unless they are as <|padding|>.
    """
    require_names(special)
    require_size(vocab_size, 256 + len(special))
    bpe = BPE(
        [b""] * len(special) + [bytes([byte]) for byte in BYTES],
        merges={},
        special={name: i for i, name in enumerate(special)},
    )
    times = count_pieces(texts)
    pairs = PairCounts([bpe.symbols(piece) for piece in times], list(times.values()))
    for _ in tqdm(range(len(bpe), vocab_size), desc="merges", disable=not progress):
        pair, count = pairs.most_frequent()
        if count < 2:
            break
        pairs.merge(pair, bpe.add(pair))
    return bpe


def count_pieces(texts: str | Iterable[str]) -> Counter[str]:
    """How often each piece occurs in the texts: all that BPE learns from. Raises
    ValueError for texts that hold no character.
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

    `where` knows the words that hold a pair, or did: a merge counts these anew, and no
    others. A heap has the most frequent pair on top, among entries whose count has
    changed since, which are dropped when they come up.
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

    def most_frequent(self) -> tuple[Pair, int]:
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
    left, right = pair
    found: list[int] = []
    i = 0
    while i < len(word):
        if word[i] == left and word[i + 1 : i + 2] == [right]:
            found.append(token)
            i += 2
        else:
            found.append(word[i])
            i += 1
    return found


def require_size(size: int, least: int) -> None:
    if size < least:
        raise ValueError(
            f"expected a vocab_size of at least {least}, for 256 bytes and "
            f"{least - 256} special tokens, got {size}"
        )


def require_names(names: Sequence[str]) -> None:
    """Raise ValueError unless all are as <|padding|>, and no two alike."""
    if isinstance(names, str):
        raise ValueError(f"expected a list of special tokens, got the text {names!r}")
    for name in names:
        alike = list(names).count(name) > 1
        if alike or not SPECIAL_NAME.fullmatch(name):
            raise ValueError(
                "expected different names such as <|padding|>, of letters, then "
                f"digits and _ too, got {name!r} among {list(names)}"
            )
