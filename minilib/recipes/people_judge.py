"""The judge of people's attributes, who measures all that draws people."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from minilib.data.people import attributes
from minilib.data.people.checker import error_table
from minilib.data.people.drawing import render
from minilib.models.attributes import (
    AttributeJudge,
    attribute_loss,
    judged,
    labels,
)
from minilib.recipes.recipe import Recipe

PEOPLE = "People composed by the library from parts of Personas by Draftbit; CC BY 4.0"


def judged_people(size: int) -> tuple[Tensor, Tensor]:
    """Pictures of 30,000 people (N, 3, size, size), two thirds of them moved, and their
    labels. Unlike what draws, the judge is shown the pairs that are held out.
    """
    people = attributes.draw(16_000, 0, "train", "personas", 5)
    people += attributes.draw(4_000, 0, "held_out", "personas", 5)
    people += attributes.draw(10_000, 1, "train", "personas")
    return render(people, "personas", size), labels(people, "personas", size)


def score_judge(model: AttributeJudge) -> dict[str, float]:
    """The share of what 2,000 fresh pictures show that is told right, in all and
    attribute by attribute; none of those combinations was trained on.
    """
    people = attributes.draw(1_000, 2, "test", "personas", 5)
    people += attributes.draw(1_000, 3, "test", "personas")
    found = judged(model, render(people, "personas", model.size))
    shown = [attributes.seen(person, "personas", model.size) for person in people]
    table = error_table(found, shown)
    score = {"right": table.pop("all").right}
    return score | {f"right_{name}": row.right for name, row in table.items()}


def judge_of(size: int, name: str) -> Recipe:
    """The recipe of a judge of pictures of that size."""
    return Recipe(
        name=name,
        model=partial(AttributeJudge, size),
        loss=attribute_loss,
        data=partial(judged_people, size),
        quick=200,
        full=1_500,
        score=score_judge,
        batch_size=128,
        lr=3e-3,
        weight_decay=0.05,
        limits="Knows people in the style personas only.",
        source=PEOPLE,
    )


people_judge = judge_of(32, "people_judge")
people_judge_64 = judge_of(64, "people_judge_64")
