"""The outline of the book, read from chapters.yml: its parts, its chapters, and what
each chapter grows from.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from book.tools.common import ROOT

OUTLINE = ROOT / "book" / "chapters.yml"


@dataclass(frozen=True)
class Chapter:
    """One chapter. The comment at the head of chapters.yml says what each field
    holds.
    """

    slug: str
    label: str
    title: str
    year: int
    needs: tuple[int, ...]
    question: str
    models: str
    claims: dict[str, str]

    @property
    def number(self) -> int:
        return int(self.slug.split("_")[0])

    @property
    def docname(self) -> str:
        """The page's name in the book, which is also the notebook's path without its
        suffix.
        """
        return f"chapters/{self.slug}"

    @property
    def anchor(self) -> str:
        """The chapter's place on the page of planned chapters."""
        return "planned-" + self.slug.replace("_", "-")


@dataclass(frozen=True)
class Part:
    title: str
    chapters: tuple[Chapter, ...]


def read_outline(path: Path = OUTLINE) -> tuple[Part, ...]:
    """The parts of the book, in order. Raises ValueError that names the entry and the
    field that is wrong.
    """
    parts = _entry(
        yaml.safe_load(path.read_text(encoding="utf-8")), ("parts",), path.name
    )["parts"]
    outline = tuple(
        _part(part, f"{path.name}, part {i}") for i, part in enumerate(parts, 1)
    )
    chapters = [chapter for part in outline for chapter in part.chapters]
    for expected, chapter in enumerate(chapters, 1):
        if chapter.number != expected:
            raise ValueError(
                f"{path.name}: expected chapter {expected} next, got {chapter.slug}"
            )
        if not set(chapter.needs) <= set(range(1, expected)):
            raise ValueError(
                f"{path.name}, {chapter.slug}: needs must name earlier chapters, "
                f"got {list(chapter.needs)}"
            )
    return outline


def _part(data: Any, where: str) -> Part:
    data = _entry(data, ("title", "chapters"), where)
    return Part(
        data["title"],
        tuple(
            _chapter(c, f"{where}, chapter {i}")
            for i, c in enumerate(data["chapters"], 1)
        ),
    )


def _chapter(data: Any, where: str) -> Chapter:
    data = _entry(data, tuple(field.name for field in fields(Chapter)), where)
    if not str(data["slug"])[:2].isdigit() or "_" not in data["slug"]:
        raise ValueError(
            f"{where}: expected a slug such as 01_autoencoder, got {data['slug']!r}"
        )
    return Chapter(**{**data, "needs": tuple(data["needs"])})


def _entry(data: Any, expected: tuple[str, ...], where: str) -> dict[str, Any]:
    """`data`, once it is known to be a mapping with exactly the expected fields."""
    if not isinstance(data, dict):
        raise ValueError(
            f"{where}: expected the fields {', '.join(expected)}, got {data!r}"
        )
    unknown, missing = data.keys() - set(expected), set(expected) - data.keys()
    if unknown or missing:
        raise ValueError(
            f"{where}: unknown fields {sorted(unknown)}, missing fields "
            f"{sorted(missing)}"
        )
    return data
