"""What chapter 13's claims are made of: byte pair encoding by the plainest loop, what
captions do to a picture's likelihood, and networks of several sizes that saw more
pictures or fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import runtime
from minilib.data.people.captions import read
from minilib.experiments.image_tokens import judge
from minilib.models.attributes import judged
from minilib.models.dalle import (
    DALLE,
    DALLEConfig,
    Model,
    dalle_loss,
    image_log_likelihood,
    rerank,
    similarity,
)
from minilib.models.glide import drop_captions
from minilib.recipes.clip_people import clip_people
from minilib.recipes.dalle import (
    dalle_people,
    people_in_tokens,
    people_tokens,
    sample_people,
)
from minilib.text.bpe import BPE, BYTES, Pair
from minilib.text.pieces import gpt2_pieces
from minilib.train import Draw, fit, shuffled
from minilib.weights import load_pretrained

# ---------- byte pair encoding, the plain way ----------

Words = list[tuple[list[int], int]]  # tokens, and how often they occur in this row


def plain_merges(texts: Iterable[str], room: int) -> list[tuple[bytes, bytes]]:
    """What the first `room` merges join: count all pairs of neighbours, put a token in
    the place of the most frequent one, and again, until none occurs twice.

    Sennrich et al. (2016, algorithm 1). Of equally frequent pairs the one of smaller
    tokens. It counts everything anew each time, and shares no code with `train`.
    """
    tokens = [bytes([byte]) for byte in BYTES]
    pieces = Counter(piece for text in texts for piece in gpt2_pieces(text))
    words = [([BYTES.index(b) for b in p.encode()], n) for p, n in pieces.items()]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < room:
        counts = pair_counts(words)
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=(0, 0))
        if counts[best] < 2:
            break
        for word, _ in words:
            join(word, best, len(tokens))
        left, right = best
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges


def pair_counts(words: Words) -> Counter[Pair]:
    """How often each two tokens are neighbours."""
    counts: Counter[Pair] = Counter()
    for word, times in words:
        for pair in pairwise(word):
            counts[pair] += times
    return counts


def join(word: list[int], pair: Pair, token: int) -> None:
    """Put the token in the place of the pair in a word, from the left."""
    i = 0
    while i + 1 < len(word):
        if (word[i], word[i + 1]) == pair:
            word[i : i + 2] = [token]
        i += 1


def most_frequent_left(bpe: BPE, texts: Iterable[str]) -> int:
    """How often the most frequent pair of neighbours occurs in texts as encoded."""
    pieces = Counter(piece for text in texts for piece in gpt2_pieces(text))
    words = [(bpe.encode_piece(piece), times) for piece, times in pieces.items()]
    return max(pair_counts(words).values(), default=0)


def any_texts(n: int, seed: int) -> list[bytes]:
    """n random characters' texts in UTF-8, and n texts of random bytes, each of up to
    100.
    """
    rng = np.random.default_rng([seed, 17])
    found = []
    for length in rng.integers(101, size=n):
        points = rng.integers(0x110000 - 0x800, size=length)
        points += 0x800 * (points >= 0xD800)  # halves of surrogate pairs are none
        found += ["".join(map(chr, points)).encode(), rng.bytes(length)]
    return found


# ---------- one network: what captions do, and re-ranking ----------


class HeldOut(NamedTuple):
    """People with a pair of attributes that training never showed: captions, and as
    tokens captions (n, L) and pictures (n, N).
    """

    texts: list[str]
    text: Tensor
    image: Tensor


@cache
def held_out(n: int, seed: int) -> HeldOut:
    """n such people."""
    text, image = people_in_tokens(n, seed, "held_out")
    return HeldOut(people_tokens().decode(text), text, image)


@cache
def painter(seed: int) -> DALLE:
    """DALL·E of people: of seed 0 the shipped one, else one that is trained like it."""
    if seed == 0:
        model = load_pretrained(dalle_people.model(), "dalle_people")
        return model.to(runtime.device())
    fitted = dalle_people.train(steps=dalle_people.full, seed=seed, progress=False)
    return cast(DALLE, fitted.ema)


def nats(model: Model, text: Tensor, image: Tensor) -> list[float]:
    """-log p(image | text) of each picture: of image (n, N) and text (n, L)."""
    log_p = runtime.in_blocks(partial(image_log_likelihood, model), text, image)
    return (-log_p).tolist()


def shares(x: Tensor, texts: list[str]) -> list[float]:
    """The share of each caption's claims that hold in its picture, of x (n, 3, 32, 32),
    as the judge sees it; 1 for a caption that claims nothing.
    """
    found = []
    for shown, text in zip(judged(judge(), x), texts, strict=True):
        holds = [shown[name] == value for name, value in read(text).items()]
        found.append(sum(holds) / len(holds) if holds else 1.0)
    return found


def drawn(model: DALLE, text: Tensor, k: int, seed: int) -> Tensor:
    """k pictures of each caption (n, L): (n, k, 3, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    x = sample_people(model, k * len(text), generator, text.repeat_interleave(k, dim=0))
    return x.unflatten(0, (len(text), k))


def best_by_clip(x: Tensor, text: Tensor) -> Tensor:
    """Of pictures (n, k, 3, 32, 32) the one of each k that CLIP finds nearest to their
    caption (n, L): (n, 3, 32, 32).
    """
    clip = load_pretrained(clip_people.model(), "clip_people").to(runtime.device())
    return rerank(partial(runtime.in_blocks, similarity(clip)), x, text)[:, 0]


# ---------- networks that saw more pictures or fewer ----------


NARROW, WIDE = 32, 128  # of 84,128 and 926,336 parameters
# of each the best learning rate of three, twice apart, on test people
RATES = {NARROW: 6e-3, WIDE: 3e-3}


class Arm(NamedTuple):
    """A network that is trained: its width, the number of its pictures, and whether it
    learns the text too, as in the paper, or the image tokens alone.
    """

    width: int
    pictures: int
    text_too: bool = True


def image_loss(
    model: Model, text: Tensor, image: Tensor, *, draw: Draw, p_uncond: float
) -> Tensor:
    """`dalle_loss` without the text's part."""
    _, logits = model(drop_captions(text, draw, p_uncond), image)
    return F.cross_entropy(logits.transpose(1, 2), image)


@cache
def crowd(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The captions and pictures of n people of training, as tokens; of more people the
    first are the same.
    """
    return people_in_tokens(n, seed)


def trained(arm: Arm, most: int, steps: int, seed: int) -> DALLE:
    """The network after so many steps, with averaged weights. Its pictures are the
    first of `most`.
    """
    runtime.seed_everything(seed)
    data = [side[: arm.pictures] for side in crowd(most, 300 + seed)]
    words = len(people_tokens())
    model = DALLE(DALLEConfig(words, width=arm.width, depth=4, heads=4))
    loss = partial(dalle_loss if arm.text_too else image_loss, p_uncond=0.1)
    batches = shuffled(*data, batch_size=32, seed=seed)
    options: Any = {"betas": (0.9, 0.99), "seed": seed, "progress": False}
    fitted = fit(model, loss, batches, steps=steps, lr=RATES[arm.width], **options)
    return cast(DALLE, fitted.ema)
