"""Semantic guidance: what chapter 10 claims, SDG-1 to SDG-5.

One diffusion model of scenes, trained without captions, is guided by a noisy CLIP. The
unit is a picture: all arms of one picture start from the same noise and differ in
nothing but the guidance. There is one network of each kind, so that the two seeds are
two sets of noises, captions and references, not two trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import runtime
from minilib.claims import PICTURE, PROMPT
from minilib.data.scenes import captions as scene_captions
from minilib.data.scenes import drawing as scenes
from minilib.data.scenes.checker import judge
from minilib.data.scenes.finder import View, recognise_scenes
from minilib.diffusion.guidance import LogProbability, guided
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import X_0, trailing
from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.models.noisy_clip import (
    Reference,
    content_fit,
    gram,
    mixture,
    structure_fit,
    style_fit,
    text_fit,
)
from minilib.nets.unet_blocks import shrink
from minilib.recipes.captioned import scene_tokens
from minilib.recipes.clip import clip_scene_world
from minilib.recipes.ddpm import LINEAR, ddpm_scenes
from minilib.recipes.noisy_clip import noisy_clip_scenes
from minilib.recipes.recipe import Recipe
from minilib.weights import load_pretrained

# the least scale within a standard error of the best, on 40 pictures of VALIDATION
SCALE = {"text": 3.0, "content": 10.0, "structure": 1000.0, "style": 300.0}
WORDS = 10.0  # the weight of a sentence beside a style
VALIDATION = 100  # a seed that no claim uses
STEPS = trailing(LINEAR.T, 20)
Sides = tuple[list[float], list[float]]


@cache
def shipped(recipe: Recipe) -> Any:
    """The shipped network of a recipe, where it computes."""
    return load_pretrained(recipe.model(), recipe.name).to(runtime.device())


@dataclass(frozen=True)
class Asked:
    """What is asked of some pictures. For each there is a caption of one thing, a scene
    of one or two things, a scene in one style, and a sentence that names a shape.
    """

    captions: list[str]
    shown: list[scenes.Scene]
    styles: list[scenes.Scene]
    sentences: list[str]


def styles_in(scene: scenes.Scene) -> set[tuple[str, str]]:
    return {(thing.colour, thing.texture) for thing in scene.things}


@cache
def asked(n: int, seed: int) -> Asked:
    """What is asked of n pictures, from test scenes of a seed. A scene in one style has
    three or four things of one colour and one texture.
    """
    pool = scenes.draw(60 * n + 400, seed, "test")
    half = len(pool) // 2
    single = [s for s in pool[:half] if s.arrangement == "one"][:n]
    shown = [s for s in pool[half:] if s.arrangement in ("one", "beside", "stacked")]
    several = [s for s in pool if s.arrangement in ("three", "four")]
    styles = [s for s in several if len(styles_in(s)) == 1]
    sentences = [f"a {scenes.SHAPES[i % len(scenes.SHAPES)]}" for i in range(n)]
    texts = scene_captions.captions(single, seed, "short")
    return Asked(texts, shown[:n], styles[:n], sentences)


def guided_scenes(
    log_probability: LogProbability, s: float, seed: int, n: int, eta: float = 1.0
) -> Tensor:
    """n scenes (n, 3, 32, 32) that a log probability guides with scale s, by 20 steps
    of DDIM with fresh noise; the noise depends on the seed alone.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 32, 32, generator=generator).to(runtime.device())
    denoise = denoiser(shipped(ddpm_scenes), LINEAR, X_0)
    denoise = guided(denoise, LINEAR, log_probability, s)
    return last(ddim(denoise, LINEAR, x, STEPS, generator, eta)).clamp(-1, 1).cpu()


def tokens_of(texts: Sequence[str]) -> Tensor:
    """The tokens (N, L) of captions, where the networks are."""
    return scene_tokens().encode(list(texts)).to(runtime.device())


def noisy_reference(x: Tensor) -> Reference:
    """Pictures x (B, 3, 32, 32) with noise of their own, always the same one, of
    whatever step is asked for.
    """
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x, eps = x.to(runtime.device()), eps.to(runtime.device())
    return lambda t: LINEAR.noisy(x, t, eps)


