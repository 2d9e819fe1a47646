"""The prior of DALL·E 2 for drawn people, around the CLIP of people."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import runtime
from minilib.diffusion.schedule import X_0, Schedule, cosine_beta
from minilib.models.clip import CLIP
from minilib.models.unclip.captions import Caption, read_captions
from minilib.models.unclip.prior import DiffusionPrior, draw_embeddings, prior_loss
from minilib.recipes.clip_people import captioned_people, clip_people
from minilib.recipes.dalle import people_tokens
from minilib.recipes.dvae import PEOPLE
from minilib.recipes.recipe import Recipe
from minilib.weights import load_pretrained

COSINE = Schedule(cosine_beta())
PRIOR_W = 1.5  # the guidance with which it draws


def trained_clip() -> CLIP:
    """The CLIP of people that ships."""
    return load_pretrained(clip_people.model(), clip_people.name).to(runtime.device())


def embedded_people(
    n: int, seed: int, split: str = "train"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The embeddings u (n, D) of n people's pictures, and what CLIP reads in their
    captions, the three parts of `Caption`; the features in float16.
    """
    x, texts = captioned_people(n, seed, split)
    clip = trained_clip()
    read = read_captions(clip, people_tokens().encode(texts))
    u = runtime.in_blocks(clip.embed_image, x)
    return u, read.features.half(), read.seen, read.embedding


def imagined(
    prior: DiffusionPrior,
    tokens: Tensor,
    generator: torch.Generator,
    w: float = PRIOR_W,
) -> Tensor:
    """Embeddings (n, D) of pictures of captions (n, L), as the prior imagines them."""

    def draw(*parts: Tensor) -> Tensor:
        return draw_embeddings(prior, COSINE, X_0, Caption(*parts), generator, w)

    return runtime.in_blocks(draw, *read_captions(trained_clip(), tokens))


def score_prior(prior: DiffusionPrior, n: int = 512) -> dict[str, float]:
    """The mean cosine to the embedding of the picture, for n held-out prompts: of what
    the prior imagines, of the text embedding, and of another person's picture.
    """
    x, texts = captioned_people(n, 2, "held_out")
    tokens, clip = people_tokens().encode(texts), trained_clip()
    u = runtime.in_blocks(clip.embed_image, x)
    guesses = {
        "cosine_prior": imagined(prior, tokens, torch.Generator().manual_seed(0)),
        "cosine_text": runtime.in_blocks(clip.embed_text, tokens),
        "cosine_another": u.roll(1, dims=0),
    }
    return {
        name: float(F.cosine_similarity(guess, u).mean())
        for name, guess in guesses.items()
    }


prior_people = Recipe(
    name="prior_people",
    model=DiffusionPrior,
    loss=partial(prior_loss, schedule=COSINE, prediction=X_0, p_uncond=0.1),
    data=partial(embedded_people, 40_000, 0),
    quick=100,
    full=1_200,
    score=score_prior,
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.99),
    limits="Imagines embeddings by clip_people of people, told as their captions do.",
    source=PEOPLE,
)


def trained_prior() -> DiffusionPrior:
    """The prior of people that ships."""
    model = load_pretrained(prior_people.model(), prior_people.name)
    return model.to(runtime.device())
