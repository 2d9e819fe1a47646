"""DALL·E of the grid of emoji: told what to draw, and in which art style."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.emoji64.captions import caption, captions
from minilib.data.emoji64.retrieval import ranks
from minilib.data.emoji64.splits import share, split
from minilib.data.emoji64.styles import NAMES, STYLES
from minilib.models.dalle import DALLE, DALLEConfig, dalle_loss, draw_tokens
from minilib.models.dvae import DVAE
from minilib.recipes.dvae import EMOJI, dvae_emoji, some_emoji
from minilib.recipes.recipe import Recipe
from minilib.text.bpe_training import train
from minilib.text.padded import PaddedBPE
from minilib.text.words import WordTokenizer
from minilib.train import Draw
from minilib.weights import load_pretrained

LENGTH = 17  # tokens of the longest caption, and its start and end
VOCABULARY = 1024
PRIOR, ROUNDS = 2.0, 4  # the power of p(z) in `common_tokens`, and its rounds
KEPT = 0.45  # the share of concepts whose hash asks for a cell to validate on
P_UNCOND = 0.1  # the share of captions that are hidden
W, TOP_P = 3.0, 0.9  # how it draws: guidance, and the share of likely tokens


# ---------- captions ----------


class EmojiTokens(PaddedBPE):
    """`PaddedBPE` of captions of emoji, "red apple, noto style", in any case, which
    refuses names and styles that training never told.
    """

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(B, length), int64. Raises ValueError for a caption of another form, a name
        that no emoji of the grid has, and a style that is none of the five.
        """
        if isinstance(texts, list):
            for text in texts:
                self.require_known(text)
            texts = [plain(text) for text in texts]
        return super().encode(texts)

    def require_known(self, text: str) -> None:
        """Raise ValueError unless a text is empty, or the caption of a cell."""
        name, comma, style = plain(text).rpartition(", ")
        if not plain(text):
            return
        if not comma or style not in styles():
            known = ", ".join(map(repr, styles()))
            raise ValueError(
                f"{text!r} ends with no style that training showed: put a comma after "
                f"the name, and then one of {known}"
            )
        if name not in names():
            near = difflib.get_close_matches(name, names(), n=3)
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else "names are Unicode's, such as 'red apple'"
            )
            raise ValueError(f"no emoji of the grid is called {name!r}: {hint}")

    def heard(self) -> list[str]:
        """The words that captions may hold, by alphabet."""
        return sorted({word for text in names() + styles() for word in text.split()})


def plain(text: str) -> str:
    """A caption in lower case, with single spaces and no sign at its end."""
    return " ".join(text.lower().split()).rstrip("".join(WordTokenizer.STOPS))


@cache
def names() -> tuple[str, ...]:
    """What captions call the concepts of the grid, in its order."""
    return tuple(concept.english.lower() for concept in captions())


@cache
def styles() -> tuple[str, ...]:
    """What captions call the styles of the grid, in its order."""
    return tuple(f"{NAMES[style].lower()} style" for style in STYLES)


def captions_of(cells: Tensor) -> list[str]:
    """The captions of cells (N, 2), each a concept and a style."""
    return [caption(concept, STYLES[style]) for concept, style in cells.tolist()]


@cache
def emoji_tokens() -> EmojiTokens:
    """The tokenizer of captions of emoji: byte pairs of the names, and of the styles as
    often as 100 concepts say them.
    """
    texts = [*names(), *(f", {style}" for style in styles() * 20)]
    return EmojiTokens(train(texts, VOCABULARY), LENGTH)


# ---------- pictures ----------


def emoji_dvae() -> DVAE:
    """The trained discrete VAE of emoji."""
    return load_pretrained(DVAE(), dvae_emoji.name).eval().to(runtime.device())


def common_tokens(logits: Tensor) -> Tensor:
    """Tokens (N, h·w) of logits (N, codes, h, w) of q(z|x): at each place the code of
    the largest q(z|x) · p(z)², where p is how often the tokens have each code.

    The discrete VAE was taught to use all codes alike, and so has over a hundred for
    white. Of codes that fit about as well, this takes the commonest. Tokens and p are
    found in turn.
    """

    def chosen(log_p: Tensor) -> Tensor:
        best = partial(best_codes, log_p=log_p)
        return runtime.in_blocks(best, logits)

    codes = logits.shape[1]
    image = chosen(torch.zeros(codes))
    for _ in range(ROUNDS):
        times = torch.bincount(image.flatten(), minlength=codes) + 1
        image = chosen((times / times.sum()).log())
    return image


