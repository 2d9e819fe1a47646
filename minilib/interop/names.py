"""How keys of published checkpoints become our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

State = Mapping[str, Tensor]


def renamed(key: str, places: list[tuple[str, str]]) -> str:
    for pattern, name in places:
        if found := re.fullmatch(pattern, key):
            return found.expand(name)
    raise ValueError(
        f"unknown key {key!r}: this is no checkpoint of the kind that this "
        "function reads"
    )
