"""Chapter 12: what 64 tokens keep of a picture, and how well the Gumbel-softmax
gradient follows the exact one.
"""

from __future__ import annotations

import io
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from minilib import runtime
from minilib.claims import PICTURE
from minilib.data.people.attributes import Person, draw, seen
from minilib.data.people.drawing import render
from minilib.experiments.experiment import Bound, Compare, Experiment, Measured, Size
from minilib.experiments.image_tokens_parts import (
    BASELINE,
    GUMBEL,
    REINFORCE,
    STRAIGHT,
    exact_elbo,
    gradient_errors,
    identity_error,
    tiny_dvae,
    tiny_people,
)
from minilib.models.attributes import AttributeJudge, judged
from minilib.models.autoencoder import principal_components
from minilib.models.dvae import DVAE
from minilib.recipes.dvae import some_people
from minilib.weights import load_pretrained

# ---------- DALLE-1 ----------

TOKENS, BITS = 64, 9  # of a picture; of a token, one of 512 codes


@cache
def shipped_dvae() -> DVAE:
    """The discrete VAE of people that ships."""
    return load_pretrained(DVAE(), "dvae_people").to(runtime.device())


@cache
def judge() -> AttributeJudge:
    """The judge of people that ships."""
    return load_pretrained(AttributeJudge(32), "people_judge").to(runtime.device())


def png_bits(x: Tensor) -> list[float]:
    """How many bits each of pictures x (N, 3, H, W) in [-1, 1] takes as a PNG file."""
    found = []
    for one in ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(one).save(file, "png", optimize=True)
        found.append(8.0 * len(file.getvalue()))
    return found


