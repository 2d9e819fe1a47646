"""DALL·E: of drawn people, told in captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import compress

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.meaning import listed
from minilib.data.people.attributes import draw, values
from minilib.data.people.captions import FILLERS, UNSAID, captions, phrases, read
from minilib.data.people.checker import claims_right
from minilib.data.people.drawing import render
from minilib.models.attributes import judged
from minilib.models.dalle import DALLE, DALLEConfig, dalle_loss, draw_tokens
from minilib.models.dvae import DVAE
from minilib.recipes.dvae import PEOPLE, dvae_people
from minilib.recipes.people_judge import people_judge
from minilib.recipes.recipe import Recipe
from minilib.text.bpe_training import train
from minilib.text.padded import PaddedBPE
from minilib.weights import load_pretrained

STYLE, SIZE = "personas", 32
SEEN = values(STYLE, SIZE)  # of each attribute the values that pictures show
LENGTH = 32  # tokens of the longest caption, and its start and end
W, TOP_P = 1.5, 0.95  # how it draws: guidance, and the share of likely tokens


class PeopleTokens(PaddedBPE):
    """`PaddedBPE` of captions of people, which refuses what no picture shows."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(B, length), int64. Raises ValueError for a text that is too long, or claims
        what is never seen.
        """
        for text in texts if isinstance(texts, list) else []:
            self.require_known(text)
        return super().encode(texts)

    def require_known(self, text: str) -> None:
        """Raise ValueError unless pictures can show what a caption claims, which names
        all that they don't show, and what `read` raises.
        """
        unseen = [
            (name, value)
            for name, value in read(text).items()
            if value not in SEEN.get(name, ())
        ]
        if unseen:
            said = listed([repr(value) for _, value in unseen])
            mend = [f"as {name}: say {shown_as(name)}" for name, _ in unseen]
            raise ValueError(
                f"{text!r} says {said}, which a person of {SIZE} × {SIZE} pixels "
                f"doesn't show {'; '.join(mend)}"
            )

    def heard(self) -> list[str]:
        """The words that captions may hold, by alphabet."""
        said = [
            text
            for text, told in phrases().items()
            if all(value in SEEN.get(name, ()) for name, value in told.items())
        ]
        return sorted({*FILLERS, *(word for text in said for word in text.split())})


def shown_as(name: str) -> str:
    """The values of an attribute that pictures show and captions may say."""
    said = [value for value in SEEN.get(name, ()) if value not in UNSAID]
    return ", ".join(said) or "nothing of it"


@cache
def people_tokens() -> PeopleTokens:
    """The tokenizer of captions of people: byte pairs of 2,000 of them, merged until no
    pair occurs twice.
    """
    texts = captions(draw(2_000, 0), 0, STYLE, SIZE)
    special = ["<|padding|>", "<|startoftext|>", "<|endoftext|>"]
    return PeopleTokens(train(texts, 512, special), LENGTH)


def people_dvae() -> DVAE:
    """The trained discrete VAE of people."""
    return load_pretrained(DVAE(), dvae_people.name).eval().to(runtime.device())


def people_in_tokens(n: int, seed: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """The captions (n, L) and pictures (n, N) of n people, as tokens; fewer where a
    caption is too long, as one in 20,000 is.
    """
    who, encode = draw(n, seed, split), people_dvae().tokens
    texts = captions(who, seed, STYLE, SIZE)
    fit = [people_tokens().fits(text) for text in texts]
    who, texts = list(compress(who, fit)), list(compress(texts, fit))
    blocks = (who[i : i + 500] for i in range(0, len(who), 500))  # all take 2 GB
    image = [runtime.in_blocks(encode, render(block, STYLE, SIZE)) for block in blocks]
    return people_tokens().encode(texts), torch.cat(image)


def sample_people(
    model: DALLE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    w: float = W,
    top_p: float = TOP_P,
    progress: str = "",
) -> Tensor:
    """n pictures (n, 3, 32, 32) of captions y (n, L), by default those of test
    pictures.
    """
    if y is None:
        texts = captions(draw(n, 1, "test"), 1, STYLE, SIZE)
        y = people_tokens().encode(texts)
    paint = partial(
        draw_tokens, model, generator=generator, w=w, top_p=top_p, progress=progress
    )
    return runtime.in_blocks(people_dvae().decode_tokens, runtime.in_blocks(paint, y))


def told_right(paint: Callable[..., Tensor], n: int) -> dict[str, float]:
    """Of n prompts with a pair of attributes that training never showed: claims that
    hold in what paint (n, generator, y) draws, and whole captions.
    """
    texts = captions(draw(n, 2, "held_out"), 2, STYLE, SIZE)
    generator = torch.Generator().manual_seed(0)
    x = paint(n, generator, people_tokens().encode(texts))
    judge = load_pretrained(people_judge.model(), people_judge.name)
    right = claims_right(judged(judge.to(runtime.device()), x), texts)
    return {"claims": right["claims"], "caption": right["caption"]}


def score_people(model: DALLE, n: int = 512) -> dict[str, float]:
    """Claims that hold in n pictures of held-out prompts, and whole captions."""
    return told_right(partial(sample_people, model), n)


dalle_people = Recipe(
    name="dalle_people",
    model=lambda: DALLE(DALLEConfig(len(people_tokens()), width=192, depth=4, heads=4)),
    loss=partial(dalle_loss, p_uncond=0.1),
    data=partial(people_in_tokens, 40_000, 0),
    quick=100,
    full=3_600,
    score=score_people,
    sample=sample_people,
    tokenizer=people_tokens,  # type: ignore[arg-type]  # it encodes as words do
    batch_size=32,
    lr=1.5e-3,
    betas=(0.9, 0.99),
    limits="Draws people of the style personas, 32 × 32, told as their captions do.",
    source=PEOPLE,
)
