"""CLIP for noisy pictures: it is told the step, and trained as before, so that it can
guide a sampler.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.clip import CLIP, CLIPConfig, contrastive_loss
from minilib.diffusion.schedule import Schedule
from minilib.layers import step_embedding
from minilib.train import Draw
from minilib.unet import zeroed


class NoisyCLIP(CLIP):
    """CLIP whose pictures x_t (B, C, H, W) are those of steps t (B,). Nichol et al.
    (2022, section 2.4).

    The step is added to the vectors of the whole and of all patches, by a layer that
    starts at zero: with the weights of a clean CLIP it starts as that. Where no steps
    are given they are all 0, where next to no noise is in a picture.
    """

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        dim = config.vision.dim
        self.time = nn.Sequential(
            nn.Linear(dim, dim), nn.SiLU(), zeroed(nn.Linear(dim, dim))
        )

    def cut(self, x: Tensor, t: Tensor | None) -> Tensor:
        """(B, C, H, W), (B,) → (B, 1 + P, dim): the vectors of the whole and of each
        patch, which know the step.
        """
        t = torch.zeros(len(x), device=x.device) if t is None else t
        emb = self.time(step_embedding(t, self.config.vision.dim, x.dtype))  # (B, dim)
        return self.vision.cut(x) + emb[:, None]

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) → (B, dim) of length 1."""
        return F.normalize(self.to_image(self.vision.read(self.cut(x, t))[:, 0]), dim=1)

    def patches(self, x: Tensor, t: Tensor | None = None) -> list[Tensor]:
        """(B, C, H, W), (B,) → for each block what it says of each patch: (B, P, dim),
        of mean 0 and variance 1.
        """
        return [
            F.layer_norm(h[:, 1:], h.shape[2:])
            for h in self.vision.stages(self.cut(x, t))
        ]

    def forward(self, x: Tensor, tokens: Tensor, t: Tensor | None = None) -> Tensor:
        return self.compare(self.embed_image(x, t), tokens)


def some_noise(x_0: Tensor, draw: Draw, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Pictures x_0 (B, C, H, W) with the noise of a step drawn for each, and those
    steps (B,).
    """
    t = (draw.uniform() * schedule.T).long()
    return schedule.noisy(x_0, t, draw.normal(*x_0.shape[1:])), t


def noisy_contrastive_loss(
    model: NoisyCLIP, x_0: Tensor, tokens: Tensor, *, draw: Draw, schedule: Schedule
) -> Tensor:
    """`contrastive_loss` of pictures x_0 (B, C, H, W) with the noise of a step drawn
    for each, and captions (B, L).

    Nichol et al. (2022, section 4.4): the objective stays what it was.
    """
    x_t, t = some_noise(x_0, draw, schedule)
    return contrastive_loss(lambda x, y: model(x, y, t), x_t, tokens)


def noisy_agreement_loss(
    model: NoisyCLIP, x_0: Tensor, u: Tensor, *, draw: Draw, schedule: Schedule
) -> Tensor:
    """Which clean picture of the batch is under the noise? u (B, dim) are the clean
    ones' embeddings by a clean CLIP.

    It needs no captions. Liu et al. (2023).
    """
    x_t, t = some_noise(x_0, draw, schedule)
    return contrastive_loss(
        lambda x, u: model.logit_scale.exp() * model.embed_image(x, t) @ u.T, x_t, u
    )
