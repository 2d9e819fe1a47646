"""A captioner: CLIP's embedding of a picture stands before the words, and a GPT goes on
from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.gpt import GPT, Cache, GPTConfig, require_tokens
from minilib.nets.token_sampling import sample_token
from minilib.runtime import require_generator, require_shape, require_sizes
from minilib.text.words import END, PADDING, START, trimmed


@dataclass(frozen=True)
class CaptionerConfig:
    """Sizes of a captioner: embeddings of `dim` numbers become `prefix` vectors; then
    come captions of up to `length` tokens out of `words`.
    """

    words: int
    dim: int = 64
    prefix: int = 8
    length: int = 48
    width: int = 128
    depth: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "words dim prefix width depth heads")
        require_sizes(self, "length", least=2)


class Captioner(nn.Module):
    """Embeddings u (B, dim), tokens (B, L) → logits (B, L - 1, words) of tokens 1 to
    L - 1; the first one, which starts every caption, is given.

    Betker et al. (2023, section 2.1) give a language model CLIP's embedding of the
    picture. As in ClipCap (Mokady et al., 2021, section 3) it becomes vectors that
    stand before the words, in the space of their embeddings; ClipCap makes them with a
    perceptron or a transformer, here one matrix does.
    """

    def __init__(self, config: CaptionerConfig):
        super().__init__()
        self.config, c = config, config
        # nothing comes after the last token, so it is never read
        context = c.prefix + c.length - 1
        self.gpt = GPT(GPTConfig(c.words, context, c.width, c.depth, c.heads))
        self.project = nn.Linear(c.dim, c.prefix * c.width)

    def forward(self, u: Tensor, tokens: Tensor) -> Tensor:
        c = self.config
        require_tokens("tokens", tokens, c.words)
        require_length(tokens, len(u), c.length)
        h = torch.cat([self.before(u), self.gpt.embed(tokens[:, :-1])], dim=1)
        return self.logits(h)[:, c.prefix :]

    def before(self, u: Tensor) -> Tensor:
        """(B, dim) → (B, prefix, width)."""
        require_shape("embeddings", u, (len(u), self.config.dim))
        return self.project(u).view(len(u), self.config.prefix, -1)

    def logits(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        """Vectors (B, L, width) of prefix or words → logits (B, L, words) of the token
        after each. With a cache they come after those in it.
        """
        at = self.gpt.transformer.places(h.shape[1], cache)
        h = self.gpt.transformer(h + self.gpt.position[at], cache)
        return h @ self.gpt.embed.weight.T

    def new_cache(self, batch: int) -> Cache:
        """An empty cache for so many captions."""
        return self.gpt.new_cache(batch)


def require_length(tokens: Tensor, B: int, length: int) -> None:
    """Raise ValueError unless these are B captions of 2 to `length` tokens."""
    if len(tokens) != B or not 2 <= tokens.shape[1] <= length:
        raise ValueError(
            f"expected a caption of 2 to {length} tokens for each of {B} embeddings, "
            f"got tokens of shape {tuple(tokens.shape)}"
        )


def caption_loss(model: Captioner, u: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy in nats per token of the captions (B, L) of pictures with
    embeddings u (B, dim): a scalar. Betker et al. (2023, section 2.1).

    The end of a caption is told too; the padding behind it is not, since its place says
    all about it.
    """
    tokens = trimmed(tokens)
    logits = model(u, tokens)  # (B, L - 1, words)
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=PADDING)


@torch.no_grad()
def draw_captions(
    model: Captioner,
    u: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Tensor:
    """Captions of pictures with embeddings u (B, dim), token by token with
    `sample_token`: (B, length), start, words, end, padding. At temperature 0 each token
    is the likeliest (greedy).

    A caption that would be longer is cut, and ends in the last place.
    """
    require_generator(generator)
    tokens = torch.full((len(u), 1), START, device=u.device)
    ended = torch.zeros(len(u), dtype=torch.bool, device=u.device)
    cache = model.new_cache(len(u))
    h = torch.cat([model.before(u), model.gpt.embed(tokens)], dim=1)
    while tokens.shape[1] < model.config.length - 1 and not ended.all():
        logits = model.logits(h, cache)[:, -1]  # (B, words)
        logits[:, [PADDING, START]] = -torch.inf  # they are no words
        token = sample_token(logits, generator, temperature, top_k, top_p)
        token = token.masked_fill(ended, PADDING)
        ended |= token == END
        tokens = torch.cat([tokens, token[:, None]], dim=1)
        h = model.gpt.embed(token[:, None])  # (B, 1, width)
    last = torch.where(ended, PADDING, END)[:, None]
    tokens = torch.cat([tokens, last], dim=1)
    return F.pad(tokens, (0, model.config.length - tokens.shape[1]), value=PADDING)
