"""Weights on disk: safetensors and JSON only, checked by SHA-256, written whole or not
at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

# torch and safetensors.torch are imported where tensors are: cards are read without
if TYPE_CHECKING:
    from torch import Tensor, nn

HERE = Path(__file__).parent
M = TypeVar("M", bound="nn.Module")


class CorruptFileError(ValueError):
    """A file whose content is not what it should be: truncated, tampered with, or of
    another kind.
    """


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: into a temporary file beside it,
    which then takes its name.

    Raises OSError that says what to do when the disk is full or read-only; what stood
    at `path` before is untouched.
    """
    path = Path(path)
    temporary = beside(path)
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
        require_place(path, error)
        raise cannot_write(path, error) from error


def beside(path: Path) -> Path:
    """Where `path` is written before it takes its name. There is one such name: what a
    killed process left is written over.
    """
    return path.with_name(f".{path.name}.part")


def cannot_write(path: Path, error: OSError) -> OSError:
    reason = (
        f"cannot write {path}: {error.strerror}. Nothing was changed; free some "
        "space or choose another folder"
    )
    return OSError(error.errno, reason)


def require_place(path: Path, error: OSError) -> None:
    """Raise OSError that says what to do instead, where the error is not the disk's but
    the place's: `path` is a folder, lies in a file, or may not be written.
    """
    in_the_way = [p for p in path.parents if os.path.lexists(p) and not p.is_dir()]
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        mend = f"it is a folder: name a file in it, such as {path / 'NAME'}"
    elif in_the_way:
        mend = f"{in_the_way[0]} is a file: choose a folder"
    elif error.errno == errno.ENAMETOOLONG:
        mend = "shorten the name"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        mend = "choose another folder"
    else:
        return
    raise OSError(
        error.errno,
        f"cannot write {path}: {error.strerror}. Nothing was changed; {mend}",
    ) from error


def require_writable(path: str | Path) -> None:
    """Raise now what `write_atomically` would raise later, where `path` is a folder or
    its folder takes no file.
    """
    path = Path(path)
    try:
        if os.path.isdir(path):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside(path).touch()
        beside(path).unlink()
    except OSError as error:
        require_place(path, error)
        raise cannot_write(path, error) from error


def write_tensors(
    path: str | Path, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Write tensors and `meta` (anything JSON can hold) as one safetensors file,
    atomically.
    """
    import safetensors.torch

    content = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(
        path, safetensors.torch.save(content, {"minilib": json.dumps(meta)})
    )


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and `meta` of a file that `write_tensors` wrote. Raises
    CorruptFileError when it is not one, FileNotFoundError or IsADirectoryError when it
    is no file at all.
    """
    import safetensors

    require_file(path, "one (.safetensors) that minilib wrote")

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


def save_weights(model: nn.Module, path: str | Path, about: dict[str, Any]) -> None:
    """Write the model's weights in float16 to `path`, and `about` with their SHA-256 as
    a card (.json) beside it.
    """
    path = Path(path)
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


def load_weights(model: M, path: str | Path) -> M:
    """Fill the caller's own `model` from `path`, after checking it against the card
    beside it; evaluation mode.

    Raises FileNotFoundError when there is no such file, IsADirectoryError when it is a
    folder, CorruptFileError when its card
    is missing, damaged or of another file, ValueError when it is a training checkpoint
    or has other tensors than the model. On any error the model is as it was.
    """
    import safetensors.torch

    path = Path(path)
    content = described(path)
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


def described(path: Path) -> bytes:
    """The content of a file of weights, if it is the one that its card describes."""
    require_file(path, "weights (.safetensors) that `train` or `save_weights` wrote")
    content, card_path = path.read_bytes(), path.with_suffix(".json")
    if is_checkpoint(content):
        raise ValueError(
            f"{path} is a training checkpoint, not weights: name the file of weights "
            "that `train` writes at its end, or finish it with train --resume"
        )
    if not card_path.exists():
        raise CorruptFileError(
            f"{path} has no card {card_path.name} beside it: copy there the one that "
            "was saved with it"
        )
    try:
        expected = json.loads(card_path.read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CorruptFileError(
            f"the card {card_path} is damaged, or is none: copy there the one that was "
            f"saved with {path.name}"
        ) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptFileError(
            f"{path} is not the file that its card {card_path.name} describes: restore "
            "both, or train again"
        )
    return content


def require_file(path: str | Path, what: str) -> None:
    """Raise OSError that says what to give, `what`, where `path` is a folder or not
    there; of a folder it names what may be meant.
    """
    path = Path(path)
    if path.is_dir():
        there = sorted(f.name for f in path.glob("*.safetensors"))[:3]
        such = f", such as {', '.join(there)}" if there else ""
        raise IsADirectoryError(f"{path} is a folder: name in it {what}{such}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: name {what}")


def is_checkpoint(content: bytes) -> bool:
    """Whether a file is what training goes on from; its header says so."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return {"run", "step"} <= json.loads(header["__metadata__"]["minilib"]).keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))