def guides(wanted: Asked) -> dict[str, tuple[LogProbability, float]]:
    """Each arm's log probability, and its scale."""
    clip = shipped(noisy_clip_scenes)
    like = noisy_reference(scenes.render(wanted.shown))
    style = style_fit(clip, noisy_reference(scenes.render(wanted.styles)))
    words = text_fit(clip, tokens_of(wanted.sentences))
    return {
        "none": (words, 0.0),
        "text": (text_fit(clip, tokens_of(wanted.captions)), SCALE["text"]),
        "content": (content_fit(clip, like), SCALE["content"]),
        "structure": (structure_fit(clip, like), SCALE["structure"]),
        "style": (style, SCALE["style"]),
        "words": (words, WORDS),
        "both": (mixture([(WORDS, words), (SCALE["style"], style)]), 1.0),
    }


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def held(views: list[View], texts: list[str], kind: str = "") -> list[float]:
    """For each picture the share of its caption's claims that the checker finds
    fulfilled in its view; or of those of one kind only, such as "colour".
    """
    found = []
    for view, text in zip(views, texts, strict=True):
        fulfilled = judge(view, scene_captions.read(text))
        kinds = [kind] if kind else [*fulfilled]
        found.append(share([fine for name in kinds for fine in fulfilled[name]]))
    return found


def content_of(scene: scenes.Scene) -> str:
    """The colours and shapes of a scene as a caption: "red circle, blue star"."""
    return ", ".join(f"{thing.colour} {thing.shape}" for thing in scene.things)


def overlap(x: Tensor, shown: list[scenes.Scene]) -> list[float]:
    """For each of the pictures x (B, 3, 32, 32) the IoU of what differs from the median
    colour of its rim and of the things of a scene, whose masks are known.
    """
    rim = torch.cat([x[:, :, 0], x[:, :, -1], x[..., 0], x[..., -1]], dim=2)
    ground = rim.median(dim=2).values[:, :, None, None]
    a = (x - ground).square().sum(dim=1) > 0.3  # (B, 32, 32)
    b = torch.stack([scenes.masks(scene).any(dim=0) for scene in shown])
    either = (a | b).sum(dim=(1, 2)).clamp(min=1)
    return ((a & b).sum(dim=(1, 2)) / either).tolist()


