"""python -m minilib tokens TEXT."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Iterator
from itertools import islice, pairwise

from minilib.commands.arguments import whole
from minilib.text.bpe import BPE, Pair, readable

LONGEST = 1_000  # bytes


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("text", metavar="TEXT", help='such as "a red hat"')
    command.add_argument(
        "--merges",
        type=whole(0, 10**6),
        metavar="N",
        help="do the first N merges alone, of those that ship; all if left out",
    )
    command.set_defaults(run=show_tokens)


def show_tokens(options: argparse.Namespace) -> None:
    """Cut a text into tokens by the byte pair encoding that ships, and show the merges
    that make them.
    """
    from minilib.text.bpe_files import shipped

    text = os.fsencode(options.text)  # UTF-8 or not
    require_short(text)
    bpe = shipped()
    if options.merges is not None:
        merges = dict(islice(bpe.merges.items(), options.merges))
        bpe = BPE(bpe.tokens, merges, bpe.special)
    print("\n".join(lines(bpe, text)))


def lines(bpe: BPE, text: bytes) -> Iterator[str]:
    """A line for each piece: its tokens with their numbers, and the merges that make
    them, in order; below, how many there are.
    """
    pieces = dict.fromkeys(bpe.cut(readable(text)))
    names = {p: visible(p.encode("utf-8", "surrogateescape")) for p in pieces}
    width = min(20, max(map(len, names.values()), default=0))
    for piece, name in names.items():
        made = [f"{visible(bpe.tokens[i])} {i}" for i in bpe.encode_piece(piece)]
        merges = [
            "+".join(visible(bpe.tokens[i]) for i in p) for p in steps(bpe, piece)
        ]
        line = f"{name:<{width}}  {', '.join(made)}"
        line += f"  ← {' '.join(merges)}" if merges else ""
        yield textwrap.fill(line, 88, subsequent_indent=" " * (width + 2))
    count = len(bpe.encode(text))
    share = f", {len(text) / count:.1f} bytes a token" if count else ""
    yield f"{len(text):,} bytes, {count:,} tokens{share}"


def steps(bpe: BPE, piece: str) -> Iterator[Pair]:
    """The merges that make a piece's tokens, in order: each time the earliest one of
    all neighbours, wherever they stand.
    """
    from minilib.text.bpe_training import replaced

    symbols = bpe.symbols(piece)
    while found := [pair for pair in pairwise(symbols) if pair in bpe.merges]:
        pair = min(found, key=bpe.merges.__getitem__)
        symbols = replaced(symbols, pair, bpe.merges[pair])
        yield pair


def visible(data: bytes) -> str:
    """Bytes as text, with a sign for a space, and escapes for what has no shape."""
    text = data.decode("utf-8", "backslashreplace").replace(" ", "␣")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def require_short(text: bytes) -> None:
    if len(text) > LONGEST:
        raise ValueError(
            f"expected a text of at most {LONGEST:,} bytes, got {len(text):,}: show a "
            "part of it"
        )
