"""CLIP for noisy pictures: it is given the step, and trained as before, so that it can
guide a sampler, by text, content, structure or style.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.diffusion.guidance import LogProbability
from minilib.diffusion.schedule import Schedule
from minilib.models.clip import CLIP, CLIPConfig, contrastive_loss
from minilib.nets.layers import step_embedding
from minilib.nets.unet_blocks import zeroed
from minilib.runtime import require_shape
from minilib.train import Draw


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
        require_shape("t", t, (len(x),))
        emb = self.time(step_embedding(t, self.config.vision.dim, x.dtype))  # (B, dim)
        return self.vision.cut(x) + emb[:, None]

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) → (B, dim) of length 1."""
        return F.normalize(self.to_image(self.vision.read(self.cut(x, t))[:, 0]), dim=1)

    def patches(self, x: Tensor, t: Tensor | None = None) -> list[Tensor]:
        """(B, C, H, W), (B,) → for each block its features of each patch: (B, P, dim),
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


# ---------- semantic guidance: Liu et al. (2023, section 3) ----------


# t (B,) → a picture to be like, with the noise of these steps: (B, C, H, W)
Reference = Callable[[Tensor], Tensor]


def text_fit(clip: NoisyCLIP, tokens: Tensor) -> LogProbability:
    """How well x_t fits captions (B, L): their cosine over CLIP's temperature.

    For the best CLIP that is log p(y | x_t) - log p(y), so that s = 1 is Bayes' rule.
    """
    v = clip.embed_text(tokens).detach()

    def log_probability(x_t: Tensor, t: Tensor) -> Tensor:
        u = clip.embed_image(x_t, t)
        require_shape("embeddings of captions, one for each picture,", v, u.shape)
        return clip.logit_scale.exp().detach() * (u * v).sum(dim=1)

    return log_probability


def content_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """How near x_t is to the reference in the space of CLIP: their cosine over its
    temperature.
    """

    def log_probability(x_t: Tensor, t: Tensor) -> Tensor:
        u = clip.embed_image(reference(t), t).detach()
        return clip.logit_scale.exp().detach() * (clip.embed_image(x_t, t) * u).sum(
            dim=1
        )

    return log_probability


def structure_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """Minus the mean squared difference of CLIP's features of each patch, position
    by position, block by block.
    """

    def log_probability(x_t: Tensor, t: Tensor) -> Tensor:
        pairs = zip(clip.patches(x_t, t), clip.patches(reference(t), t), strict=True)
        return -torch.stack(
            [(a - b.detach()).square().mean(dim=(1, 2)) for a, b in pairs]
        ).sum(dim=0)

    return log_probability


def gram(h: Tensor) -> Tensor:
    """(B, P, dim) → (B, dim, dim): how features occur together, wherever that is. Gatys
    et al. (2016).
    """
    return h.transpose(1, 2) @ h / h.shape[1]


def style_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """Minus the mean squared difference of the Gram matrices of CLIP's features of
    patches, block by block.
    """

    def log_probability(x_t: Tensor, t: Tensor) -> Tensor:
        pairs = zip(clip.patches(x_t, t), clip.patches(reference(t), t), strict=True)
        return -torch.stack(
            [(gram(a) - gram(b.detach())).square().mean(dim=(1, 2)) for a, b in pairs]
        ).sum(dim=0)

    return log_probability


def mixture(terms: list[tuple[float, LogProbability]]) -> LogProbability:
    """Several terms at once, each with its weight."""
    return lambda x_t, t: torch.stack(
        [weight * log_probability(x_t, t) for weight, log_probability in terms]
    ).sum(dim=0)
