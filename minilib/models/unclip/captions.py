"""What a trained CLIP reads in captions, for the priors, and how it is hidden from
them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from minilib import runtime
from minilib.models.clip import CLIP
from minilib.runtime import require_shape, require_share
from minilib.text.words import PADDING
from minilib.train import Draw


class Caption(NamedTuple):
    """What CLIP reads in B captions: features (B, L, width) of their tokens, of which
    those count where `seen` (B, L) is True, and embeddings (B, D) of length 1.
    """

    features: Tensor
    seen: Tensor
    embedding: Tensor


def read_captions(clip: CLIP, tokens: Tensor) -> Caption:
    """What `clip`, on `runtime.device()`, reads in tokens (B, L); on the CPU."""
    features = runtime.in_blocks(clip.text, tokens)
    return Caption(
        features, tokens != PADDING, runtime.in_blocks(clip.embed_text, tokens)
    )


def hide(caption: Caption, hidden: Tensor) -> Caption:
    """The captions, nothing of them left where `hidden` (B,) is True: no token is seen,
    and the embedding is 0.
    """
    require_shape("hidden", hidden, (len(caption.seen),))
    shown = ~hidden[:, None]
    return Caption(caption.features, caption.seen & shown, caption.embedding * shown)


def null_caption(caption: Caption) -> Caption:
    """As many captions of which nothing is left."""
    return hide(caption, torch.ones_like(caption.seen[:, 0]))


def drop_caption(caption: Caption, draw: Draw, p_uncond: float) -> Caption:
    """The captions, a share `p_uncond` of them hidden. Ramesh et al. (2022, section
    2.2).
    """
    require_share("p_uncond", p_uncond)
    return hide(caption, draw.uniform() < p_uncond)


def repeated(caption: Caption, times: int) -> Caption:
    """Each caption so many times in a row."""
    return Caption(*(part.repeat_interleave(times, dim=0) for part in caption))


def require_caption(caption: Caption, B: int, width: int, length: int, D: int) -> None:
    """Raise ValueError unless these are B captions of up to `length` tokens, with
    features of that width and embeddings of dimension D.
    """
    L = caption.seen.shape[-1]
    if length < L:
        raise ValueError(f"expected captions of up to {length} tokens, got {L}")
    require_shape("features of captions", caption.features, (B, L, width))
    require_shape("seen tokens of captions", caption.seen, (B, L))
    require_shape("embeddings of captions", caption.embedding, (B, D))
