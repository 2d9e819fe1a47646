"""Seconds to learn byte pair encoding from the English corpus: python -m
tests.bench.bpe [--merges 1000].

Ours beside the obvious loop, which counts all pairs anew for each merge, in the text's
pieces as they come, or in each different one once; and tokenizers, in Rust, if it is
installed. All on the same text, in CPU time of one thread; all find the same merges.
The last takes ten minutes or more.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from minilib.text.bpe import BYTES, Pair
from minilib.text.bpe_training import count_pieces, replaced, train
from minilib.text.pieces import gpt2_pieces


def obvious(times: Iterable[tuple[str, int]], merges: int) -> list[Pair]:
    """Byte pair encoding as it is told: count all pairs, merge the most frequent one
    everywhere, and again. Takes pieces with the times that each occurs.
    """
    number = {byte: i for i, byte in enumerate(BYTES)}
    words = [([number[b] for b in piece.encode()], n) for piece, n in times]
    found: list[Pair] = []
    while len(found) < merges:
        count: Counter[Pair] = Counter()
        for word, n in words:
            for pair in pairwise(word):
                count[pair] += n
        best = min(count, key=lambda pair: (-count[pair], pair), default=None)
        if best is None or count[best] < 2:
            break
        words = [(replaced(word, best, 256 + len(found)), n) for word, n in words]
        found.append(best)
    return found


def by_tokenizers(text: str, merges: int) -> list[str]:
    """The merges that the package tokenizers finds."""
    from tests.parity.bpe_reference import merges_of, trained

    return merges_of(trained([text], 256 + merges, special=[]))


def seconds(learn: Callable[[], list]) -> tuple[float, list]:
    started = time.process_time()
    found = learn()
    return time.process_time() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bpe", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--merges", type=int, default=1_000)
    n = parser.parse_args().merges
    os.environ["RAYON_NUM_THREADS"] = "1"
    from minilib.data import corpus

    text = corpus.text()
    print(f"{n:,} merges on {len(text.encode()):,} bytes")
    gpt2_pieces("")  # makes the pattern, once
    arms: dict[str, Callable[[], list]] = {
        "ours": lambda: list(train(text, 256 + n, special=[]).merges),
        "tokenizers": lambda: by_tokenizers(text, n),
        "obvious, each piece once": lambda: obvious(count_pieces(text).items(), n),
        "obvious": lambda: obvious(((p, 1) for p in gpt2_pieces(text)), n),
    }
    ours = None
    for name, learn in arms.items():
        try:
            took, found = seconds(learn)
        except ImportError:
            print(f"{name}: not installed")
            continue
        ours = ours or (took, found)
        assert name == "tokenizers" or found == ours[1], f"{name}: other merges"
        print(f"{name}: {took:.1f} s, {took / ours[0]:.1f} × ours", flush=True)


if __name__ == "__main__":
    main()