def best_codes(logits: Tensor, log_p: Tensor) -> Tensor:
    """Tokens (N, h·w) of logits (N, codes, h, w) and log p(z) (codes,)."""
    weighed = logits + PRIOR * log_p.to(logits)[:, None, None]
    return weighed.argmax(dim=1).flatten(1)


@cache
def validation() -> Tensor:
    """The cells (342, 2) of the training split that choices are made on, and that are
    not trained on: one of some of the concepts that have four or five in it.
    """
    cells = []
    for i, (concept, shown) in enumerate(zip(captions(), split(), strict=True)):
        key, in_split = f"{concept.code}|validation", shown.nonzero()[:, 0].tolist()
        if len(in_split) >= 4 and share(key, "") < KEPT:
            cells.append([i, min((share(key, STYLES[k]), k) for k in in_split)[1]])
    return torch.tensor(cells)


@cache
def held_out() -> Tensor:
    """The held-out cells (730, 2), in an order that mixes concepts."""
    cells = (~split()).nonzero()
    mixed = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))
    return cells[mixed]


@cache
def emoji_in_tokens() -> tuple[Tensor, Tensor]:
    """The captions (3603, L) and pictures (3603, N), in tokens, of the cells that are
    trained on.
    """
    trained = split()
    trained[validation()[:, 0], validation()[:, 1]] = False
    x = some_emoji(trained=True)[trained[split()]]
    text = emoji_tokens().encode(captions_of(trained.nonzero()))
    return text, common_tokens(runtime.in_blocks(emoji_dvae().logits, x))


# ---------- training, drawing, scoring ----------


def loss_of_emoji(model: DALLE, text: Tensor, image: Tensor, *, draw: Draw) -> Tensor:
    """`dalle_loss` where the model reads other pictures than it has to tell: of each a
    share of the tokens, from none to all, has given way to random ones.

    From tokens that it can't trust it learns to listen to the caption; there are so few
    pictures that it would know each by its first tokens.
    """
    lost = draw.uniform(image.shape[1]) < draw.uniform(1)
    other = (draw.uniform(image.shape[1]) * model.config.codes).long()
    read = torch.where(lost, other, image)
    return dalle_loss(
        lambda words, _: model(words, read), text, image, draw=draw, p_uncond=P_UNCOND
    )


def sample_emoji(
    model: DALLE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    w: float = W,
    top_p: float = TOP_P,
    progress: str = "",
) -> Tensor:
    """n pictures (n, 3, 32, 32) of captions y (n, L), by default those of held-out
    cells, again from the first where there are no more.
    """
    if y is None:
        cells = held_out()[torch.arange(n) % len(held_out())]
        y = emoji_tokens().encode(captions_of(cells))
    paint = partial(
        draw_tokens, model, generator=generator, w=w, top_p=top_p, progress=progress
    )
    return runtime.in_blocks(emoji_dvae().decode_tokens, runtime.in_blocks(paint, y))


def first(x: Tensor, cells: Tensor) -> dict[str, float]:
    """How often pictures x (N, 3, 32, 32) of cells (N, 2) are nearest to their true
    ones: in the row, in the column, and in both.
    """
    row, column = (rank == 1 for rank in ranks(x, cells))
    found = {"cell": row & column, "row": row, "column": column}
    return {name: float(hits.double().mean()) for name, hits in found.items()}


def score_emoji(model: DALLE) -> dict[str, float]:
    """Of the 730 held-out cells, each drawn once: how many are nearest to their true
    picture.
    """
    x = sample_emoji(model, len(held_out()), torch.Generator().manual_seed(0))
    return first(x, held_out())


dalle_emoji = Recipe(
    name="dalle_emoji",
    model=lambda: DALLE(
        DALLEConfig(len(emoji_tokens()), LENGTH, width=160, depth=5, heads=5)
    ),
    loss=loss_of_emoji,
    data=emoji_in_tokens,
    quick=100,
    full=4_000,
    score=score_emoji,
    sample=sample_emoji,
    tokenizer=emoji_tokens,  # type: ignore[arg-type]  # it encodes as words do
    batch_size=32,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits="Draws the emoji of the grid, 32 × 32, by their names, in its five styles: "
    "colours and outlines, hardly ever what lies within them.",
    source=EMOJI,
)
