"""The prior of unCLIP, diffusers' PriorTransformer: its weights under the names of our
`DiffusionPrior`.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from minilib.interop.names import State, renamed

OF_PRIOR = [
    (r"time_embedding\.linear_1\.(.*)", r"time.0.\1"),
    (r"time_embedding\.linear_2\.(.*)", r"time.2.\1"),
    (r"proj_in\.(.*)", r"from_image.\1"),
    (r"embedding_proj\.(.*)", r"from_embedding.\1"),
    (r"encoder_hidden_states_proj\.(.*)", r"from_features.\1"),
    (r"positional_embedding", r"position"),
    (r"prd_embedding", r"query"),
    (r"transformer_blocks\.(.*)", r"blocks.\1"),
    (r"norm_out\.(.*)", r"norm.\1"),
    (r"proj_to_clip_embeddings\.(.*)", r"to_image.\1"),
    (r"clip_(mean|std)", r"\1"),
]
IN_PRIOR_BLOCKS = {
    "attn1.to_q.": "attention.qkv.",
    "attn1.to_out.0.": "attention.out.",
    "norm3.": "norm2.",
    "ff.net.0.proj.": "mlp.0.",
    "ff.net.2.": "mlp.2.",
}


def from_prior(state: State) -> dict[str, Tensor]:
    """The weights of diffusers' PriorTransformer under the names of our
    `DiffusionPrior`. Its to_q, to_k, to_v become one qkv.

    Ours computes the same where theirs is given an attention_mask: without one its text
    is not causal. Raises ValueError for a key that it does not know.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if re.search(r"\.to_[kv]\.", key):
            continue  # goes with to_q
        name = renamed(key, OF_PRIOR)
        for theirs, mine in IN_PRIOR_BLOCKS.items():
            name = name.replace(f".{theirs}", f".{mine}")
        if ".to_q." in key:
            value = torch.cat(
                [state[key.replace(".to_q.", f".to_{part}.")] for part in "qkv"]
            )
        if name in ("position", "mean", "std"):
            value = value[0]
        if name == "query":
            value = value[0, 0]
        found[name] = value
    return found
