"""CLIP, OpenAI's and transformers': its weights under the names of our `CLIP`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from minilib.interop.names import State, renamed

OF_CLIP = [  # OpenAI's names
    (r"logit_scale", r"logit_scale"),
    (r"visual\.conv1\.(.*)", r"vision.embed.\1"),
    (r"visual\.class_embedding", r"vision.whole"),
    (r"visual\.positional_embedding", r"vision.position"),
    (r"visual\.ln_pre\.(.*)", r"vision.norm_in.\1"),
    (r"visual\.ln_post\.(.*)", r"vision.norm_out.\1"),
    (r"visual\.transformer\.resblocks\.(.*)", r"vision.blocks.\1"),
    (r"visual\.proj", r"to_image.weight"),
    (r"token_embedding\.(.*)", r"text.embed.\1"),
    (r"positional_embedding", r"text.position"),
    (r"transformer\.resblocks\.(.*)", r"text.blocks.\1"),
    (r"ln_final\.(.*)", r"text.norm.\1"),
    (r"text_projection", r"to_text.weight"),
]
IN_CLIP_BLOCKS = {
    "attn.in_proj_": "attention.qkv.",
    "attn.out_proj.": "attention.out.",
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "mlp.c_fc.": "mlp.0.",
    "mlp.c_proj.": "mlp.2.",
}


def from_clip(state: State) -> dict[str, Tensor]:
    """The weights of OpenAI's CLIP under the names of our `CLIP`. Its projections
    multiply from the other side.

    Raises ValueError for a key that it does not know.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = renamed(key, OF_CLIP)
        for theirs, mine in IN_CLIP_BLOCKS.items():
            name = name.replace(f".{theirs}", f".{mine}")
        found[name] = value.T if key in ("visual.proj", "text_projection") else value
    return found


OF_CLIP_TRANSFORMERS = [
    (r"logit_scale", r"logit_scale"),
    (r"visual_projection\.(.*)", r"to_image.\1"),
    (r"text_projection\.(.*)", r"to_text.\1"),
    (r"vision_model\.embeddings\.patch_embedding\.(.*)", r"vision.embed.\1"),
    (r"vision_model\.embeddings\.class_embedding", r"vision.whole"),
    (r"vision_model\.embeddings\.position_embedding\.weight", r"vision.position"),
    (r"vision_model\.pre_layrnorm\.(.*)", r"vision.norm_in.\1"),
    (r"vision_model\.post_layernorm\.(.*)", r"vision.norm_out.\1"),
    (r"vision_model\.encoder\.layers\.(.*)", r"vision.blocks.\1"),
    (r"text_model\.embeddings\.token_embedding\.(.*)", r"text.embed.\1"),
    (r"text_model\.embeddings\.position_embedding\.weight", r"text.position"),
    (r"text_model\.final_layer_norm\.(.*)", r"text.norm.\1"),
    (r"text_model\.encoder\.layers\.(.*)", r"text.blocks.\1"),
]
IN_CLIP_TRANSFORMERS_BLOCKS = {
    "self_attn.q_proj.": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "layer_norm1.": "norm1.",
    "layer_norm2.": "norm2.",
    "mlp.fc1.": "mlp.0.",
    "mlp.fc2.": "mlp.2.",
}


def from_clip_transformers(state: State) -> dict[str, Tensor]:
    """The weights of transformers' CLIPModel under the names of our `CLIP`. Its q_proj,
    k_proj, v_proj become one qkv.

    Raises ValueError for a key that it does not know.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if re.search(r"\.[kv]_proj\.", key):
            continue  # goes with q_proj
        name = renamed(key, OF_CLIP_TRANSFORMERS)
        for theirs, mine in IN_CLIP_TRANSFORMERS_BLOCKS.items():
            name = name.replace(f".{theirs}", f".{mine}")
        if ".q_proj." in key:
            value = torch.cat(
                [state[key.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            )
        found[name] = value
    return found