@torch.no_grad()
def gram_distance(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared differences of the Gram matrices of pictures x and y (B, 3, 32,
    32), summed over blocks, (B,): by a small CLIP of scenes of 16 × 16, trained from
    scratch, which is neither the guide nor what the guide grew from.
    """
    vision, grams = shipped(clip_scene_world).vision, []
    for z in (x, y):
        stages = vision.stages(vision.cut(shrink(z.to(runtime.device()))))
        grams.append([gram(F.layer_norm(h[:, 1:], h.shape[2:])) for h in stages])
    apart = [(a - b).square().mean(dim=(1, 2)) for a, b in zip(*grams, strict=True)]
    return torch.stack(apart).sum(dim=0).cpu()


@cache
def unrelated() -> float:
    """The mean `gram_distance` of two style references drawn apart."""
    x = scenes.render(asked(200, VALIDATION).styles)
    return float(gram_distance(x, x.roll(1, dims=0)).mean())


def style_distance(x: Tensor, styles: list[scenes.Scene]) -> list[float]:
    """For each picture its `gram_distance` from a scene, where 1 is that of two scenes
    in styles of their own.
    """
    return (gram_distance(x, scenes.render(styles)) / unrelated()).tolist()


def in_style(views: list[View], styles: list[scenes.Scene]) -> list[float]:
    """For each picture the share of its things that have the colour and the texture of
    the things of a scene; 0 where nothing is seen.
    """
    found = []
    for view, scene in zip(views, styles, strict=True):
        seen = [(t.attributes["colour"], t.attributes["texture"]) for t in view.things]
        found.append(share([look in styles_in(scene) for look in seen]))
    return found


@cache
def drawn(arm: str, seed: int, n: int) -> Tensor:
    """What an arm makes of what is asked with a seed: (n, 3, 32, 32)."""
    log_probability, s = guides(asked(n, seed))[arm]
    return guided_scenes(log_probability, s, seed, n)


@cache
def seen(arm: str, seed: int, n: int) -> list[View]:
    """What the checker sees in those pictures."""
    return recognise_scenes(drawn(arm, seed, n))


# of an arm, a seed and a number of pictures
MEASURES: dict[str, Callable[[str, int, int], list[float]]] = {
    "colour": lambda a, k, n: held(seen(a, k, n), asked(n, k).captions, "colour"),
    "shape": lambda a, k, n: held(seen(a, k, n), asked(n, k).captions, "shape"),
    "kept": lambda a, k, n: held(seen(a, k, n), [*map(content_of, asked(n, k).shown)]),
    "layout": lambda a, k, n: overlap(drawn(a, k, n), asked(n, k).shown),
    "distance": lambda a, k, n: style_distance(drawn(a, k, n), asked(n, k).styles),
    "style": lambda a, k, n: in_style(seen(a, k, n), asked(n, k).styles),
    "sentence": lambda a, k, n: held(seen(a, k, n), asked(n, k).sentences),
}


# part → two arms, the larger side first, and by what they are compared
PARTS: dict[str, dict[str, tuple[str, str, str]]] = {
    "SDG-1": {
        "colour of the caption: guided − not": ("text", "none", "colour"),
        "shape of the caption: guided − not": ("text", "none", "shape"),
    },
    "SDG-2": {
        "colours and shapes kept: guided − not": ("content", "none", "kept"),
        "overlap of layout: guided and not alike": ("content", "none", "layout"),
    },
    "SDG-3": {
        "overlap of layout: structure − not guided": ("structure", "none", "layout"),
        "overlap of layout: structure − content": ("structure", "content", "layout"),
    },
    "SDG-4": {
        "distance in style: not guided − guided": ("none", "style", "distance"),
        "things in the style: guided − not": ("style", "none", "style"),
    },
    "SDG-5": {
        "sentence fulfilled: both − style alone": ("both", "style", "sentence"),
        "distance in style: sentence alone − both": ("words", "both", "distance"),
    },
}


def compared(id: str, seed: int, size: Size) -> dict[str, Sides]:
    """Both sides of each part of a claim, a number for each picture. They are drawn
    block by block.
    """
    n, blocks = size.pick(live=(6, 1), quick=(50, 2), full=(50, 20))
    found: dict[str, Sides] = {part: ([], []) for part in PARTS[id]}
    for block in range(1000 * (seed + 1), 1000 * (seed + 1) + blocks):
        for part, (larger, smaller, measure) in PARTS[id].items():
            for side, arm in zip(found[part], (larger, smaller), strict=True):
                side += MEASURES[measure](arm, block, n)
    return found


def experiment(
    id: str, statement: str, measure: Callable[[int, Size], Measured], unit: str
) -> Experiment:
    """A tenth of what is compared would matter, everywhere."""
    parts = [Compare(p, 0.1, equal=p.endswith("alike")) for p in PARTS[id]]
    return Experiment(id, statement, measure, tuple(parts), unit, seeds=2)


def text(seed: int, size: Size) -> dict[str, Sides]:
    """SDG-1: colour and shape of captions of one thing."""
    return compared("SDG-1", seed, size)


SDG_1 = experiment(
    "SDG-1",
    "The gradient of CLIP's fit of text and picture guides a model that was trained "
    "without captions: the colour and the shape that a caption names appear more often "
    "than without guidance.",
    text,
    PROMPT,
)


def content(seed: int, size: Size) -> dict[str, Sides]:
    """SDG-2: a reference's colours and shapes, and its layout."""
    return compared("SDG-2", seed, size)


SDG_2 = experiment(
    "SDG-2",
    "Guided by CLIP's embedding of a reference picture, more of its colours and shapes "
    "appear, and the layout stays free: pictures overlap with the reference's things "
    "as they do without guidance.",
    content,
    PICTURE,
)


def structure(seed: int, size: Size) -> dict[str, Sides]:
    """SDG-3: the overlap with a reference's layout."""
    return compared("SDG-3", seed, size)


SDG_3 = experiment(
    "SDG-3",
    "Guided by the vectors of an encoder's patches, a picture keeps the layout of the "
    "reference: more than without guidance, and more than guided by content.",
    structure,
    PICTURE,
)


def style(seed: int, size: Size) -> dict[str, Sides]:
    """SDG-4: the distance from a reference in style, and how many things share it."""
    return compared("SDG-4", seed, size)


SDG_4 = experiment(
    "SDG-4",
    "Guided by Gram matrices, pictures come nearer to a reference in style, by a "
    "network that did not guide, and more of their things have its colour and texture.",
    style,
    PICTURE,
)


def mixed(seed: int, size: Size) -> dict[str, Sides]:
    """SDG-5: a sentence and a style at once, against either alone."""
    return compared("SDG-5", seed, size)


SDG_5 = experiment(
    "SDG-5",
    "Guidances mix by weights: guided by a sentence that names a shape and by a style "
    "at once, more pictures fulfil the sentence than with the style alone, and they "
    "are nearer to the style than with the sentence alone.",
    mixed,
    PICTURE,
)
