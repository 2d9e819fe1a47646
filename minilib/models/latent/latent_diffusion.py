"""Latent diffusion, the system: CLIP reads the caption, a U-Net that looks at its words
draws latents, and the autoencoder's decoder makes them a picture. Rombach et al.
(2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.diffusion.inpainting import keep_known, known_latents
from minilib.diffusion.sampling import Denoiser, denoiser, dpm_solver, last
from minilib.diffusion.schedule import Prediction, Schedule
from minilib.models.clip import TextConfig, TextTransformer
from minilib.models.glide import null_captions, require_captions
from minilib.models.latent.kl_autoencoder import KLAutoencoder
from minilib.nets.conditional_unet import ConditionalUNet
from minilib.nets.spatial_transformer import (
    ConditionalTransformerBlock,
    CrossAttention,
)
from minilib.nets.unet_blocks import Context, UNetConfig
from minilib.text.words import PADDING, trimmed


@dataclass(frozen=True)
class LatentDiffusionConfig:
    """Sizes of the transformer that reads, which are those of a trained CLIP's, and of
    the U-Net, whose attention is `SpatialTransformer`.
    """

    text: TextConfig
    unet: UNetConfig


class LatentDiffusion(nn.Module):
    """z_t (B, C, h, w), t (B,), tokens (B, L) → (B, C, h, w). The text encoder is
    CLIP's, and learns nothing here.

    It trains by `text_loss` on latents that were encoded once, and has no autoencoder:
    that is needed before and after.
    """

    def __init__(self, config: LatentDiffusionConfig):
        super().__init__()
        self.config = config
        self.text = TextTransformer(config.text).requires_grad_(False)
        self.unet = ConditionalUNet(config.unet)

    def context(self, tokens: Tensor) -> Context:
        """Captions (B, L) → what the U-Net looks at: a vector for each token, padding
        left out.
        """
        tokens = trimmed(tokens)  # (B, L), L that of the longest caption
        with torch.no_grad():
            return Context(self.text(tokens), tokens != PADDING)

    def forward(self, z: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        require_captions(tokens, len(z))
        return self.unet(z, t, self.context(tokens))


def encoded(autoencoder: KLAutoencoder, x: Tensor) -> Tensor:
    """The latents (N, C, h, w) of all pictures x (N, 3, H, W), made once and kept."""
    return runtime.in_blocks(autoencoder.latents, x, size=100)


# ---------- drawing ----------

# denoiser, schedule, noise, falling steps → one latent a step
Sampler = Callable[[Denoiser, Schedule, Tensor, list[int]], Iterator[Tensor]]


def guided_network(
    model: LatentDiffusion, tokens: Tensor, w: float, negative: Tensor | None = None
) -> Callable[..., Tensor]:
    """The network (z_t, t) that draws captions (B, L) by classifier-free guidance: w
    times the way from what it predicts for `negative` (B, L) to what for the captions.

    By default those are null captions; others say what a picture shall not be. Both are
    asked for at once, and read once for all steps. Raises ValueError for w below 0.
    """
    if not w >= 0:
        raise ValueError(f"expected a guidance scale of 0 or more, got {w}")
    require_captions(tokens, len(tokens))
    negative = null_captions(tokens) if negative is None else negative
    runtime.require_shape("negative captions", negative, tuple(tokens.shape))
    if w in (0, 1):
        context = model.context(tokens if w else negative)
        return lambda z, t, _=None: model.unet(z, t, context)
    context = model.context(torch.cat([negative, tokens]))

    def predict(z: Tensor, t: Tensor, _: Tensor | None = None) -> Tensor:
        both = model.unet(torch.cat([z, z]), torch.cat([t, t]), context)
        away, towards = both.chunk(2)
        return torch.lerp(away, towards, w)

    return predict


@dataclass(frozen=True)
class Drawing:
    """How latents are drawn: the chain, what the network predicts, which steps are
    taken, the guidance scale w, and by which sampler.

    Samplers that need a generator are given one by `functools.partial`.
    """

    schedule: Schedule
    prediction: Prediction
    steps: list[int]
    w: float
    sampler: Sampler = dpm_solver

    def denoiser(
        self, model: LatentDiffusion, tokens: Tensor, negative: Tensor | None = None
    ) -> Denoiser:
        """The denoiser of latents, which have no limits to clip at."""
        network = guided_network(model, tokens, self.w, negative)
        return denoiser(network, self.schedule, self.prediction, clip=False)

    def latents(
        self,
        model: LatentDiffusion,
        z: Tensor,
        tokens: Tensor,
        negative: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """From noise z (B, C, h, w) towards latents of captions (B, L), a step at a
        time. `KLAutoencoder.pictures` makes each visible.
        """
        denoise = self.denoiser(model, tokens, negative)
        return self.sampler(denoise, self.schedule, z, self.steps)


def repaint(
    model: LatentDiffusion,
    autoencoder: KLAutoencoder,
    drawing: Drawing,
    x: Tensor,
    known: Tensor,
    z: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Pictures x (B, 3, H, W), drawn anew from noise z (B, C, h, w) by captions (B, L)
    where they are not `known` (B, 1, H, W).

    Latents that reach into the hole are drawn, the others kept; then what is known of x
    itself is laid over the picture.
    """
    runtime.require_shape("known", known, (len(x), 1, *x.shape[2:]))
    denoise = keep_known(
        drawing.denoiser(model, tokens),
        autoencoder.latents(x),
        known_latents(known, autoencoder.config.factor),
    )
    drawn = last(drawing.sampler(denoise, drawing.schedule, z, drawing.steps))
    return torch.where(known, x, autoencoder.pictures(drawn))


# ---------- where it looks ----------


@torch.no_grad()
def attention_maps(
    model: LatentDiffusion, z: Tensor, t: Tensor, tokens: Tensor
) -> Tensor:
    """How much each place of z_t (B, C, h, w) looks at each token of captions (B, L):
    (B, L', h, w), L' the length of the longest, which sums to 1 over the tokens.

    The mean over all heads and all layers of cross-attention, each enlarged to h × w:
    Tang et al. (2023), who sum over steps too.
    """
    found: list[Tensor] = []
    _, _, H, W = z.shape

    def keep(layer: CrossAttention, given: tuple[Tensor, ...], _: Tensor) -> None:
        h, vectors, seen = given
        weights = layer.weights(h, Context(vectors, seen)).mean(dim=1)  # (B, P, L')
        scale = math.isqrt(H * W // h.shape[1])  # how much smaller this layer's picture
        maps = weights.transpose(1, 2).unflatten(2, (H // scale, W // scale))
        found.append(F.interpolate(maps, (H, W), mode="bilinear"))

    layers = [m for m in model.modules() if isinstance(m, ConditionalTransformerBlock)]
    hooks = [m.cross_attention.register_forward_hook(keep) for m in layers]
    try:
        model(z, t, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found).mean(dim=0)
