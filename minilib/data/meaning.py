"""What is said of words that mean nothing in a caption."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def require_meant(text: str, rest: list[str], known: Iterable[str], whose: str) -> None:
    """Raise ValueError where words of a caption are left that mean nothing in it: all
    of them, each with what is nearest of the `known` words and phrases.

    Of a known word, which says nothing alone, that is the shortest phrase that holds
    it.
    """
    if not rest:
        return
    unknown, phrases = list(dict.fromkeys(rest)), sorted(known)
    words = sorted({word for phrase in phrases for word in phrase.split()})
    near = {word: nearest(word, words, phrases) for word in unknown}
    hints = [(word, " or ".join(map(repr, near[word]))) for word in unknown]
    hints = [(word, hint) for word, hint in hints if hint]
    if len(unknown) == 1:
        what, mean = "It is no attribute", [hint for _, hint in hints]
    else:
        what = "They are no attributes"
        mean = [f"{hint} for {word!r}" for word, hint in hints]
    more = f": did you mean {listed(mean)}?" if mean else ""
    raise ValueError(
        f"{text!r}: what is meant by {listed(list(map(repr, unknown)))}? {what} of "
        f"{whose}{more}"
    )


def nearest(word: str, words: list[str], phrases: list[str]) -> list[str]:
    """What to say in place of a word: the most similar words; for one that is known
    itself a phrase, or nothing where it is a phrase.
    """
    if word not in words:
        return difflib.get_close_matches(word, words, n=2)
    holding = [phrase for phrase in phrases if word in phrase.split()]
    return [min(holding, key=len)] if word not in holding else []


def listed(words: list[str]) -> str:
    """ "x, y and z"."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
