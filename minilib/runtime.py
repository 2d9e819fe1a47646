"""Where a chapter runs, and at what size: the device, the seed and the budget."""

from __future__ import annotations

import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
BUDGETS = ("quick", "full")
PRECISIONS = ("float32", "bf16")


def device(name: str | None = None) -> torch.device:
    """The device `name`, else the one in MINILIB_DEVICE, else the fastest present:
    CUDA, MPS (Apple), the CPU.

    Raises ValueError for any other name, RuntimeError for a device that this machine
    lacks.
    """
    name = os.environ.get("MINILIB_DEVICE") or None if name is None else name
    if name is None:
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        wanted = torch.device(name)
        known = wanted.type in ("cpu", "cuda", "mps")
    except RuntimeError:
        known = False
    if not known:
        raise ValueError(
            f"unknown device {name!r}: use 'cpu', 'cuda', 'cuda:1' or 'mps'"
        )
    # torchrun: to each its own
    if wanted.type == "cuda" and wanted.index is None and "LOCAL_RANK" in os.environ:
        wanted = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(
            f"device '{wanted}' asked for, but torch sees "
            f"{torch.cuda.device_count()} CUDA GPUs: use 'cpu'"
        )
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError(
            "device 'mps' asked for, but torch finds no Apple GPU on this machine: "
            "use 'cpu'"
        )
    return wanted


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (every device), so that on one machine two runs
    agree to the bit.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - code that uses numpy's old global generator must be seeded too
    torch.manual_seed(seed)


def budget_name() -> str:
    """'quick' or 'full': the environment variable MINILIB_BUDGET if set, else full on
    CUDA and quick elsewhere.

    Raises ValueError when MINILIB_BUDGET holds anything else.
    """
    name = os.environ.get("MINILIB_BUDGET") or (
        "full" if device().type == "cuda" else "quick"
    )
    if name not in BUDGETS:
        raise ValueError(
            f"MINILIB_BUDGET is {name!r}: set it to 'quick' or 'full', or unset it"
        )
    return name


def budget(*, quick: T, full: T) -> T:
    """`quick` or `full`, whichever `budget_name` says: the one switch between a
    laptop's and a GPU's scale.
    """
    return quick if budget_name() == "quick" else full


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products of bf16, AMX or AVX512-BF16;
    False where torch does not say (before 2.5).
    """
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    asks = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    return any(ask() for ask in asks)


def precision(device: torch.device) -> str:
    """The number format in which training multiplies on that device, weights staying in
    float32: MINILIB_PRECISION if set, else the fastest that it has instructions for.

    'float32', 'bf16', or 'float16' on a GPU too old for bf16. On an Apple GPU float32.
    Raises ValueError when MINILIB_PRECISION holds anything but the first two.
    """
    name = os.environ.get("MINILIB_PRECISION")
    if name:
        if name not in PRECISIONS:
            raise ValueError(
                f"MINILIB_PRECISION is {name!r}: set it to 'float32' or 'bf16', or "
                "unset it"
            )
        return name
    if device.type == "cuda":
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if half else "float16"
    return "bf16" if device.type == "cpu" and multiplies_bf16() else "float32"


@torch.no_grad()
def in_blocks(
    function: Callable[..., torch.Tensor], *tensors: torch.Tensor, size: int = 500
) -> torch.Tensor:
    """`function(*tensors)` without gradients, on `device()` in blocks of `size` rows of
    each, gathered on the CPU.
    """
    blocks = zip(*(t.split(size) for t in tensors), strict=True)
    return torch.cat(
        [function(*(t.to(device()) for t in block)).cpu() for block in blocks]
    )


def machine() -> str:
    """What computes here: the GPU's name, or the processor's kind and the number of
    threads; and torch's version.
    """
    dev = device()
    threads = torch.get_num_threads()
    cpu = (
        f"{platform.machine()} {dev.type.upper()}, {threads} "
        f"thread{'s' if threads != 1 else ''}"
    )
    name = torch.cuda.get_device_name(dev) if dev.type == "cuda" else cpu
    return f"{name} · torch {torch.__version__.split('+')[0]}"


def peak_memory() -> float | None:
    """The most memory that this process has held so far, in GB of 10^9 bytes; None
    where the system does not say, as on Windows.
    """
    try:
        import resource  # Unix only
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return peak * unit / 1e9


def spent(started: float) -> str:
    """What this process has spent since `time.process_time()` said `started`, in a line
    that closes every chapter: core-minutes, and the most memory where it is known.
    """
    minutes, peak = (time.process_time() - started) / 60, peak_memory()
    memory = "" if peak is None else f", {peak:.1f} GB at most"
    return f"this run: {minutes:.1f} core-minutes{memory}"


def report() -> str:
    """One line on machine and budget, which opens every chapter."""
    return f"{machine()} · {budget_name()} budget"


def require_range(what: str, values: Tensor, low: float, high: float) -> None:
    """Raise ValueError unless all values are numbers from low to high. A GPU that
    trains is not asked for them, since each answer means to wait for it.
    """
    if values.dtype == torch.bool:
        raise ValueError(f"expected {what} from {low} to {high}, got True and False")
    waits = values.device.type != "cpu" and torch.is_grad_enabled()
    if waits or values.numel() == 0:
        return
    least, most = values.min().item(), values.max().item()
    if not low <= least <= most <= high:
        raise ValueError(f"expected {what} from {low} to {high}, got {least} to {most}")


def require_file(path: str | Path, what: str) -> None:
    """Raise OSError that says what to give, `what`, where `path` is a folder or not
    there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name in it {what}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: name {what}")


def require_folder(path: str | Path, what: str) -> None:
    """Raise OSError that says what to give, `what`, where `path` is a file or not
    there.
    """
    path = Path(path)
    if path.is_file():
        raise NotADirectoryError(f"{path} is a file, not a folder: name {what}")
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}: name {what}")


def require_finite(step: int, what: str, *values: Tensor | None) -> None:
    """Raise FloatingPointError unless all values of a step of training are finite, such
    as its loss or its gradients.
    """
    if not all(value is None or value.isfinite().all() for value in values):
        raise FloatingPointError(
            f"the {what} is not finite from step {step} on: lower the learning rate, "
            "or look in the loss for a root, a logarithm or a division at 0"
        )


def require_shape(what: str, x: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless x is of that very shape: another one might broadcast."""
    if x.shape != shape:
        raise ValueError(
            f"expected {what} of shape {tuple(shape)}, got {tuple(x.shape)}"
        )


def require_sizes(config: object, names: str, least: int = 1) -> None:
    """Raise ValueError unless these fields of a config, in one string, are at least
    that, and whole.
    """
    for name in names.split():
        size = getattr(config, name)
        if not isinstance(size, int) or size < least:
            raise ValueError(
                f"expected {name} to be a whole number from {least} up, got {size!r}"
            )


def require_share(what: str, value: float) -> None:
    """Raise ValueError unless a share of a whole is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"expected {what} from 0 to 1, got {value}")


def require_generator(generator: torch.Generator) -> None:
    """Raise ValueError for a seed or anything else in a generator's place."""
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            "expected a generator, such as torch.Generator().manual_seed(0), got "
            f"{generator!r}"
        )


def require_images(x: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless x is a batch of floating-point pictures of that shape (C,
    H, W).
    """
    if x.ndim != 4 or tuple(x.shape[1:]) != shape or not x.is_floating_point():
        expected = (
            f"a floating-point x of shape (B, {', '.join(map(str, shape))}) in [-1, 1]"
        )
        raise ValueError(
            f"expected {expected}, got {x.dtype} of shape {tuple(x.shape)}"
        )
