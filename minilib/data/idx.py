"""The IDX format, in which MNIST, Fashion-MNIST and KMNIST are published (LeCun, Cortes
and Burges, 1998).

A file is: two zero bytes, a byte for the type of the numbers (8 means uint8), a byte
for the number of dimensions, each dimension as a big-endian uint32, then the numbers,
the last dimension running fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from minilib.runtime import require_file

UINT8 = 8
GZIP = b"\x1f\x8b"  # how a gzip file begins


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file of uint8, 1 to 3 dimensions, gzipped if so named.

    Raises OSError where there is no such file, ValueError for anything else, naming
    what is wrong. Memory is only taken for what is as long as the header says.
    """
    path = Path(path)
    content = gunzip(path) if path.suffix == ".gz" else plain(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise broken(
            path,
            "an IDX file begins with two zero bytes and two more, this one with "
            f"{content[:4]!r}",
        )
    kind, dimensions = content[2], content[3]
    if kind != UINT8:
        raise broken(
            path,
            f"its numbers are of type {kind:#04x}, and only uint8 ({UINT8:#04x}) "
            "is read",
        )
    if not 1 <= dimensions <= 3:
        raise broken(
            path, f"expected 1 dimension (labels) to 3 (pictures), got {dimensions}"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise broken(path, f"it ends within its header, after {len(content)} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected, got = math.prod(shape), len(content) - start
    if got != expected:
        raise broken(
            path,
            f"its header says {shape}, that is {expected:,} bytes, but {got:,} follow",
        )
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
    # a zero among huge numbers: nothing follows, as it should, but no array is so long
    except ValueError:
        raise broken(path, f"its header says {shape}, which is too large") from None


def require_idx(path: Path) -> None:
    """Raise OSError that says what to give, unless there is a file."""
    require_file(path, "one in the IDX format, such as train-images-idx3-ubyte")


def plain(path: Path) -> bytes:
    require_idx(path)
    content = path.read_bytes()
    if content.startswith(GZIP):
        raise misnamed(path, "a gzip file", f"call it {path.name}.gz")
    return content


def gunzip(path: Path) -> bytes:
    require_idx(path)
    content = path.read_bytes()
    if content.startswith(b"\0\0"):
        raise misnamed(path, "a plain IDX file", f"call it {path.stem}")
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise broken(
            path, f"it is no whole gzip file, as its name says ({error})"
        ) from None


def misnamed(path: Path, what: str, mend: str) -> ValueError:
    return ValueError(f"{path} is {what}, and its name says otherwise: {mend}")


def broken(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} cannot be read: {what}. Fetch the file again")
