"""Word by word: what of a caption is true of a picture, what is wrong, what is left
out, and which words are about something else.

Unlike `captions.read` it takes any text, so also what the web says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from minilib.data.people.captions import FILLERS, UNSAID, phrase_pattern, phrases

BREAK = re.compile(r"[^\w\s'’-]|_|\s-+\s")  # no phrase reaches across these signs
WORD = re.compile(r"[^\W\d_]+")
Told = tuple[str, str]  # an attribute and a value of it


@dataclass(frozen=True)
class Checked:
    """What of a caption is `correct`, and what `wrong`; the attributes that it could
    have told and has `left_out`; and the words `off_topic`, which tell nothing of a
    person. `sayable` is how many attributes it could have told.
    """

    correct: tuple[Told, ...]
    wrong: tuple[Told, ...]
    left_out: tuple[Told, ...]
    off_topic: tuple[str, ...]
    sayable: int

    @property
    def recall(self) -> float:
        """Of the attributes that could be told, the share that is told right; 1 where
        there are none.
        """
        return len(self.correct) / self.sayable if self.sayable else 1.0


def checked(text: str, shown: Mapping[str, str]) -> Checked:
    """A caption held against the attributes that a picture has `shown`, as `seen` gives
    them, what is not there included.

    A claim is wrong if the picture shows another value, or nothing of that attribute.
    Twice the same counts once; of two values that are told at least one is wrong. An
    attribute that is told wrong is not left out.
    """
    claims: dict[Told, None] = {}  # as an ordered set
    off_topic: list[str] = []
    for part in BREAK.split(text.lower()):
        words = " ".join(WORD.findall(part))
        for match in phrase_pattern().finditer(words):
            claims |= dict.fromkeys(phrases()[match[0]].items())
        rest = phrase_pattern().sub(" ", words).split()
        off_topic += [word for word in rest if word not in FILLERS]
    named = {name for name, _ in claims}
    sayable = [told for told in shown.items() if told[1] not in UNSAID]
    return Checked(
        correct=tuple(told for told in claims if shown.get(told[0]) == told[1]),
        wrong=tuple(told for told in claims if shown.get(told[0]) != told[1]),
        left_out=tuple(told for told in sayable if told[0] not in named),
        off_topic=tuple(off_topic),
        sayable=len(sayable),
    )


def totals(found: list[Checked]) -> dict[str, float]:
    """Of all captions together: "correct", the share of claims that are true; "told",
    the share of sayable attributes that are told right; "off_topic", words a caption.

    Where nothing is claimed, nothing is wrong. Raises ValueError without a caption.
    """
    if not found:
        raise ValueError("expected one caption or more that was checked, got none")
    correct = sum(len(one.correct) for one in found)
    wrong = sum(len(one.wrong) for one in found)
    sayable = sum(one.sayable for one in found)
    return {
        "correct": correct / (correct + wrong) if correct + wrong else 1.0,
        "told": correct / sayable if sayable else 1.0,
        "off_topic": sum(len(one.off_topic) for one in found) / len(found),
    }
