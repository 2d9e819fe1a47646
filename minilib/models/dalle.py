"""DALL·E: a caption and the tokens of its picture are one sequence, and a transformer
says at each token which one comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from minilib.models.clip import CLIP
from minilib.models.glide import drop_captions, null_captions
from minilib.nets.gpt import Cache, CausalTransformer, initialise, require_tokens
from minilib.nets.token_sampling import sample_token
from minilib.runtime import require_generator, require_shape, require_sizes
from minilib.text.words import PADDING
from minilib.train import Draw


@dataclass(frozen=True)
class DALLEConfig:
    """Sizes of DALL·E: captions of `length` tokens out of `words`; pictures of side ×
    side tokens out of `codes`. `attention` of image tokens to each other is "full", or
    "sparse" as in the paper.
    """

    words: int
    length: int = 32
    codes: int = 512
    side: int = 8
    width: int = 256
    depth: int = 6
    heads: int = 8
    attention: str = "full"

    def __post_init__(self) -> None:
        require_sizes(self, "words codes side width depth heads")
        require_sizes(self, "length", least=2)
        if self.attention not in ("full", "sparse"):
            raise ValueError(
                f"expected attention 'full' or 'sparse', got {self.attention!r}"
            )


# ---------- what an image token sees of those before ----------


def steps_back(side: int) -> Tensor:
    """(N, N), N = side²: how many tokens, row by row, token j stands before token i."""
    at = torch.arange(side**2)
    return at[:, None] - at[None]


def row_mask(side: int) -> Tensor:
    """A token sees itself and the `side` tokens before it, the last of them right above
    it: (N, N). Ramesh et al. (2021, fig. 11a).
    """
    back = steps_back(side)
    return (back >= 0) & (back <= side)


def column_mask(side: int) -> Tensor:
    """A token sees itself and those above it: (N, N). Ramesh et al. (2021, fig.
    11b).
    """
    back = steps_back(side)
    return (back >= 0) & (back % side == 0)


def convolution_mask(side: int, kernel: int = 3) -> Tensor:
    """A token sees what comes before it in the kernel × kernel tokens around it: (N,
    N). What leaves the picture on one side enters it on the other, a row away.

    Ramesh et al. (2021, fig. 11d); theirs is 11 × 11 in a picture of 32 × 32.
    """
    reach = kernel // 2
    near = [
        side * rows + columns
        for rows in range(reach + 1)
        for columns in range(-reach, reach + 1)
    ]
    back = steps_back(side)
    return (back >= 0) & torch.isin(back, torch.tensor(near))


def with_text(mask: Tensor, length: int) -> Tensor:
    """A mask of image tokens (N, N) → (length + N, length + N): text sees the text
    before it, and image tokens see all text.
    """
    total = length + len(mask)
    whole = torch.ones(total, total, dtype=torch.bool).tril()
    whole[length:, length:] = mask
    return whole


def sparse_masks(length: int, side: int, depth: int) -> Tensor:
    """(depth, T, T), T = length + side²: row, column, row, row, and so on; convolution
    in the last layer. Ramesh et al. (2021, appendix B.1).
    """
    row, column = row_mask(side), column_mask(side)
    masks = [column if layer % 4 == 1 else row for layer in range(depth)]
    masks[-1] = convolution_mask(side)
    return torch.stack([with_text(mask, length) for mask in masks])


# ---------- the model ----------


class DALLE(nn.Module):
    """text (B, L), image (B, N), N = side² tokens row by row → logits of text tokens 1
    to L - 1, (B, L - 1, words), and of all image tokens, (B, N, codes).

    Ramesh et al. (2021, section 2.2 and appendix B). The first text token, which starts
    every caption, is given. A place where no text is left has a padding vector of its
    own, which is seen like a word. An image token knows its row and its column. Each
    kind has its own embedding, which is also its head: it is as if one softmax over
    both vocabularies had the logits of the wrong kind at minus infinity.
    """

    def __init__(self, config: DALLEConfig):
        super().__init__()
        self.config, c = config, config
        self.text_embed = nn.Embedding(c.words, c.width)
        self.text_position = nn.Parameter(torch.empty(c.length, c.width))
        self.padding = nn.Parameter(torch.empty(c.length, c.width))
        self.image_embed = nn.Embedding(c.codes, c.width)
        self.row = nn.Parameter(torch.empty(c.side, c.width))
        self.column = nn.Parameter(torch.empty(c.side, c.width))
        # nothing comes after the last image token, so it is never read
        context, masks = c.length + c.side**2 - 1, None
        if c.attention == "sparse":
            masks = sparse_masks(c.length, c.side, c.depth)[:, :context, :context]
        self.transformer = CausalTransformer(context, c.width, c.depth, c.heads, masks)
        initialise(self, c.depth)

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        L, N = self.config.length, self.config.side**2
        require_shape("image tokens", image, (len(text), N))
        h = torch.cat([self.embed_text(text), self.embed_image(image)[:, :-1]], dim=1)
        h = self.transformer(h)  # (B, L + N - 1, width)
        text_logits = h[:, : L - 1] @ self.text_embed.weight.T  # (B, L - 1, words)
        return text_logits, h[:, L - 1 :] @ self.image_embed.weight.T  # (B, N, codes)

    def embed_text(self, text: Tensor) -> Tensor:
        """(B, L) → (B, L, width)."""
        require_tokens("text tokens", text, self.config.words)
        require_shape("text tokens", text, (len(text), self.config.length))
        words = self.text_embed(text)
        words = torch.where((text == PADDING)[..., None], self.padding, words)
        return words + self.text_position

    def embed_image(self, image: Tensor, start: int = 0) -> Tensor:
        """Image tokens number start to start + n, (B, n) → (B, n, width)."""
        require_tokens("image tokens", image, self.config.codes)
        N, stop = self.config.side**2, start + image.shape[1]
        if stop > N:
            raise ValueError(f"expected at most {N} image tokens, got {stop}")
        at = torch.arange(start, stop, device=image.device)
        row, column = at // self.config.side, at % self.config.side
        return self.image_embed(image) + self.row[row] + self.column[column]

    def read(self, text: Tensor, image: Tensor, cache: Cache | None = None) -> Tensor:
        """text (B, L) and the first image tokens (B, n) → logits of the next one (B,
        codes). n may be 0. An empty cache keeps what was read, for `read_on`.
        """
        if cache is not None and cache.length:
            raise ValueError(
                "expected an empty cache, got one that has read "
                f"{cache.length} tokens: make one with new_cache({len(text)}), or go "
                "on with read_on"
            )
        require_shape("image tokens", image, (len(text), *image.shape[1:]))
        h = torch.cat([self.embed_text(text), self.embed_image(image)], dim=1)
        return self.next_logits(h, cache)

    def read_on(self, image: Tensor, cache: Cache) -> Tensor:
        """The image tokens (B, n) after those in the cache → logits of the next one (B,
        codes).
        """
        start = cache.length - self.config.length
        if start < 0:
            raise ValueError(
                "expected a cache that holds a caption: `read` comes first"
            )
        return self.next_logits(self.embed_image(image, start), cache)

    def next_logits(self, h: Tensor, cache: Cache | None) -> Tensor:
        return self.transformer(h, cache)[:, -1] @ self.image_embed.weight.T

    def new_cache(self, batch: int) -> Cache:
        """An empty cache for so many sequences."""
        return self.transformer.new_cache(batch)


Model = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
TEXT_WEIGHT = 1 / 8


def dalle_loss(
    model: Model, text: Tensor, image: Tensor, *, draw: Draw, p_uncond: float
) -> Tensor:
    """Cross-entropy in nats per token of text (B, L) and image (B, N), weighted 1/8 and
    7/8: a scalar. Ramesh et al. (2021, section 2.2).

    A share `p_uncond` of the captions is replaced by the null caption. Padding is text
    that is predicted too, so that every batch has the same number of each kind.
    """
    text = drop_captions(text, draw, p_uncond)
    text_logits, image_logits = model(text, image)
    of_text = F.cross_entropy(text_logits.transpose(1, 2), text[:, 1:])
    of_image = F.cross_entropy(image_logits.transpose(1, 2), image)
    return TEXT_WEIGHT * of_text + (1 - TEXT_WEIGHT) * of_image


def image_log_likelihood(model: Model, text: Tensor, image: Tensor) -> Tensor:
    """log p(image | text) in nats: text (B, L), image (B, N) → (B,)."""
    _, logits = model(text, image)
    return -F.cross_entropy(logits.transpose(1, 2), image, reduction="none").sum(dim=1)


# ---------- drawing ----------


def both_captions(text: Tensor, w: float) -> Tensor:
    """The captions that guidance w reads: text (B, L), the null caption, or, (2B, L),
    one after the other.
    """
    if w == 1:
        return text
    return null_captions(text) if w == 0 else torch.cat([text, null_captions(text)])


def guided_logits(logits: Tensor, w: float) -> Tensor:
    """Logits of `both_captions` → (B, V): w times the way from the unconditional to the
    conditional ones. 1 is plain conditional, 0 unconditional.
    """
    if w in (0, 1):
        return logits
    conditional, unconditional = logits.chunk(2)
    return torch.lerp(unconditional, conditional, w)


@torch.no_grad()
def draw_tokens(
    model: DALLE,
    text: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    w: float = 1.0,
    given: Tensor | None = None,
    progress: str = "",
) -> Tensor:
    """Pictures (B, N) in tokens for text (B, L), token by token with `sample_token` and
    classifier-free guidance w.

    Their first tokens, row by row, may be `given` (B, n), n from 0 to N. A progress bar
    of the name `progress` shows how far they are.
    """
    require_generator(generator)
    image = text[:, :0] if given is None else given
    require_given(image, len(text), model.config)
    captions, start = both_captions(text, w), image.shape[1]
    copies, cache = len(captions) // len(text), model.new_cache(len(captions))
    for n in tqdm(range(start, model.config.side**2), progress, disable=not progress):
        if n == start:
            logits = model.read(captions, image.repeat(copies, 1), cache)
        else:
            logits = model.read_on(image[:, -1:].repeat(copies, 1), cache)
        logits = guided_logits(logits, w)
        token = sample_token(logits, generator, temperature, top_k, top_p)  # (B,)
        image = torch.cat([image, token[:, None]], dim=1)  # (B, n + 1)
    return image


def require_given(image: Tensor, B: int, config: DALLEConfig) -> None:
    """Raise ValueError unless image (B, n) are the first tokens of pictures."""
    require_tokens("given tokens", image, config.codes)
    require_shape("given tokens", image, (B, min(image.shape[1], config.side**2)))


def rerank(
    score: Callable[[Tensor, Tensor], Tensor], x: Tensor, captions: Tensor
) -> Tensor:
    """Of x (B, K, …), K pictures of each caption (B, L): the same, the best first.

    score takes pictures (B·K, …) and as many captions, and says how well each fits:
    (B·K,), such as `similarity` of a CLIP. Ramesh et al. (2021, section 2.6).
    """
    B, K = x.shape[:2]
    require_shape("captions", captions, (B, *captions.shape[1:]))
    fit = score(x.flatten(0, 1), captions.repeat_interleave(K, dim=0))
    require_shape("a score", fit, (B * K,))
    order = fit.view(B, K).argsort(dim=1, descending=True, stable=True)  # (B, K)
    return x[torch.arange(B, device=x.device)[:, None], order.to(x.device)]


def similarity(clip: CLIP) -> Callable[[Tensor, Tensor], Tensor]:
    """A score of pictures (B, C, H, W) and tokens (B, L): the cosine of CLIP's two
    embeddings, (B,).
    """
    return lambda x, tokens: (clip.embed_image(x) * clip.embed_text(tokens)).sum(dim=1)
