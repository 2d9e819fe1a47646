"""The records of what was measured: evidence/ID.json, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minilib.claims import Claim, claim_of
from minilib.weights import CorruptFileError, write_atomically

HERE = Path(__file__).parent / "evidence"


def path(id: str) -> Path:
    return HERE / f"{id}.json"


def ids() -> list[str]:
    """The claims that have a record."""
    return sorted(file.stem for file in HERE.glob("*.json"))


def load(file: Path) -> Any:
    """What a JSON file holds. Raises CorruptFileError where it is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(
            f"{file} is truncated or no record ({error}): delete it and measure again, "
            f"python -m minilib measure {file.stem}"
        ) from None


def read(id: str) -> Claim:
    """The recorded claim. Raises ValueError where there is no record, CorruptFileError
    where the file is damaged, or says another outcome than its numbers do.
    """
    if not path(id).exists():
        raise ValueError(
            f"no record of the claim {id}: run python -m minilib measure {id}"
        )
    record = load(path(id))
    try:
        claim = claim_of(record)
        fits = claim.outcome == record["outcome"] and claim.id == id
    except (KeyError, TypeError, ValueError) as error:
        fits, reason = False, f"{type(error).__name__}: {error}"
    else:
        reason = "its outcome is not that of its numbers, or its claim another one"
    if not fits:
        raise CorruptFileError(
            f"{path(id)} is damaged ({reason}): measure again, "
            f"python -m minilib measure {id}"
        )
    return claim


def write(claim: Claim) -> Path:
    """Write the record of a claim; return its file."""
    text = json.dumps(claim.record(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path(claim.id), text.encode())
    return path(claim.id)
