"""The files of data that ship with the library, read only when they are whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

HERE = Path(__file__).parent


def read_shipped(name: str, sha256: str) -> bytes:
    """The content of minilib/data/name. Raises FileNotFoundError without it, ValueError
    for another SHA-256.
    """
    path, mend = (
        HERE / name,
        f"install minilib again, or run git checkout minilib/data/{name} in a clone",
    )
    if not path.is_file():
        raise FileNotFoundError(f"{path} ships with minilib, and is missing: {mend}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is damaged: expected SHA-256 {sha256}, got {found} "
            f"({len(content):,} bytes). To mend it, {mend}"
        )
    return content
