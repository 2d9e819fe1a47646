"""Upsampling: a small picture is known, and a sampler paints a larger one that looks
like it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from minilib.diffusion.inpainting import with_clue
from minilib.glide import text_loss
from minilib.train import Draw
from minilib.unet import grow, shrink

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
        with_clue(model, grow(small + flaws)), x_0, tokens, draw=draw, **options
    )
