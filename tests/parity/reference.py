"""What the parity tests share: references in float64, weights that hide nothing, and
how far two results are apart.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
)
from torch import Tensor, nn

from minilib.diffusion import sampling, schedule
from minilib.interop.unet import from_diffusers
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import ScaleShift, UNetConfig, block_down, block_up

BAR = 1e-10
T = 1000


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter in float64, those that start at 0 or 1 too, so that no
    branch of the network is silent.
    """
    g = torch.Generator().manual_seed(seed)
    model.double().eval().requires_grad_(True)
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=g, dtype=torch.float64)
            if p.ndim > 1:
                p.copy_(r / math.sqrt(p[0].numel()))
            else:
                p.copy_(
                    0.1 * r
                    + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
                )
    return model


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest number of b."""
    assert a.shape == b.shape, f"{tuple(a.shape)} against {tuple(b.shape)}"
    error = float(((a - b).abs().max() / b.abs().max()).detach())
    # max() would let a nan pass
    assert math.isfinite(error), "one of the two is not finite"
    return error


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """While it lasts, a reference that casts to float32 on its way casts to float64
    instead.
    """
    wide = lambda a: torch.float64 if a is torch.float32 else a  # noqa: E731
    to, float_ = Tensor.to, Tensor.float

    def to_wide(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return to(self, *map(wide, args), **{k: wide(v) for k, v in kwargs.items()})

    Tensor.to, Tensor.float = to_wide, Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.to, Tensor.float = to, float_  # type: ignore[method-assign]


# ---------- the U-Net ----------


def matched(config: UNetConfig) -> UNet2DModel:
    """diffusers' U-Net in the form of the config: DDPM's, or ADM's where blocks
    modulate by scale and shift.
    """
    adm = config.modulation is ScaleShift
    kinds = [
        "Attn" if level in config.attention else ""
        for level in range(len(config.multipliers))
    ]
    return UNet2DModel(
        in_channels=config.channels,
        out_channels=config.channels_out,
        block_out_channels=[config.width * m for m in config.multipliers],
        layers_per_block=config.blocks,
        down_block_types=[
            f"{k}DownBlock2D" if k or not adm else "ResnetDownsampleBlock2D"
            for k in kinds
        ],
        up_block_types=[
            f"{k}UpBlock2D" if k or not adm else "ResnetUpsampleBlock2D"
            for k in reversed(kinds)
        ],
        downsample_type="resnet" if adm else "conv",
        upsample_type="resnet" if adm else "conv",
        resnet_time_scale_shift="scale_shift" if adm else "default",
        norm_num_groups=config.groups,
        attn_norm_num_groups=config.groups,
        norm_eps=config.eps,
        attention_head_dim=config.head_dim,
        downsample_padding=1,
        freq_shift=0,
        flip_sin_to_cos=True,
        num_class_embeds=config.classes or None,
    )


def float64_sinusoid(width: int) -> Callable[[Tensor], Tensor]:
    """cos and sin of t times width/2 frequencies: diffusers computes its own in
    float32, a floor of 4e-7.
    """

    def embed(t: Tensor) -> Tensor:
        angles = t.double()[:, None] * 10_000 ** (
            -torch.arange(width // 2, dtype=torch.float64) / (width // 2)
        )
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    return embed


def unet_errors(config: UNetConfig, size: tuple[int, int]) -> dict[str, float]:
    """How far our U-Net is from diffusers' with the same random weights: output, and
    gradients of input and weights.

    On normal input and on a hundredth of it, where eps of the norms tells.
    """
    reference = randomise(matched(config))
    reference.time_proj.forward = float64_sinusoid(config.width)
    model = UNet(config).double()
    model.load_state_dict(from_diffusers(reference.state_dict()))
    g, errors = torch.Generator().manual_seed(1), {}
    t, y = (
        torch.tensor([3, 977]),
        torch.tensor([config.classes - 1, 0]) if config.classes else None,
    )
    for scale in (1.0, 0.01):
        x = scale * torch.randn(
            2, config.channels, *size, generator=g, dtype=torch.float64
        )
        theirs, mine = x.clone().requires_grad_(), x.clone().requires_grad_()
        with in_float64():
            out = reference(theirs, t, class_labels=y).sample
        ours = model(mine, t, y)
        weight = torch.randn(out.shape, generator=g, dtype=torch.float64)
        (out * weight).sum().backward()
        (ours * weight).sum().backward()
        expected = from_diffusers(
            {name: p.grad for name, p in reference.named_parameters()}
        )
        errors[f"output, input × {scale}"] = apart(ours, out)
        errors[f"gradient of x, input × {scale}"] = apart(mine.grad, theirs.grad)
        by_weight = [
            apart(p.grad, expected[name]) for name, p in model.named_parameters()
        ]
        errors[f"gradients of weights, input × {scale}"] = max(by_weight)
        model.zero_grad()
        reference.zero_grad()
    return errors


DDPM_FORM = UNetConfig(
    channels=3, channels_out=3, patch=1, width=16, attention=(1,), head_dim=8, eps=1e-6
)
ADM_FORM = UNetConfig(
    channels=3,
    channels_out=6,
    patch=1,
    width=16,
    attention=(1,),
    head_dim=8,
    classes=7,
    modulation=ScaleShift,
    down=block_down,
    up=block_up,
)


# ---------- samplers ----------

PREDICTIONS = {
    "epsilon": schedule.EPS,
    "sample": schedule.X_0,
    "v_prediction": schedule.V,
}
SPACINGS = {
    "leading": schedule.leading,
    "trailing": schedule.trailing,
    "linspace": schedule.even,
}


def toy(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """A "network" that is no good, but smooth and of the right size."""
    return torch.sin(3 * x + 0.01 * t.to(x).view(-1, 1, 1, 1)) + 0.2 * x


def toy_with_variance(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """The same, which also says where the variance lies: (B, 2C, H, W)."""
    return torch.cat(
        [toy(x, t), torch.cos(2 * x - 0.02 * t.to(x).view(-1, 1, 1, 1))], dim=1
    )


def linear_chain() -> schedule.Schedule:
    return schedule.Schedule(schedule.linear_beta(T))


def in_float64_chain(scheduler: Any) -> Any:
    """The scheduler with its betas, and what it derived from them, in float64."""
    beta = linear_chain().beta
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = (
        beta,
        1 - beta,
        (1 - beta).cumprod(0),
    )
    scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(
        1.0, dtype=torch.float64
    )
    return scheduler


def start() -> Tensor:
    return torch.randn(
        2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def follow(
    scheduler: Any, steps: list[int], model: Callable[..., Tensor] = toy, **options: Any
) -> Tensor:
    """The reference's pictures after each step: (steps, B, C, H, W)."""
    x, states = start(), []
    assert scheduler.timesteps.tolist() == steps, "the reference takes other steps"
    with in_float64():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t.expand(2)), t, x, **options).prev_sample
            states.append(x)
    return torch.stack(states)


