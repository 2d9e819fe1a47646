"""Diffusers' U-Net: its weights under the names of our `UNet`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from minilib.interop.names import State, renamed

OF_DIFFUSERS = [  # (pattern, our name), tried in order; the first that fits is taken
    (r"conv_in\.(.*)", r"encoder.stem.\1"),
    (r"time_embedding\.linear_1\.(.*)", r"embed.time.0.\1"),
    (r"time_embedding\.linear_2\.(.*)", r"embed.time.2.\1"),
    (r"class_embedding\.(.*)", r"embed.label.\1"),
    (r"conv_norm_out\.(.*)", r"decoder.norm.\1"),
    (r"conv_out\.(.*)", r"decoder.out.\1"),
    (r"mid_block\.resnets\.0\.(.*)", r"encoder.middle.0.\1"),
    (r"mid_block\.attentions\.0\.(.*)", r"encoder.middle.1.\1"),
    (r"mid_block\.resnets\.1\.(.*)", r"encoder.middle.2.\1"),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.(.*)", r"encoder.levels.\1.resize.\2"),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.(.*)", r"decoder.levels.\1.resize.\2"),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", r"encoder.levels.\1.blocks.\2.\3"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", r"decoder.levels.\1.blocks.\2.\3"),
    (
        r"down_blocks\.(\d+)\.attentions\.(\d+)\.(.*)",
        r"encoder.levels.\1.attention.\2.\3",
    ),
    (
        r"up_blocks\.(\d+)\.attentions\.(\d+)\.(.*)",
        r"decoder.levels.\1.attention.\2.\3",
    ),
]
IN_DIFFUSERS_BLOCKS = {
    "time_emb_proj.": "modulate.linear.",
    "norm2.": "modulate.norm.",
    "norm1.": "norm.",
    "conv_shortcut.": "skip.",
    "group_norm.": "norm.",
    "to_out.0.": "attention.out.",
}


def from_diffusers(state: State) -> dict[str, Tensor]:
    """The weights of diffusers' UNet2DModel under the names of our `UNet`. Its to_q,
    to_k, to_v become one qkv.

    Ours computes the same where theirs has flip_sin_to_cos=True, freq_shift=0 and
    downsample_padding=1. The weights of the CIFAR-10 DDPM, which has none of these, fit
    under all names and would draw something else. Raises ValueError for a key that it
    does not know.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if re.search(r"\.to_[kv]\.", key):
            continue  # goes with to_q
        name = renamed(key, OF_DIFFUSERS)
        for theirs, mine in IN_DIFFUSERS_BLOCKS.items():
            name = name.replace(f".{theirs}", f".{mine}")
        if ".to_q." in key:
            value = torch.cat(
                [state[key.replace(".to_q.", f".to_{part}.")] for part in "qkv"]
            )
            name = name.replace(".to_q.", ".attention.qkv.")
        found[name] = value
    return found
