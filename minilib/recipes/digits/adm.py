"""ADM's diffusion model of digits."""

from __future__ import annotations

from functools import partial

from minilib.data import digits
from minilib.diffusion.loss import hybrid_loss
from minilib.diffusion.schedule import V
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import ScaleShift, UNetConfig, block_down, block_up
from minilib.recipes.ddpm import COSINE, sample_digits, score_diffusion
from minilib.recipes.recipe import Recipe

adm_digits = Recipe(
    name="adm_digits",
    model=partial(
        UNet,
        UNetConfig(
            channels_out=2,
            blocks=1,
            classes=10,
            modulation=ScaleShift,
            down=block_down,
            up=block_up,
        ),
    ),
    loss=partial(hybrid_loss, schedule=COSINE, prediction=V, p_uncond=0.1),
    data=lambda: digits.load("train"),
    quick=400,
    full=14_000,
    score=partial(score_diffusion, schedule=COSINE, prediction=V),
    sample=partial(sample_digits, schedule=COSINE, prediction=V),
    classes=10,
    lr=4e-3,
    betas=(0.9, 0.99),
    limits="Draws digits only.",
)
