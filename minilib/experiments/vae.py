"""The claims of chapter 2: what a VAE draws, what its codes look like, what the KL does
to their variance, and how far the ELBO lies below log p(x).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from minilib import runtime
from minilib.data import digits
from minilib.experiments.experiment import Bound, Compare, Experiment, Measured, Size
from minilib.experiments.gan import digit_fd
from minilib.experiments.vae_parts import (
    climb,
    exact_elbo,
    fit_bench,
    kl_between,
    kl_by_draws,
    log_weights,
    mean_bound,
    quantiles_off,
    random_q,
    spread,
    unequal,
)
from minilib.models.autoencoder import Autoencoder, sample_fitted_gaussian
from minilib.models.vae import (
    VAE,
    kl_to_standard_normal,
    reparametrise,
    sample_vae,
    vae_loss,
)
from minilib.recipes.digits.autoencoder import ae_digits
from minilib.recipes.digits.vae import vae_digits
from minilib.recipes.recipe import Recipe
from minilib.train import fit, shuffled

load_digits = cache(digits.load)
RECIPES: dict[str, Recipe] = {"AE": ae_digits, "VAE": vae_digits}


@cache
def trained(kind: str, seed: int, size: Size) -> nn.Module:
    """An "AE" or a "VAE" of all training digits, with averaged weights."""
    recipe = RECIPES[kind]
    steps = size.pick(live=150, quick=recipe.quick, full=recipe.full)
    return recipe.train(steps=steps, seed=seed, progress=False).ema


def codes_of(vae: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """mu and logvar (N, D) of pictures x (N, 1, 28, 28)."""
    encode = cast(VAE, vae).encode
    both = runtime.in_blocks(lambda block: torch.cat(encode(block), dim=1), x)
    mu, logvar = both.chunk(2, dim=1)
    return mu, logvar


def posterior_draws(vae: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    """One code drawn from q(z|x) of each picture x (N, 1, 28, 28), that is N draws from
    the aggregate posterior: (N, D).
    """
    mu, logvar = codes_of(vae, x)
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    return reparametrise(mu, logvar, eps)


# ---------- VAE-1: drawing, diversity, generalising ----------


def ways_to_draw(codes: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """n random codes (n, D) for an autoencoder whose training codes are `codes` (N, D),
    in three ways.
    """
    g = torch.Generator().manual_seed(seed)
    low, high = codes.min(dim=0).values, codes.max(dim=0).values
    return {
        "AE, box": low + (high - low) * torch.rand(n, len(low), generator=g),
        "AE, N(0, I)": torch.randn(n, len(low), generator=g),
        "AE, fitted Gaussian": sample_fitted_gaussian(codes, n, g),
    }


def draws_apart(ae: nn.Module, vae: nn.Module, seed: int, n: int) -> Measured:
    """FD of n random codes, decoded: by the autoencoder in each way, and by the VAE."""
    network = cast(Autoencoder, ae)
    codes = runtime.in_blocks(network.encode, load_digits("train")[0][:5000])
    ours = digit_fd(
        sample_vae(cast(VAE, vae), n, torch.Generator().manual_seed(seed + 1))
    )
    return {
        DRAWS[way]: (digit_fd(runtime.in_blocks(network.decode, z)), ours)
        for way, z in ways_to_draw(codes, n, seed).items()
    }


@torch.no_grad()
def decodings(vae: nn.Module, x: Tensor, count: int, seed: int = 0) -> Tensor:
    """`count` decodings of each picture x (N, 1, 28, 28), of codes drawn from its
    q(z|x): (N, count, 1, 28, 28).
    """
    drawn = [posterior_draws(vae, x, 1000 * seed + i) for i in range(count)]
    decode = cast(VAE, vae).decode
    return torch.stack([runtime.in_blocks(decode, z) for z in drawn], dim=1)


def error_of(model: nn.Module, x: Tensor) -> float:
    """Squared error per pixel of the model's reconstructions of x (N, 1, 28, 28)."""
    return float((runtime.in_blocks(model, x) - x).square().mean())


def gap_of_few(kind: str, seed: int, steps: int, count: int = 100) -> float:
    """Error on 2,000 unseen digits less that on the training digits, of an "AE" or a
    "VAE" trained on `count` random ones.
    """
    x, recipe = load_digits("train")[0], RECIPES[kind]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    own = x[order[:count]]
    runtime.seed_everything(seed)
    batches = shuffled(own, batch_size=32, seed=seed)
    loss = cast(Any, recipe.loss)
    model = fit(
        recipe.model(), loss, batches, steps=steps, lr=recipe.lr, seed=seed,
        progress=False,
    ).ema  # fmt: skip
    return error_of(model, load_digits("test")[0][:2000]) - error_of(model, own)


