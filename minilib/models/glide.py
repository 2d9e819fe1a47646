"""GLIDE: a diffusion model that reads. Its captions reach every residual block and
every attention layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minilib.diffusion.guidance import classifier_free
from minilib.diffusion.inpainting import keep_known, random_holes
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import Denoiser, denoiser
from minilib.diffusion.schedule import Prediction, Schedule
from minilib.models.clip import TextConfig, TextTransformer
from minilib.nets.layers import attend_fast
from minilib.nets.unet import Embedding, UNetDecoder, UNetEncoder, require_fit
from minilib.nets.unet_blocks import Context, SpatialAttention, UNetConfig, grow, shrink
from minilib.runtime import require_shape, require_share
from minilib.text.words import END, PADDING, START, trimmed
from minilib.train import Draw


class TextAttention(SpatialAttention):
    """h (B, C, H, W), context → h: every position attends to all and to the words of
    the caption.

    Words get keys and values of their own, which stand beside those of the positions.
    Nichol et al. (2022, section 4.1).
    """

    def __init__(self, c: UNetConfig, channels: int, context: int):
        super().__init__(c, channels)
        self.words = nn.Linear(context, 2 * channels)

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        if context is None:
            return super().forward(h)
        B, C, H, W = h.shape
        heads = self.attention.heads
        positions = self.norm(h).flatten(2).transpose(1, 2)  # (B, H·W, C)
        q, k, v = (
            self.attention.qkv(positions)
            .view(B, H * W, 3, heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        words_k, words_v = (
            self.words(context.vectors)
            .view(B, -1, 2, heads, C // heads)
            .permute(2, 0, 3, 1, 4)
        )
        # (B, heads, H·W + L, C/heads)
        k, v = torch.cat([k, words_k], dim=2), torch.cat([v, words_v], dim=2)
        # of the words not the padding
        seen = torch.cat([context.seen.new_ones(B, H * W), context.seen], dim=1)
        found = attend_fast(q, k, v, seen[:, None, None])  # (B, heads, H·W, C/heads)
        found = found.transpose(1, 2).reshape(B, H * W, C)
        return h + self.attention.out(found).transpose(1, 2).view(B, C, H, W)


@dataclass(frozen=True)
class GLIDEConfig:
    """Sizes of GLIDE: those of the transformer that reads, and of the U-Net, whose
    attention is `TextAttention`.
    """

    text: TextConfig
    unet: UNetConfig


class GLIDE(nn.Module):
    """x_t (B, C, H, W), t (B,), tokens (B, L) → (B, C_out, H, W). Nichol et al. (2022,
    section 4.1).

    A transformer reads the caption. Its last token takes the place of the class
    embedding, and all its tokens go to every attention layer.
    """

    def __init__(self, config: GLIDEConfig):
        super().__init__()
        self.config, c = config, config.unet
        self.text = TextTransformer(config.text)
        self.to_emb = nn.Linear(config.text.width, 4 * c.width)
        self.embed, self.encoder, self.decoder = (
            Embedding(c),
            UNetEncoder(c),
            UNetDecoder(c),
        )

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        require_fit(self.config.unet, x, t, None)
        require_captions(tokens, len(x))
        tokens = trimmed(tokens)  # (B, L), L that of the longest caption
        vectors = self.text(tokens)  # (B, L, context)
        emb = self.embed(t) + self.to_emb(self.text.last(vectors, tokens))
        context = Context(vectors, tokens != PADDING)
        h, skips = self.encoder(x, emb, context)
        return self.decoder(h, skips, emb, context)


def require_captions(tokens: Tensor, n: int) -> None:
    """Raise ValueError unless tokens (n, L) hold a caption for each of n pictures."""
    if tokens.ndim != 2 or len(tokens) != n:
        raise ValueError(
            f"expected a caption for each of {n} pictures, tokens of shape ({n}, L), "
            f"got {tuple(tokens.shape)}"
        )


def null_captions(tokens: Tensor) -> Tensor:
    """As many empty captions as there are in tokens (B, L): start, end, padding."""
    empty = torch.full_like(tokens, PADDING)
    empty[:, 0], empty[:, 1] = START, END
    return empty


def drop_captions(tokens: Tensor, draw: Draw, p_uncond: float) -> Tensor:
    """Tokens (B, L), a share `p_uncond` of them replaced by the null caption.

    Nichol et al. (2022, section 4.2).
    """
    require_share("p_uncond", p_uncond)
    return torch.where(draw.uniform(1) < p_uncond, null_captions(tokens), tokens)


def text_loss(
    model: Callable[..., Tensor],
    x_0: Tensor,
    tokens: Tensor,
    *,
    draw: Draw,
    p_uncond: float,
    **options: Any,
) -> Tensor:
    """`simple_loss` of pictures x_0 (B, C, H, W) with captions (B, L), of which a share
    `p_uncond` is hidden.
    """
    captions = drop_captions(tokens, draw, p_uncond)
    return simple_loss(
        lambda x_t, t, _: model(x_t, t, captions), x_0, draw=draw, **options
    )


# ---------- inpainting: a part of the picture is known ----------


def masked_condition(x_0: Tensor, known: Tensor) -> Tensor:
    """The condition that a network gets of x_0 (B, C, H, W): its known part, 0
    elsewhere; and where it is. (B, C + 1, H, W).
    """
    require_shape("known", known, (len(x_0), 1, *x_0.shape[2:]))
    return torch.cat([x_0 * known, known.to(x_0)], dim=1)


def with_condition(
    model: Callable[..., Tensor], given: Tensor
) -> Callable[..., Tensor]:
    """The network (x_t, t, tokens) that sees a condition beside x_t, as more channels.
    Nichol et al. (2022, section 4.3).
    """

    def see(x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        require_shape("a condition", given, (len(x_t), given.shape[1], *x_t.shape[2:]))
        return model(torch.cat([x_t, given], dim=1), t, tokens)

    return see


def inpainting_loss(
    model: nn.Module, x_0: Tensor, tokens: Tensor, *, draw: Draw, **options: Any
) -> Tensor:
    """`text_loss` of a network that is given what is left of x_0 (B, C, H, W) after a
    rectangle was erased.
    """
    given = masked_condition(x_0, random_holes(x_0, draw))
    return text_loss(with_condition(model, given), x_0, tokens, draw=draw, **options)


def repainting(
    model: Callable[..., Tensor],
    schedule: Schedule,
    prediction: Prediction,
    x_0: Tensor,
    known: Tensor,
    tokens: Tensor,
    w: float,
) -> Denoiser:
    """The denoiser that paints x_0 (B, C, H, W) anew where it is not `known` (B, 1, H,
    W), as captions (B, L) say, with classifier-free guidance w.
    """
    network = with_condition(model, masked_condition(x_0, known))
    conditional, unconditional = (
        denoiser(network, schedule, prediction, y, clip=False)
        for y in (tokens, null_captions(tokens))
    )
    return keep_known(classifier_free(conditional, unconditional, w), x_0, known)


def widened(model: GLIDE, trained: GLIDE) -> GLIDE:
    """The model with the weights of one that sees fewer channels: it starts as that,
    blind to the others.

    Nichol et al. (2022, section 4.3).
    """
    weights = trained.state_dict()
    stem = weights["encoder.stem.weight"]  # (width, channels · patch², 3, 3)
    more = model.encoder.stem.in_channels - stem.shape[1]
    weights["encoder.stem.weight"] = torch.cat(
        [stem, stem.new_zeros(len(stem), more, 3, 3)], dim=1
    )
    model.load_state_dict(weights)
    return model.train()


# ---------- upsampling: a small picture is known ----------


# at most so much noise is added to small pictures in training, for a sampler's are not
# perfect either
FLAWS = 0.1


def upsampling_loss(
    model: nn.Module, x_0: Tensor, tokens: Tensor, *, draw: Draw, **options: Any
) -> Tensor:
    """`text_loss` of a network that sees x_0 (B, C, H, W) at half its size, a little
    noisy. Nichol et al. (2022, §4.1).

    The noise is of another level for each picture: Ho et al. (2022, section 3).
    """
    small = shrink(x_0)
    flaws = FLAWS * draw.uniform(1, 1, 1) * draw.normal(*small.shape[1:])
    return text_loss(
        with_condition(model, grow(small + flaws)), x_0, tokens, draw=draw, **options
    )
