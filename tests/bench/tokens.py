"""Core-seconds to draw 64 pictures of 8 × 8 tokens with DALL·E, with the cache and
without: python -m tests.bench.tokens.

The weights are random, which take as long as trained ones; guidance is on, so that 128
sequences are read. The arms take turns on one thread, each round is timed as CPU time,
and medians are told. Without the cache each token reads the whole sequence before it
anew, and takes logits at its end alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from minilib.models.dalle import (
    DALLE,
    DALLEConfig,
    both_captions,
    draw_tokens,
    guided_logits,
)
from minilib.nets.token_sampling import sample_token
from minilib.text.words import END, START

W, TOP_K = 3.0, 100


def with_cache(model: DALLE, text: Tensor, g: torch.Generator) -> Tensor:
    return draw_tokens(model, text, g, top_k=TOP_K, w=W)


@torch.no_grad()
def without(model: DALLE, text: Tensor, g: torch.Generator) -> Tensor:
    image, captions = text[:, :0], both_captions(text, W)
    for _ in range(model.config.side**2):
        logits = guided_logits(model.read(captions, image.repeat(2, 1)), W)
        token = sample_token(logits, g, top_k=TOP_K)
        image = torch.cat([image, token[:, None]], dim=1)
    return image


ARMS: dict[str, Callable[..., Tensor]] = {"cache": with_cache, "no cache": without}


def captions(config: DALLEConfig, count: int) -> Tensor:
    """Random captions of 4 words up to all places."""
    g = torch.Generator().manual_seed(0)
    shape = (count, config.length)
    tokens = torch.randint(END + 1, config.words, shape, generator=g)
    ends = torch.randint(5, config.length, (count, 1), generator=g)
    at = torch.arange(config.length)
    tokens = tokens.where(at < ends, END).where(at <= ends, 0)
    tokens[:, 0] = START
    return tokens


def compare(config: DALLEConfig, rounds: int, count: int) -> str:
    """A line of the table: median and range of each arm, of the ratio of each round,
    and how many tokens are the same.
    """
    torch.manual_seed(0)
    model, text = DALLE(config).eval(), captions(config, count)
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    drawn: dict[str, Tensor] = {}
    for arm in ARMS.values():
        arm(model, text[:1], torch.Generator())  # what is slow only once
    for seed in range(rounds):
        for name, arm in ARMS.items():
            started = time.process_time()
            drawn[name] = arm(model, text, torch.Generator().manual_seed(seed))
            seconds[name].append(time.process_time() - started)
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    cells = [
        f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        for found in (*seconds.values(), ratios)
    ]
    same = (drawn["cache"] == drawn["no cache"]).double().mean()
    return f"| {config.attention} | {' | '.join(cells)} | {same:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.tokens", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("attentions", nargs="*", default=["full", "sparse"])
    parser.add_argument("--width", type=int, default=DALLEConfig.width)
    parser.add_argument("--depth", type=int, default=DALLEConfig.depth)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=64, help="of pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    width, depth = options.width, options.depth
    print(f"{options.count} pictures, {depth} layers of width {width}, 1 thread")
    print("| attention | cache, s | no cache, s | ratio | same tokens |")
    print("|---|---:|---:|---:|---:|")
    for attention in options.attentions:
        config = DALLEConfig(1000, width=width, depth=depth, attention=attention)
        print(compare(config, options.rounds, options.count), flush=True)


if __name__ == "__main__":
    main()