def beside_autoencoder(
    ae: nn.Module, vae: nn.Module, seed: int, n: int, inputs: int, steps: int
) -> Measured:
    """The parts of VAE-1 for these two: FD of n drawn digits, decodings of so many
    unseen digits; and for two others that train so many steps on 100 digits.
    """
    x = load_digits("test")[0][:inputs]
    return {
        **draws_apart(ae, vae, seed, n),
        DIVERSE: (spread(decodings(vae, x, 8, seed)), 0.0),
        FEW: (gap_of_few("AE", seed, steps), gap_of_few("VAE", seed, steps)),
    }


def measure_vae(seed: int, size: Size) -> Measured:
    """VAE-1: an autoencoder and a VAE from the same seed, on the same digits, for as
    many steps; and both from 100 digits.
    """
    ae, vae = trained("AE", seed, size), trained("VAE", seed, size)
    n = size.pick(live=2000, quick=2000, full=10_000)
    inputs = size.pick(live=100, quick=500, full=2000)
    steps = size.pick(live=150, quick=400, full=3000)
    return beside_autoencoder(ae, vae, seed, n, inputs, steps)


DRAWS = {
    way: f"FD (digit features) of random codes, decoded: {way} − VAE"
    for way in ("AE, box", "AE, N(0, I)", "AE, fitted Gaussian")
}
DIVERSE = "a pixel's spread over decodings of one input: VAE − autoencoder"
FEW = "held-out − training error with 100 pictures: autoencoder − VAE"

# a pixel of the digits has a spread of about 0.5, the autoencoder's gap is 0.15: a
# tenth of these matters
VAE_1 = Experiment(
    "VAE-1",
    "Mapping each sample to a distribution, and sampling from it, generalises better "
    "and gives diversity: random codes decode to pictures nearer to digits, one input "
    "has many decodings, and 100 training pictures are overfitted less.",
    measure_vae,
    (
        *(Compare(name, 1.0) for name in DRAWS.values()),
        Compare(DIVERSE, 0.045),
        Compare(FEW, 0.015),
    ),
)

# ---------- VAE-2: are the codes normal? ----------


def normality(vae: nn.Module, seed: int, n: int) -> Measured:
    """The parts of VAE-2 for one VAE, on n unseen digits (at least 2,000)."""
    x = load_digits("test")[0][:n]
    mu, logvar = codes_of(vae, x)
    z = posterior_draws(vae, x, seed)
    g = torch.Generator().manual_seed(seed + 1)
    network = cast(VAE, vae)
    by_formula = float(kl_to_standard_normal(mu, logvar).mean())
    return {
        MEAN: (float(z.mean(dim=0).abs().mean()), 0.0),
        VARIANCE: (float((z.var(dim=0) - 1).abs().mean()), 0.0),
        QUANTILES: (quantiles_off(z), 0.0),
        JOINTLY: (
            digit_fd(sample_vae(network, 2000, g)),
            digit_fd(runtime.in_blocks(network.decode, z[:2000])),
        ),
        FORMULA: (kl_by_draws(mu, logvar, seed) / by_formula, 1.0),
    }


def measure_normality(seed: int, size: Size) -> Measured:
    """VAE-2: the codes that a VAE gives to unseen digits."""
    n = size.pick(live=2000, quick=10_000, full=10_000)
    return normality(trained("VAE", seed, size), seed, n)


MEAN = "a feature's |mean| over all codes, against 0"
VARIANCE = "a feature's |variance − 1| over all codes, against 0"
QUANTILES = "distance of a feature's quantiles from the normal ones, against 0"
JOINTLY = "FD (digit features): decoded from N(0, I), against from the codes of digits"
FORMULA = "KL of q(z given x) to N(0, I): average over draws / closed form, against 1"

# N(0, 1) has a standard deviation of 1: a tenth of that matters, one FD, and 1 % of KL
VAE_2 = Experiment(
    "VAE-2",
    "The features are taken to be normal: over all pictures each feature has nearly "
    "the mean, the variance and the quantiles of N(0, 1), decoded pictures do not show "
    "a difference between the codes of digits and N(0, I), and the closed form of the "
    "KL is the average over draws.",
    measure_normality,
    (
        Compare(MEAN, 0.1, equal=True),
        Compare(VARIANCE, 0.1, equal=True),
        Compare(QUANTILES, 0.1, equal=True),
        Compare(JOINTLY, 1.0, equal=True),
        Compare(FORMULA, 0.01, equal=True),
    ),
)

# ---------- VAE-3: without the KL ----------


def posterior_std(vae: nn.Module, n: int = 1000) -> float:
    """The standard deviation of q(z|x), over features and n unseen digits: the
    geometric mean.
    """
    _, logvar = codes_of(vae, load_digits("test")[0][:n])
    return float((0.5 * logvar).mean().exp())


