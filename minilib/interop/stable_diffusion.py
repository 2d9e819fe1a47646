"""Stable Diffusion 1.5: the sizes of its networks, and their weights under our names,
from diffusers' folders and from the single file of the first release.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minilib.interop.adm import IN_ADM_BLOCKS, OF_ADM, OF_ADM_OUT, numbered_blocks
from minilib.interop.clip import from_clip_transformers
from minilib.interop.names import State, renamed
from minilib.interop.unet import IN_DIFFUSERS_BLOCKS, OF_DIFFUSERS
from minilib.models.clip import TextConfig
from minilib.models.latent.kl_autoencoder import KLConfig
from minilib.nets.spatial_transformer import SpatialTransformer
from minilib.nets.unet_blocks import UNetConfig

UNET = UNetConfig(
    channels=4,
    patch=1,
    width=320,
    multipliers=(1, 2, 4, 4),
    attention=(0, 1, 2),
    groups=32,
    attend=partial(SpatialTransformer, context=768, heads=8),
)

# ---------- the U-Net ----------

IN_TRANSFORMERS = {
    ".transformer_blocks.0.": ".block.",
    ".attn1.": ".self_attention.",
    ".attn2.": ".cross_attention.",
    ".to_out.0.": ".to_out.",
    ".ff.net.0.": ".mlp.0.",
    ".ff.net.2.": ".mlp.1.",
}
# blocks that ADM has too; its attention is another
IN_RES_BLOCKS = {k: v for k, v in IN_ADM_BLOCKS.items() if k != "proj_out."}
SINGLE_FILE_UNET = "model.diffusion_model."


def from_unet(state: State, config: UNetConfig = UNET) -> dict[str, Tensor]:
    """The weights of diffusers' UNet2DConditionModel, or of the U-Net in a single file,
    under the names of our `ConditionalUNet` of that config.

    Raises ValueError for a key that it does not know.
    """
    single = all(key.startswith(SINGLE_FILE_UNET) for key in state)
    places = (
        [*OF_ADM, *numbered_blocks(config), *OF_ADM_OUT] if single else OF_DIFFUSERS
    )
    in_blocks = {
        f".{theirs}": f".{mine}"
        for theirs, mine in (IN_RES_BLOCKS if single else IN_DIFFUSERS_BLOCKS).items()
    } | {".op.": ".conv."}
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = renamed(key.removeprefix(SINGLE_FILE_UNET), places)
        is_attention = ".attention." in name or "middle.1." in name
        for theirs, mine in (IN_TRANSFORMERS if is_attention else in_blocks).items():
            name = name.replace(theirs, mine)
        found[name] = value
    return found


# ---------- the autoencoder ----------

AUTOENCODER = KLConfig(width=128, multipliers=(1, 2, 4, 4), blocks=2, groups=32)
SCALE = 0.18215  # of its latents: one number for all channels
SINGLE_FILE_AUTOENCODER = "first_stage_model."
IN_RESNET_BLOCKS = {  # ours, and what files call it
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.5": "conv2",
    "skip": "conv_shortcut|nin_shortcut",
}
IN_ATTENTION = {  # today's names, those of 2022, those of the single file
    "norm": "group_norm|norm",
    "to_q": "to_q|query|q",
    "to_k": "to_k|key|k",
    "to_v": "to_v|value|v",
    "attention.out": r"to_out\.0|proj_attn|proj_out",
}
IN_AUTOENCODER = {
    "encoder.stem": r"encoder\.conv_in",
    "encoder.out.0": r"encoder\.(conv_norm_out|norm_out)",
    "encoder.out.2": r"encoder\.conv_out",
    "encoder.out.3": "quant_conv",
    "decoder.stem.0": "post_quant_conv",
    "decoder.stem.1": r"decoder\.conv_in",
    "decoder.out.0": r"decoder\.(conv_norm_out|norm_out)",
    "decoder.out.2": r"decoder\.conv_out",
}


def from_autoencoder(state: State, config: KLConfig = AUTOENCODER) -> dict[str, Tensor]:
    """The weights of diffusers' AutoencoderKL, under its names of today or of 2022, or
    of the autoencoder in a single file, under the names of our `KLAutoencoder` of that
    config, with the scale of Stable Diffusion's latents.

    Its query, key and value become one qkv, and what single files hold as convolutions
    of width 1 linear maps. Raises ValueError for a key that it does not know.
    """
    places, found = autoencoder_places(config), {}
    for key, value in state.items():
        name = renamed(key.removeprefix(SINGLE_FILE_AUTOENCODER), places)
        width_1 = value.ndim == 4 and ".middle.1." in name
        found[name] = value.flatten(1) if width_1 else value
    for at in ("encoder.middle.1", "decoder.middle.1"):
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{at}.to_{part}.{kind}") for part in "qkv"]
            found[f"{at}.attention.qkv.{kind}"] = torch.cat(parts)
    channels = found["decoder.stem.0.weight"].new_ones(config.latent_channels, 1, 1)
    return {**found, "mean": 0 * channels, "std": channels / SCALE}


def autoencoder_places(c: KLConfig) -> list[tuple[str, str]]:
    """(pattern, our name) of all keys. The single file counts the decoder's levels from
    the other end.
    """
    last, places = len(c.multipliers) - 1, list(IN_AUTOENCODER.items())
    for at, block in resnet_places(c).items():
        places += [
            (f"{at}.{k}", rf"{block}\.({v})") for k, v in IN_RESNET_BLOCKS.items()
        ]
    for side in ("encoder", "decoder"):
        attention = rf"{side}\.(mid_block\.attentions\.0|mid\.attn_1)"
        places += [
            (f"{side}.middle.1.{k}", rf"{attention}\.({v})")
            for k, v in IN_ATTENTION.items()
        ]
    for i in range(last):
        down = rf"encoder\.(down_blocks\.{i}\.downsamplers\.0|down\.{i}\.downsample)"
        up = rf"decoder\.(up_blocks\.{i}\.upsamplers\.0|up\.{last - i}\.upsample)"
        places.append((f"encoder.levels.{i}.{c.blocks}.1", rf"{down}\.conv"))
        places.append((f"decoder.levels.{i}.{c.blocks + 1}.1", rf"{up}\.conv"))
    end = r"\.(?P<kind>weight|bias)"
    return [(pattern + end, ours + r".\g<kind>") for ours, pattern in places]


def resnet_places(c: KLConfig) -> dict[str, str]:
    """Our name of each residual block, and the pattern of theirs."""
    last, found = len(c.multipliers) - 1, {}
    for side in ("encoder", "decoder"):
        for n in (0, 1):
            theirs = rf"(mid_block\.resnets\.{n}|mid\.block_{n + 1})"
            found[f"{side}.middle.{2 * n}"] = rf"{side}\.{theirs}"
    for i in range(last + 1):
        for n in range(c.blocks + 1):
            down = rf"encoder\.(down_blocks\.{i}\.resnets|down\.{i}\.block)\.{n}"
            up = rf"decoder\.(up_blocks\.{i}\.resnets|up\.{last - i}\.block)\.{n}"
            found[f"encoder.levels.{i}.{n}"] = down
            found[f"decoder.levels.{i}.{n}"] = up
    return found


# ---------- the text encoder, and all three ----------

TEXT = TextConfig(49408, length=77, width=768, depth=12, heads=12, end=49407)
SINGLE_FILE_TEXT = "cond_stage_model.transformer."


def from_text_encoder(state: State) -> dict[str, Tensor]:
    """The weights of transformers' CLIPTextModel under the names of our
    `TextTransformer`: with or without "text_model." before theirs, which version 5 left
    out, or from a single file.

    Positions, which some files number, are left out. Raises ValueError for a key that
    it does not know.
    """
    theirs = {}
    for key, value in state.items():
        name = key.removeprefix(SINGLE_FILE_TEXT).removeprefix("text_model.")
        if not name.endswith(".position_ids"):
            theirs[f"text_model.{name}"] = value
    found = from_clip_transformers(theirs)
    return {name.removeprefix("text."): value for name, value in found.items()}


def from_single_file(state: State) -> dict[str, dict[str, Tensor]]:
    """The weights of a whole checkpoint of the first release, under our names: "unet",
    "autoencoder" and "text".

    What else it holds, such as the numbers of its schedule, is left out. Raises
    ValueError where a part is missing.
    """
    parts: dict[str, tuple[str, Callable[[State], dict[str, Tensor]]]] = {
        "unet": (SINGLE_FILE_UNET, from_unet),
        "autoencoder": (SINGLE_FILE_AUTOENCODER, from_autoencoder),
        "text": (SINGLE_FILE_TEXT, from_text_encoder),
    }
    found = {}
    for part, (prefix, rename) in parts.items():
        theirs = {key: value for key, value in state.items() if key.startswith(prefix)}
        if not theirs:
            raise ValueError(
                f"expected a checkpoint of Stable Diffusion 1 in one file, with keys "
                f"that begin with {prefix!r}, got none"
            )
        found[part] = rename(theirs)
    return found