def denoise(
    kind: str, clip: bool, model: Callable[..., Tensor] = toy
) -> sampling.Denoiser:
    return sampling.denoiser(model, linear_chain(), PREDICTIONS[kind], clip=clip)  # type: ignore[arg-type]


def trajectory_error(ours: Iterable[Tensor], reference: Tensor) -> float:
    """The largest of the errors of all steps."""
    return max(apart(a, b) for a, b in zip(ours, reference, strict=True))


def ddim_error(kind: str, spacing: str, n: int, clip: bool, eta: float) -> float:
    """DDIM against diffusers', which re-derives eps after clipping only when told so,
    and ends at alpha_bar = 1.
    """
    settings = {
        "clip_sample": clip,
        "prediction_type": kind,
        "timestep_spacing": spacing,
    }
    scheduler = in_float64_chain(
        DDIMScheduler(T, beta_start=1e-4, beta_end=0.02, **settings)
    )
    scheduler.set_timesteps(n)
    steps, draw = SPACINGS[spacing](T, n), lambda: torch.Generator().manual_seed(1)
    theirs = follow(
        scheduler, steps, eta=eta, generator=draw(), use_clipped_model_output=True
    )
    mine = sampling.ddim(
        denoise(kind, clip),
        linear_chain(),
        start(),
        steps,
        draw() if eta else None,
        eta,
    )
    return trajectory_error(mine, theirs)


VARIANCES = {
    "fixed_small": sampling.small_variance,
    "fixed_large": sampling.large_variance,
    "learned_range": sampling.learned_variance,
}


def ancestral_error(
    kind: str, spacing: str, n: int, clip: bool, variance: str
) -> float:
    """Ancestral sampling against diffusers' DDPM, which adds noise after the last step
    too, unless that was t = 0.
    """
    settings = {
        "clip_sample": clip,
        "prediction_type": kind,
        "timestep_spacing": spacing,
        "variance_type": variance,
    }
    scheduler = in_float64_chain(
        DDPMScheduler(T, beta_start=1e-4, beta_end=0.02, **settings)
    )
    scheduler.set_timesteps(n)
    steps, draw = SPACINGS[spacing](T, n), lambda: torch.Generator().manual_seed(1)
    compared = n if steps[-1] == 0 else n - 1
    model = toy_with_variance if variance == "learned_range" else toy
    theirs = follow(scheduler, steps, model, generator=draw())
    chain, denoised = linear_chain(), denoise(kind, clip, model)
    mine = sampling.ancestral(
        denoised, chain, start(), steps, draw(), variance=VARIANCES[variance]
    )
    return trajectory_error(list(mine)[:compared], theirs[:compared])


def dpm_error(kind: str, spacing: str, n: int, clip: bool) -> float:
    """DPM-Solver++ (2M) against diffusers' multistep solver, whose last step goes to
    sigma = 0.

    It clips by "thresholding" at the largest value, where that may be no more than 1.
    """
    settings = {
        "prediction_type": kind,
        "timestep_spacing": spacing,
        "final_sigmas_type": "zero",
    }
    settings |= {"thresholding": clip, "sample_max_value": 1.0}
    scheduler = in_float64_chain(
        DPMSolverMultistepScheduler(T, beta_start=1e-4, beta_end=0.02, **settings)
    )
    scheduler.set_timesteps(n)
    # its own lists differ from those of its other classes
    steps = [int(t) for t in scheduler.timesteps]
    sigma = (1 / scheduler.alphas_cumprod - 1).sqrt()
    scheduler.sigmas = torch.cat([sigma[steps], torch.zeros(1, dtype=torch.float64)])
    mine = sampling.dpm_solver(denoise(kind, clip), linear_chain(), start(), steps)
    return trajectory_error(mine, follow(scheduler, steps))
