"""Weights on disk: safetensors and JSON only, checked by SHA-256, written whole or not
at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor, nn

HERE = Path(__file__).parent
M = TypeVar("M", bound=nn.Module)


class CorruptFileError(ValueError):
    """A file whose content is not what it should be: truncated, tampered with, or of
    another kind.
    """


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: into a temporary file beside it,
    which then takes its name.

    Raises OSError that says what to do when the disk is full or read-only; what stood
    at `path` before is untouched.
    """
    # one name: what a killed process left is written over
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = (
            f"cannot write {path}: {error.strerror}. Nothing was changed; free some "
            "space or choose another folder"
        )
        raise OSError(error.errno, reason) from error


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and `meta` (anything JSON can hold) as one safetensors file,
    atomically.
    """
    content = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(
        path, safetensors.torch.save(content, {"minilib": json.dumps(meta)})
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and `meta` of a file that `write_tensors` wrote. Raises
    CorruptFileError when it is not one.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["minilib"])
            return {k: file.get_tensor(k) for k in file.keys()}, meta  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CorruptFileError(
            f"{path} is truncated or not a minilib file ({error}): delete it, or "
            "fetch it again"
        ) from None


def names() -> list[str]:
    """The names of the weights that ship with minilib."""
    return sorted(path.stem for path in HERE.glob("*.safetensors"))


def card(name: str) -> dict[str, Any]:
    """The card of the weights `name`: recipe, data and licence, steps, time, machine,
    score, limits, SHA-256.

    Raises ValueError for an unknown name (listing the known ones).
    """
    path = HERE / f"{name}.json"
    if not path.exists():
        raise ValueError(
            f"no weights named {name!r}: there are {', '.join(names()) or 'none'}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def save_weights(model: nn.Module, path: Path, about: dict[str, Any]) -> None:
    """Write the model's weights in float16 to `path`, and `about` with their SHA-256 as
    a card (.json) beside it.
    """
    halves = {
        k: v.half() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
    }
    write_tensors(path, halves, {"name": path.stem})
    facts = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }
    text = (
        json.dumps({"name": path.stem, **about, **facts}, indent=2, ensure_ascii=False)
        + "\n"
    )
    write_atomically(path.with_suffix(".json"), text.encode())


def load_pretrained(model: M, name: str) -> M:
    """Fill the caller's own `model` with the shipped weights `name`, and return it in
    evaluation mode.

    Raises ValueError for an unknown name (listing the known ones), and whatever
    `load_weights` raises.
    """
    card(name)
    return load_weights(model, HERE / f"{name}.safetensors")


def load_weights(model: M, path: Path) -> M:
    """Fill the caller's own `model` from `path`, after checking it against the card
    beside it; evaluation mode.

    Raises CorruptFileError when file and card do not belong together, ValueError when
    the model has other tensors than the file. On any error the model is as it was.
    """
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != expected_hash(path.with_suffix(".json")):
        what = (
            f"is not the file that its card {path.stem}.json describes"
            if path.exists()
            else "is missing"
        )
        raise CorruptFileError(f"{path} {what}: restore both, or train again")
    tensors, own = safetensors.torch.load(content), model.state_dict()
    differ = [
        key
        for key in sorted(own.keys() | tensors.keys())
        if shape(own.get(key)) != shape(tensors.get(key))
    ]
    if differ:
        lines = [
            f"{key}: {shape(tensors.get(key))} in the file, {shape(own.get(key))} "
            "in the model"
            for key in differ[:4]
        ]
        raise ValueError(
            f"{path.name} does not fit this model, {len(differ)} tensors differ: "
            f"{'; '.join(lines)}"
        )
    model.load_state_dict(tensors)
    return model.eval()


def expected_hash(card_path: Path) -> str | None:
    """The SHA-256 on a card, or None where the card is missing, damaged or has none."""
    try:
        return json.loads(card_path.read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))
