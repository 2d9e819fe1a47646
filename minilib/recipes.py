"""One recipe a trained model: data, model, loss and budgets in a few lines, trained the same way everywhere."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minilib import runtime
from minilib.autoencoder import Autoencoder, AutoencoderConfig, reconstruction_loss, sample_fitted_gaussian
from minilib.classifier import DigitClassifier, accuracy, classification_loss
from minilib.data import digits
from minilib.denoising import (
    WideAutoencoder,
    WideConfig,
    add_any_noise,
    add_noise,
    denoising_loss,
    falling_noise,
    walk_down,
)
from minilib.gan import GAN, GANConfig, covered_classes, discriminator_loss, generator_loss, sample_gan
from minilib.mae import MaskedAutoencoder, choose_patches, hidden_patches, mae_loss, patchify
from minilib.metrics import features, frechet_distance
from minilib.train import Draw, Fitted, fit, shuffled
from minilib.vae import VAE, elbo, sample_vae, vae_loss
from minilib.weights import load_pretrained, save_weights

MNIST = "MNIST (LeCun, Cortes, Burges): 20,000 class-balanced training digits of 60,000; CC BY-SA 3.0"


@dataclass(frozen=True)
class Recipe:
    """What makes one trained model, and how to draw from it and score it. `quick` and `full` are numbers of steps."""

    name: str
    model: Callable[[], Any]
    loss: Callable[..., Tensor] | dict[str, Callable[..., Tensor]]  # one, or one for each network that takes turns
    data: Callable[[], tuple[Tensor, ...]]
    quick: int
    full: int
    score: Callable[..., dict[str, float]]  # (model)
    sample: Callable[..., Tensor] | None = None  # (model, n, generator) → (n, C, H, W)
    batch_size: int = 64
    lr: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    seeds: tuple[int, ...] = ()  # of the trainings at the quick budget that ship too, as NAME_seed1, …
    limits: str = ""

    def train(self, *, steps: int | None = None, seed: int = 0, **options: Any) -> Fitted:
        """Train the model from `seed`, for `steps` or the budget's number of them; `options` go to `fit`.

        Raises ValueError for fewer than 1 step, and what `fit` raises.
        """
        steps = runtime.budget(quick=self.quick, full=self.full) if steps is None else steps
        if steps < 1:
            raise ValueError(f"expected 1 step or more, got {steps}")
        runtime.seed_everything(seed)
        batches = shuffled(*self.data(), batch_size=self.batch_size, seed=seed)
        settings: dict[str, Any] = {"lr": self.lr, "betas": self.betas, "weight_decay": self.weight_decay}
        settings |= {"seed": seed, "name": self.name}
        return fit(self.model(), self.loss, batches, steps=steps, **settings, **options)

    def settings(self) -> dict[str, Any]:
        """The numbers that the shipped weights depend on, for their card."""
        numbers = {"quick": self.quick, "full": self.full, "batch_size": self.batch_size}
        return {**numbers, "lr": self.lr, "betas": list(self.betas), "weight_decay": self.weight_decay}


def sample_autoencoder(model: Autoencoder, n: int, generator: torch.Generator) -> Tensor:
    """Decode n codes drawn from the Gaussian that fits the codes of the training digits: (n, 1, 28, 28)."""
    codes = runtime.in_blocks(model.encode, digits.load("train")[0])
    return runtime.in_blocks(model.decode, sample_fitted_gaussian(codes, n, generator))


def score_autoencoder(model: Autoencoder) -> dict[str, float]:
    """Held-out error per pixel on the 10,000 test digits, and two FD from 10,000 training digits.

    One is of the reconstructions of the test digits, the other of as many codes drawn from the fitted Gaussian.
    """
    x, reference = digits.load("test")[0], digits.load("train")[0][::2]
    network = load_pretrained(DigitClassifier(), "digit_classifier").to(runtime.device())
    rebuilt = runtime.in_blocks(model, x)
    drawn = sample_autoencoder(model, len(x), torch.Generator().manual_seed(0))
    real = features(network, reference)
    return {
        "mse": float((rebuilt - x).square().mean()),
        "fd_reconstructions": frechet_distance(features(network, rebuilt), real),
        "fd_samples": frechet_distance(features(network, drawn), real),
    }


def score_classifier(model: DigitClassifier) -> dict[str, float]:
    """Accuracy on the 10,000 test digits, and their FD from 10,000 training digits: the floor under every other FD."""
    (x_test, y_test), reference = digits.load("test"), digits.load("train")[0][::2]
    floor = frechet_distance(features(model, x_test), features(model, reference))
    return {"accuracy": accuracy(model, x_test, y_test), "fd_floor": floor}


def sample_denoiser(model: WideAutoencoder, n: int, generator: torch.Generator) -> Tensor:
    """Walk down from the mean digit under heavy noise, guessing and going part of the way: (n, 1, 28, 28)."""
    sigmas = falling_noise(5.0, 0.2, 20)
    noisy = digits.load("train")[0].mean(dim=0) + sigmas[0] * torch.randn(n, 1, 28, 28, generator=generator)
    return walk_down(lambda x, _: runtime.in_blocks(model, x), noisy, sigmas, generator)


def score_denoiser(model: WideAutoencoder) -> dict[str, float]:
    """On the 10,000 test digits: the error that is left of noise of level 0.5; and FD of as many drawn pictures."""
    x, reference = digits.load("test")[0], digits.load("train")[0][::2]
    network = load_pretrained(DigitClassifier(), "digit_classifier").to(runtime.device())
    noisy = add_noise(x, Draw(torch.Generator().manual_seed(0), slice(None), len(x)), sigma=0.5)
    drawn = sample_denoiser(model, len(x), torch.Generator().manual_seed(0))
    return {
        "mse_denoised": float((runtime.in_blocks(model, noisy) - x).square().mean()),
        "fd_samples": frechet_distance(features(network, drawn), features(network, reference)),
    }


def score_mae(model: MaskedAutoencoder) -> dict[str, float]:
    """Error per pixel on the hidden patches of the 10,000 test digits, 12 of their 49 patches being seen."""
    x = digits.load("test")[0]
    kept = choose_patches(torch.rand(len(x), model.patches, generator=torch.Generator().manual_seed(0)), 12)
    dev, blocks = runtime.device(), zip(x.split(500), kept.split(500), strict=True)
    with torch.no_grad():
        rebuilt = torch.cat([model(a.to(dev), b.to(dev)).cpu() for a, b in blocks])  # (N, P, patch²)
    error = (rebuilt - patchify(x, model.config.patch)).square().mean(dim=2)
    hidden = hidden_patches(kept, model.patches)
    return {"mse_hidden": float((error * hidden).sum() / hidden.sum())}


def score_vae(model: VAE) -> dict[str, float]:
    """On the 10,000 test digits: ELBO in nats, error per pixel, and FD of what is rebuilt and of what is drawn."""
    x, reference = digits.load("test")[0], digits.load("train")[0][::2]
    network = load_pretrained(DigitClassifier(), "digit_classifier").to(runtime.device())
    eps = torch.randn(len(x), model.code_dim, generator=torch.Generator().manual_seed(0))
    dev, blocks = runtime.device(), zip(x.split(500), eps.split(500), strict=True)
    with torch.no_grad():
        bound = torch.cat([elbo(model, a.to(dev), b.to(dev)).cpu() for a, b in blocks])  # (N,)
    rebuilt, drawn = runtime.in_blocks(model, x), sample_vae(model, len(x), torch.Generator().manual_seed(0))
    real = features(network, reference)
    return {
        "elbo": float(bound.mean()),
        "mse": float((rebuilt - x).square().mean()),
        "fd_reconstructions": frechet_distance(features(network, rebuilt), real),
        "fd_samples": frechet_distance(features(network, drawn), real),
    }


def score_gan(model: GAN) -> dict[str, float]:
    """FD of 10,000 drawn pictures from as many training digits, and how many of the ten digits they cover.

    Of a conditional model also its agreement: the share of pictures that the classifier takes for the digit asked for.
    """
    network = load_pretrained(DigitClassifier(), "digit_classifier").to(runtime.device())
    drawn = sample_gan(model, 10_000, torch.Generator().manual_seed(0))
    probabilities = runtime.in_blocks(network, drawn).softmax(dim=1)
    fd = frechet_distance(features(network, drawn), features(network, digits.load("train")[0][::2]))
    score = {"fd_samples": fd, "digits_covered": float(covered_classes(probabilities))}
    if model.generator.classes:
        asked = torch.arange(len(drawn)) % model.generator.classes
        score["agreement"] = float((probabilities.argmax(dim=1) == asked).float().mean())
    return score


ae_digits = Recipe(
    name="ae_digits",
    model=Autoencoder,
    loss=reconstruction_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=12_000,
    score=score_autoencoder,
    sample=sample_autoencoder,
    limits="Rebuilds digits; does not generate them (claim AE-2).",
)

ae_digits_2d = Recipe(
    name="ae_digits_2d",
    model=partial(Autoencoder, AutoencoderConfig(code_dim=2)),
    loss=reconstruction_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=12_000,
    score=score_autoencoder,
    sample=sample_autoencoder,
    weight_decay=0.8,  # without it some codes run far away, and the map is mostly empty
    limits="Two features only: good for a map, blurred as a reconstruction.",
)

digit_classifier = Recipe(
    name="digit_classifier",
    model=DigitClassifier,
    loss=classification_loss,
    data=lambda: digits.load("train"),
    quick=400,
    full=8_000,
    score=score_classifier,
    batch_size=128,
    lr=2e-3,
    weight_decay=0.05,
    limits="Sees digits only; its features say nothing about other pictures.",
)

vae_digits = Recipe(
    name="vae_digits",
    model=VAE,
    loss=vae_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=20_000,
    score=score_vae,
    sample=sample_vae,
    limits="Draws digits, but blurred ones: it shows the mean of what a code could be.",
)

dae_digits = Recipe(
    name="dae_digits",
    model=partial(WideAutoencoder, WideConfig(maps=64, blocks=2)),
    loss=partial(denoising_loss, corrupt=partial(add_any_noise, low=0.2, high=5.0)),
    data=lambda: (digits.load("train")[0],),
    quick=300,
    full=12_000,
    score=score_denoiser,
    sample=sample_denoiser,
    limits="Knows the noise level only from looking; its strokes sometimes belong to no digit.",
)

mae_digits = Recipe(
    name="mae_digits",
    model=MaskedAutoencoder,
    loss=mae_loss,
    data=lambda: (digits.load("train")[0],),
    quick=300,
    full=6_000,
    score=score_mae,
    lr=2e-3,
    limits="Paints the mean of what could be there: blurred where the 12 patches it sees do not say.",
)

gan_digits = Recipe(
    name="gan_digits",
    model=GAN,
    loss={"discriminator": discriminator_loss, "generator": generator_loss},
    data=lambda: (digits.load("train")[0],),
    quick=1000,
    full=40_000,
    score=score_gan,
    sample=sample_gan,
    lr=3e-3,
    betas=(0.0, 0.9),
    seeds=(1, 2, 3, 4),
    limits="Draws digits only, some of them broken. How much of the data it misses is claim GAN-3.",
)

cgan_digits = Recipe(
    name="cgan_digits",
    model=partial(GAN, GANConfig(classes=10)),
    loss={"discriminator": discriminator_loss, "generator": generator_loss},
    data=lambda: digits.load("train"),
    quick=1500,
    full=5_000,
    score=score_gan,
    sample=sample_gan,
    lr=3e-3,
    betas=(0.0, 0.9),
    limits="Draws the digit that it is asked for, most of the time.",
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        digit_classifier,
        ae_digits,
        ae_digits_2d,
        vae_digits,
        dae_digits,
        mae_digits,
        gan_digits,
        cgan_digits,
    )
}


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError that lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"no recipe named {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]


def train_and_save(
    name: str, folder: Path, *, steps: int | None = None, seed: int = 0, file: str | None = None, **options: Any
) -> Path:
    """Run a recipe and write what it gave as `folder/FILE.safetensors` with its card; return the file's path.

    `file` is the recipe's name unless given. The weights are the averaged ones, in float16, and the score is that of
    these very weights. Under torchrun every process trains; each scores, and the first one writes.
    """
    recipe = get(name)
    fitted = recipe.train(steps=steps, seed=seed, **options)
    shipped = fitted.ema.half().float()  # what the file will hold
    about = {
        "recipe": recipe.settings(),
        "steps": len(fitted.loss),
        "seed": seed,
        "data": MNIST,
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "seconds": round(fitted.seconds, 1),
        "machine": runtime.machine(),
        "date": datetime.date.today().isoformat(),
        "score": {k: round(v, 5) for k, v in recipe.score(shipped).items()},
        "limits": recipe.limits,
    }
    if recipe.sample:
        started = time.perf_counter()
        recipe.sample(shipped, 1000, torch.Generator().manual_seed(seed))
        about["seconds_per_1000_samples"] = round(time.perf_counter() - started, 3)
    path = folder / f"{file or name}.safetensors"
    if fitted.rank == 0:
        save_weights(shipped, path, about)
    return path
