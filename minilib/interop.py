"""Published checkpoints under our names: maps of keys, so that weights of the
references fit our networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from minilib.unet import UNetConfig

State = Mapping[str, Tensor]

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


OF_ADM = [
    (r"time_embed\.(.*)", r"embed.time.\1"),
    (r"label_emb\.(.*)", r"embed.label.\1"),
    (r"input_blocks\.0\.0\.(.*)", r"encoder.stem.\1"),
    (r"middle_block\.(\d)\.(.*)", r"encoder.middle.\1.\2"),
]
IN_ADM_BLOCKS = {
    "in_layers.0.": "norm.",
    "in_layers.2.": "conv1.",
    "emb_layers.1.": "modulate.linear.",
    "out_layers.0.": "modulate.norm.",
    "out_layers.3.": "conv2.",
    "skip_connection.": "skip.",
    "proj_out.": "attention.out.",
}


def from_adm(state: State, config: UNetConfig) -> dict[str, Tensor]:
    """The weights of ADM's UNetModel under the names of our `UNet`, or of its
    classifier under `NoisyClassifier`'s.

    ADM's convolutions of width 1 become linear maps, and q, k, v, which stand head by
    head there (its "legacy" order), come first q of all heads, then k, then v. Raises
    ValueError for a key that it does not know.
    """
    places = OF_ADM + numbered_blocks(config)
    is_classifier = "out.2.positional_embedding" in state
    places += OF_ADM_CLASSIFIER if is_classifier else OF_ADM_OUT
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = renamed(key, places)
        for theirs, mine in IN_ADM_BLOCKS.items():
            name = name.replace(f".{theirs}", f".{mine}")
        if value.ndim == 3:
            value = value.squeeze(2)
        # the pool's are sorted already
        if not name.startswith("pool.") and ".qkv." in name:
            name, value = (
                name.replace(".qkv.", ".attention.qkv."),
                by_kind(value, config.head_dim),
            )
        found[name] = value
    return found


OF_ADM_OUT = [
    (r"out\.0\.(.*)", r"decoder.norm.\1"),
    (r"out\.2\.(.*)", r"decoder.out.\1"),
]
OF_ADM_CLASSIFIER = [
    (r"out\.0\.(.*)", r"norm.\1"),
    (r"out\.2\.positional_embedding", r"pool.position"),
    (r"out\.2\.qkv_proj\.(.*)", r"pool.qkv.\1"),
    (r"out\.2\.c_proj\.(.*)", r"pool.out.\1"),
]


def numbered_blocks(config: UNetConfig) -> list[tuple[str, str]]:
    """ADM numbers blocks and changes of size through, in one list each for the way down
    and the way up.
    """
    places, last = [], len(config.multipliers) - 1
    number = 1  # 0 is the stem
    for level in range(last + 1):
        for block in range(config.blocks):
            places.append(
                (
                    rf"input_blocks\.{number}\.0\.(.*)",
                    rf"encoder.levels.{level}.blocks.{block}.\1",
                )
            )
            places.append(
                (
                    rf"input_blocks\.{number}\.1\.(.*)",
                    rf"encoder.levels.{level}.attention.{block}.\1",
                )
            )
            number += 1
        if level < last:
            places.append(
                (
                    rf"input_blocks\.{number}\.0\.(.*)",
                    rf"encoder.levels.{level}.resize.\1",
                )
            )
            number += 1
    number = 0
    for level in range(last + 1):  # the decoder's first level is the lowest
        attends = last - level in config.attention
        for block in range(config.blocks + 1):
            after = 2 if attends else 1
            places.append(
                (
                    rf"output_blocks\.{number}\.0\.(.*)",
                    rf"decoder.levels.{level}.blocks.{block}.\1",
                )
            )
            if attends:
                places.append(
                    (
                        rf"output_blocks\.{number}\.1\.(.*)",
                        rf"decoder.levels.{level}.attention.{block}.\1",
                    )
                )
            if block == config.blocks and level < last:
                places.append(
                    (
                        rf"output_blocks\.{number}\.{after}\.(.*)",
                        rf"decoder.levels.{level}.resize.\1",
                    )
                )
            number += 1
    return places


def renamed(key: str, places: list[tuple[str, str]]) -> str:
    for pattern, name in places:
        if found := re.fullmatch(pattern, key):
            return found.expand(name)
    raise ValueError(
        f"unknown key {key!r}: this is no checkpoint of the kind that this "
        "function reads"
    )


def by_kind(qkv: Tensor, head_dim: int) -> Tensor:
    """(heads · 3 · head_dim, …) → (3 · heads · head_dim, …): q, k and v of each head,
    sorted into q, k and v of all.
    """
    heads = len(qkv) // (3 * head_dim)
    return qkv.unflatten(0, (heads, 3, head_dim)).transpose(0, 1).flatten(0, 2)


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
