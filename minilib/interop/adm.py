"""ADM: the weights of its U-Net and of its classifier under our names."""

from __future__ import annotations

from torch import Tensor

from minilib.interop.names import State, renamed
from minilib.nets.unet_blocks import UNetConfig

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
    return encoder_blocks(config) + decoder_blocks(config)


def place(theirs: str, ours: str) -> tuple[str, str]:
    """The pattern of all keys below `theirs`, and our name for them."""
    return theirs.replace(".", r"\.") + r"\.(.*)", ours + r".\1"


def encoder_blocks(config: UNetConfig) -> list[tuple[str, str]]:
    """The way down. Number 0 is the stem."""
    places, number = [], 1
    for level in range(len(config.multipliers)):
        ours = f"encoder.levels.{level}"
        for block in range(config.blocks):
            theirs = f"input_blocks.{number}"
            places.append(place(f"{theirs}.0", f"{ours}.blocks.{block}"))
            places.append(place(f"{theirs}.1", f"{ours}.attention.{block}"))
            number += 1
        if level < len(config.multipliers) - 1:
            places.append(place(f"input_blocks.{number}.0", f"{ours}.resize"))
            number += 1
    return places


def decoder_blocks(config: UNetConfig) -> list[tuple[str, str]]:
    """The way up. The decoder's first level is the lowest."""
    places, number, last = [], 0, len(config.multipliers) - 1
    for level in range(last + 1):
        ours, attends = f"decoder.levels.{level}", last - level in config.attention
        for block in range(config.blocks + 1):
            theirs = f"output_blocks.{number}"
            places.append(place(f"{theirs}.0", f"{ours}.blocks.{block}"))
            if attends:
                places.append(place(f"{theirs}.1", f"{ours}.attention.{block}"))
            if block == config.blocks and level < last:
                after = 2 if attends else 1
                places.append(place(f"{theirs}.{after}", f"{ours}.resize"))
            number += 1
    return places


def by_kind(qkv: Tensor, head_dim: int) -> Tensor:
    """(heads · 3 · head_dim, …) → (3 · heads · head_dim, …): q, k and v of each head,
    sorted into q, k and v of all.
    """
    heads = len(qkv) // (3 * head_dim)
    return qkv.unflatten(0, (heads, 3, head_dim)).transpose(0, 1).flatten(0, 2)
