"""Stable Diffusion 1.5: the sizes of its networks, and their weights under our names,
from diffusers' folders and from the single file of the first release.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from minilib.interop.adm import IN_ADM_BLOCKS, OF_ADM, OF_ADM_OUT, numbered_blocks
from minilib.interop.names import State, renamed
from minilib.interop.unet import IN_DIFFUSERS_BLOCKS, OF_DIFFUSERS
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