def spread_of_means(vae: nn.Module, n: int = 1000) -> float:
    """How far the means of q(z|x) lie apart: their standard deviation over n unseen
    digits, averaged over features.
    """
    return float(codes_of(vae, load_digits("test")[0][:n])[0].std(dim=0).mean())


def train_with(beta: float, seed: int, steps: int) -> nn.Module:
    """A VAE trained with beta times the KL: its last weights, for their running average
    lags behind after few steps.
    """
    runtime.seed_everything(seed)
    batches = shuffled(load_digits("train")[0], batch_size=64, seed=seed)
    loss = partial(vae_loss, beta=beta)
    return fit(
        VAE(), loss, batches, steps=steps, lr=vae_digits.lr, seed=seed, progress=False
    ).model


def collapse(with_kl: nn.Module, without: nn.Module) -> Measured:
    """The parts of VAE-3 for two VAEs that differ in the KL alone."""
    small = posterior_std(without)
    return {
        KEEPS: (posterior_std(with_kl), small),
        COLLAPSES: (small / spread_of_means(without), 0.0),
    }


def measure_collapse(seed: int, size: Size) -> Measured:
    """VAE-3: from the same seed, on the same batches, for as many steps."""
    steps = size.pick(live=60, quick=100, full=2000)
    return collapse(train_with(1.0, seed, steps), train_with(0.0, seed, steps))


KEEPS = "standard deviation of q(z given x): with − without the KL"
COLLAPSES = "the same without the KL, as a share of the spread of the means, against 0"

# N(0, 1) has a standard deviation of 1: a tenth of that matters
VAE_3 = Experiment(
    "VAE-3",
    "The pull towards N(0, I) is what stops the variance from becoming 0: without the "
    "KL the standard deviation of q(z given x) collapses; with it, it does not.",
    measure_collapse,
    (Compare(KEEPS, 0.1), Compare(COLLAPSES, 0.1, equal=True)),
)

# ---------- ELBO-1: the bound and its gap ----------

bench_of = cache(fit_bench)


def on_the_bench(seed: int, digits_fitted: int) -> Measured:
    """The identities of ELBO-1 on probabilistic PCA, for 200 unseen digits, each with
    an arbitrary q, and along a climb of 20 digits.
    """
    model = bench_of(digits_fitted)
    x = load_digits("test")[0][200 * seed : 200 * seed + 200].flatten(1).double()
    q, log_p = random_q(len(x), seed), model.log_prob(x)
    bound, kl = exact_elbo(model, x, *q), kl_between(*q, *model.encode(x))
    return {
        SUM: float(((bound + kl) / log_p - 1).abs().max()),
        BELOW: max(0.0, float((bound - log_p).max())),
        CLIMB: unequal(*climb(model, x[:20], 300)),
    }


def on_the_vae(vae: nn.Module, seed: int, n: int) -> Measured:
    """The bounds of ELBO-1 for one VAE, on n unseen digits, from the same 64 draws."""
    x = load_digits("test")[0][:n].to(runtime.device())
    model = cast(VAE, vae)
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(64, n, model.code_dim, generator=g).to(runtime.device())
    weights = log_weights(model, x, eps)
    elbo, four, all_64 = (mean_bound(weights, k) for k in (1, 4, 64))
    return {FOUR: (four, elbo), MANY: (all_64, four)}


def measure_bounds(seed: int, size: Size) -> Measured:
    """ELBO-1: the identities in float64, and a trained VAE's bounds."""
    fitted = size.pick(live=2000, quick=5000, full=20_000)
    n = size.pick(live=50, quick=200, full=2000)
    vae = trained("VAE", seed, size)
    return {**on_the_bench(seed, fitted), **on_the_vae(vae, seed, n)}


SUM = "linear Gaussian, arbitrary q: ELBO + KL(q ‖ p(z given x)) = log p(x), relative"
BELOW = "linear Gaussian, arbitrary q: by how much the ELBO exceeds log p(x), nats"
CLIMB = "linear Gaussian, climbing: gain of the ELBO = loss of the KL, relative"
FOUR = "VAE: importance-weighted bound of 4 draws − ELBO, nats"
MANY = "VAE: importance-weighted bound of 64 draws − of 4, nats"

# models of digits are compared by tenths of a nat
ELBO_1 = Experiment(
    "ELBO-1",
    "log p(x) = ELBO + KL(q ‖ p(z given x)); since log p(x) does not depend on q, "
    "raising the ELBO in q lowers that KL by as much. On a VAE, whose posterior is not "
    "known, the importance-weighted bounds lie above the ELBO.",
    measure_bounds,
    (
        Bound(SUM, 1e-9),
        Bound(BELOW, 1e-9),
        Bound(CLIMB, 1e-9),
        Compare(FOUR, 0.1),
        Compare(MANY, 0.1),
    ),
)
