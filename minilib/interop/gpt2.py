"""GPT-2, OpenAI's and transformers': its weights under the names of our `GPT`, and
those of a `GPT` under GPT-2's.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from minilib.interop.names import State, renamed
from minilib.nets.gpt import GPTConfig

NAMES = {  # of GPT-2, and ours; N is a block's number
    "wte": "embed",
    "wpe.weight": "position",
    "h.N.ln_1": "transformer.blocks.N.norm1",
    "h.N.attn.c_attn": "transformer.blocks.N.attention.qkv",
    "h.N.attn.c_proj": "transformer.blocks.N.attention.out",
    "h.N.ln_2": "transformer.blocks.N.norm2",
    "h.N.mlp.c_fc": "transformer.blocks.N.mlp.0",
    "h.N.mlp.c_proj": "transformer.blocks.N.mlp.2",
    "ln_f": "transformer.norm",
}
# files hold the causal mask of each block too, as if it were learned
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def from_gpt2(state: State) -> dict[str, Tensor]:
    """The weights of GPT-2 under the names of our `GPT`, with or without "transformer."
    before theirs.

    Its linear maps are "Conv1D"s, whose weights are (in, out). Its masks are left out,
    and so is its head, which is the embedding. Raises ValueError for a key that it does
    not know, and for a head of its own.
    """
    theirs = {key.removeprefix("transformer."): value for key, value in state.items()}
    head = theirs.pop("lm_head.weight", None)
    if head is not None and not (
        head.is_meta or torch.equal(head, theirs["wte.weight"])
    ):
        raise ValueError(
            "expected lm_head.weight to equal wte.weight: our GPT has one tensor "
            "for both"
        )
    places = [place(a, b) for a, b in NAMES.items()]
    return {
        renamed(key, places): value.T if is_linear(key) else value
        for key, value in theirs.items()
        if not MASKS.fullmatch(key)
    }


def to_gpt2(state: State) -> dict[str, Tensor]:
    """The weights of our `GPT` under the names of transformers' GPT2LMHeadModel, which
    ties the head itself.

    A file of them wants {"format": "pt"} as metadata and `gpt2_config` beside it.
    Raises ValueError for a key that it does not know.
    """
    places, found = [place(b, a) for a, b in NAMES.items()], {}
    for key, value in state.items():
        name = renamed(key, places)
        value = value.T.contiguous() if is_linear(name) else value
        found[f"transformer.{name}"] = value
    return found


def gpt2_config(config: GPTConfig) -> dict[str, Any]:
    """What config.json says of a `GPT` of these sizes."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
    }


def place(old: str, new: str) -> tuple[str, str]:
    """The pattern of the keys of one module under its old name, and their new one."""
    pattern = (
        re.escape(old).replace("N", r"(?P<N>\d+)") + r"(?P<end>(\.weight|\.bias)?)"
    )
    return pattern, new.replace("N", r"\g<N>") + r"\g<end>"


def is_linear(key: str) -> bool:
    """Whether GPT-2's key is the weight of a linear map."""
    return re.search(r"\.c_\w+\.weight$", key) is not None