@cache
def principal_people(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of n training people: mean (3072,), 64 principal directions (64, 3072), and the
    largest size of each coordinate (64,).
    """
    x = some_people(n, 0, "train").flatten(1)
    mean, directions = principal_components(x, TOKENS)
    return mean, directions, ((x - mean) @ directions.T).abs().amax(dim=0)


def rebuild_by_pca(x: Tensor, n: int) -> Tensor:
    """Pictures x (N, 3, 32, 32) from 64 coordinates, each rounded to one of 512 values:
    as many bits as 64 tokens.
    """
    mean, directions, most = principal_people(n)
    half = 2 ** (BITS - 1)  # steps on each side of 0
    z = ((x.flatten(1) - mean) @ directions.T / most * half).round() / half
    z = z.clamp(-1, 1 - 1 / half)  # (N, 64)
    return (mean + (z * most) @ directions).view_as(x).clamp(-1, 1)


def errors(a: Tensor, b: Tensor) -> list[float]:
    """Mean squared difference per number of each pair of pictures."""
    return (a - b).square().flatten(1).mean(dim=1).tolist()


def told_right(x: Tensor, people: list[Person]) -> list[float]:
    """The share of what each person shows at 32 pixels that the judge tells right of
    pictures x (N, 3, 32, 32).
    """
    shares = []
    for found, person in zip(judged(judge(), x), people, strict=True):
        shown = seen(person, "personas", 32)
        right = sum(found[name] == value for name, value in shown.items())
        shares.append(right / len(shown))
    return shares


def bits_of_usage(tokens: Tensor, codes: int) -> list[float]:
    """Bits per token of each picture's tokens (N, L), in the code that is shortest for
    all of them: in the mean, log2 of the perplexity.
    """
    usage = torch.bincount(tokens.flatten(), minlength=codes).double()
    bits = (usage.sum() / usage).log2()  # of each code
    return bits[tokens].mean(dim=1).tolist()


FEWER = "bits of a person of 32 × 32: as PNG − as tokens"
CLOSER = "squared error: PCA of as many bits − tokens"
KEPT = "share of attributes that the judge tells right: original − rebuilt"
USED = "bits of a token, by how often each is used: − 8, which half the codebook takes"


def measure_tokens(seed: int, size: Size) -> Measured:
    """DALLE-1: the shipped discrete VAE, on unseen people, others for each seed."""
    n = size.pick(live=100, quick=1000, full=2000)
    people = draw(n, 100 + seed, "test", "personas")
    x = render(people, "personas", 32)
    model = shipped_dvae()
    tokens = runtime.in_blocks(model.tokens, x)
    rebuilt = runtime.in_blocks(model.decode_tokens, tokens)
    by_pca = rebuild_by_pca(x, size.pick(live=1000, quick=5000, full=20_000))
    return {
        FEWER: (png_bits(x), [float(TOKENS * BITS)] * n),
        CLOSER: (errors(by_pca, x), errors(rebuilt, x)),
        KEPT: (told_right(x, people), told_right(rebuilt, people)),
        USED: (bits_of_usage(tokens, model.codes), [8.0] * n),
    }


DALLE_1 = Experiment(
    "DALLE-1",
    "A discrete VAE turns an RGB picture into image tokens: 64 of 9 bits each, from "
    "which it is rebuilt with what it shows.",
    measure_tokens,
    (
        Compare(FEWER, 576.0),
        Compare(CLOSER, 0.001),
        Compare(KEPT, 0.03, equal=True),
        Compare(USED, 0.1),
    ),
    PICTURE,
    2,
)

# ---------- DALLE-4 ----------

IDENTITY = "ELBO + KL(q ‖ p(z given x)) = log p(x), all codes enumerated, relative"
RISES = "exact ELBO in nats per picture: trained − after one step"
BIAS = "bias of the Gumbel-softmax gradient, as a share of it: at τ = 1 − at τ = 1/16"
SPREAD = "its standard deviation, as a share: at τ = 1/16 − at τ = 1"
LESS_BIAS = "bias at τ = 1/2: straight-through − Gumbel-softmax"
LESS_SPREAD = "standard deviation: REINFORCE − Gumbel-softmax at τ = 1/2"
COLD = "standard deviation: Gumbel-softmax at τ = 1/16 − REINFORCE with a baseline"
UNBIASED = "bias of REINFORCE with a baseline, against 0"


def measure_relaxation(seed: int, size: Size) -> Measured:
    """DALLE-4: a discrete VAE of tiny people from this seed; its gradients on 16 unseen
    ones, a quarter of the way through its training.
    """
    steps = size.pick(live=200, quick=1200, full=1200)
    n = size.pick(live=250, quick=1000, full=20_000)
    x = tiny_people(16, 1, "test")
    model = tiny_dvae(seed, steps // 4)
    warm, half, cold = (
        gradient_errors(model, x, tau, n, seed) for tau in (1, 1 / 2, 1 / 16)
    )
    before, after = tiny_dvae(seed, 1), tiny_dvae(seed, steps)
    return {
        IDENTITY: identity_error(model, x),
        RISES: tuple(float(exact_elbo(m, x).mean()) for m in (after, before)),
        BIAS: (warm[GUMBEL][0], cold[GUMBEL][0]),
        SPREAD: (cold[GUMBEL][1], warm[GUMBEL][1]),
        LESS_BIAS: (half[STRAIGHT][0], half[GUMBEL][0]),
        LESS_SPREAD: (half[REINFORCE][1], half[GUMBEL][1]),
        COLD: (cold[GUMBEL][1], cold[BASELINE][1]),
        UNBIASED: (cold[BASELINE][0], 0.0),
    }


# shares of the gradient's length: a tenth matters
DALLE_4 = Experiment(
    "DALLE-4",
    "Training maximises the ELBO, and Gumbel-softmax makes its discrete q "
    "differentiable: as the temperature falls, the bias of the gradient falls and its "
    "variance rises.",
    measure_relaxation,
    (
        Bound(IDENTITY, 1e-9),
        Compare(RISES, 1.0),
        Compare(BIAS, 0.1),
        Compare(SPREAD, 0.1),
        Compare(LESS_BIAS, 0.1),
        Compare(LESS_SPREAD, 0.1),
        Compare(COLD, 0.1),
        Compare(UNBIASED, 0.1, equal=True),
    ),
)
