"""What a run learns from, as text that two runs of one program agree on: the loss with
its options, and the first batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minilib.train.batches import Batch

# types whose repr tells all
PLAIN = (
    *(bool, int, float, complex, str, bytes, range, slice, type(None)),
    *(PurePath, torch.dtype, torch.device, np.generic),
)
CONTAINERS = (list, tuple, set, frozenset, dict)


def of_batch(batch: Batch) -> dict[str, Any]:
    """The batch's size, and a fingerprint of its tensors."""
    return {"batch_size": len(batch[0]), "first batch": fingerprint(batch, [])}


def of_loss(loss: Any, trained: nn.Module) -> dict[str, Any]:
    """The names of the loss, or of each player's, their options, and fingerprints of
    their code. Weights of `trained` are no option: they change.
    """
    if isinstance(loss, Mapping):
        players = [of_loss(own, trained).items() for own in loss.values()]
        pairs = zip(loss, players, strict=True)
        return {f"{k} of {who}": v for who, own in pairs for k, v in own}
    function = loss.func if isinstance(loss, partial) else loss
    options: dict[Any, Any] = {}
    if isinstance(loss, partial):
        options = {**dict(enumerate(loss.args)), **loss.keywords}
    own = [trained]
    said = {
        f"loss's {key}": value
        if isinstance(value, bool | int | float | str | None)
        else f"{name_of(value)} {fingerprint(value, own)}"
        for key, value in options.items()
    }
    return {
        "loss": name_of(function),
        "loss's code": fingerprint(function, own),
        **said,
    }


def name_of(value: Any) -> str:
    return getattr(value, "__qualname__", type(value).__qualname__)


def fingerprint(value: Any, inside: list[Any]) -> str:
    """Eight hex digits of all that `value` holds, the same in every process: no memory
    address and no order of a set counts. What is `inside` is not looked into again.
    """
    told = repr(parts(value, inside)).encode()
    return hashlib.sha256(told).hexdigest()[:8]


def parts(value: Any, inside: list[Any]) -> list[str]:
    """What `value` is made of, in words and fingerprints."""
    if isinstance(value, PLAIN):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Tensor | np.ndarray) and value.dtype != object:
        return [name_of(value), *numbers(value)]
    if any(value is one for one in inside):
        return [name_of(value)]
    look = partial(fingerprint, inside=[*inside, value])
    if isinstance(value, nn.Module) and shares_weights(value, inside):
        return [name_of(value)]
    if isinstance(value, set | frozenset):
        return [name_of(value), *sorted(map(look, value))]
    return [name_of(value), *map(look, held(value))]


def held(value: Any) -> list[Any]:
    """The values that a container, a function or an object holds."""
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    if isinstance(value, Mapping):
        return [item for pair in value.items() for item in pair]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        return [
            value.__code__,
            value.__defaults__,
            value.__kwdefaults__,
            *closed(value),
            *named(value).items(),
        ]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, nn.Module):
        return [value.state_dict(), {**options_of(value), "training": None}]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, type | types.ModuleType):
        return [value.__name__]
    if hasattr(value, "__wrapped__"):
        return [value.__wrapped__]
    return [options_of(value)]


def options_of(value: Any) -> dict[str, Any]:
    """The numbers, words and tensors that are an object's own; not what else it
    knows, which may be anything.
    """
    kinds = (*PLAIN, Tensor, np.ndarray)
    own = getattr(value, "__dict__", {})
    return {k: v for k, v in own.items() if isinstance(v, kinds)}


def shares_weights(module: nn.Module, inside: list[Any]) -> bool:
    own = {id(p) for p in module.parameters()}
    others = [one for one in inside if isinstance(one, nn.Module)]
    return any(id(p) in own for one in others for p in one.parameters())


def closed(function: Callable[..., Any]) -> list[Any]:
    """What a function closes over. Of a list or dict that it fills, what is there
    already counts: so begin with an empty one.
    """
    found: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # it is empty as yet
            found.append(cell.cell_contents)
    return found


def named(function: types.FunctionType) -> dict[str, Any]:
    """The numbers, words, tensors and containers of its module that a function reads,
    as in a notebook, where whatever a cell binds is the module's.
    """
    around, kinds = function.__globals__, (*PLAIN, *CONTAINERS, Tensor, np.ndarray)
    read = {k: around[k] for k in names_in(function.__code__) if k in around}
    return {k: v for k, v in sorted(read.items()) if isinstance(v, kinds)}


def names_in(code: types.CodeType) -> set[str]:
    """The names that a function's code takes from elsewhere, and those of the
    functions in it.
    """
    within = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return {*code.co_names}.union(*map(names_in, within))


def numbers(value: Tensor | np.ndarray) -> list[str]:
    """Kind, shape and a hash of the bytes."""
    if isinstance(value, np.ndarray):  # of words too
        content = value.tobytes()
    else:
        x = value.detach().cpu()
        x = x.to_dense() if x.layout != torch.strided else x.contiguous()
        content = x.flatten().view(torch.uint8).numpy().tobytes()  # of bf16 too
    digest = hashlib.sha256(content).hexdigest()
    return [str(value.dtype), str(tuple(value.shape)), digest]
