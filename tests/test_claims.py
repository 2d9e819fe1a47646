"""The rule by which a claim is decided, on data whose answer is known."""

import numpy as np
import pytest

from minilib.claims import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    MIME,
    PARTLY,
    PROMPT,
    SAME,
    SHOWN,
    Claim,
    Difference,
    Identity,
    claim_of,
    interval,
    together,
    typeset,
)


def difference(values, matters=1.0, **options):
    return Difference("a − b", values, [0.0] * len(values), matters, **options)


@pytest.mark.parametrize("n", [3, 5])
def test_students_interval_covers_the_true_mean_in_95_of_100_cases(n):
    rng, inside, runs = np.random.default_rng(0), 0, 2000
    for _ in range(runs):
        low, high = interval(rng.normal(0.3, 2.0, n))
        inside += low <= 0.3 <= high
    assert abs(inside / runs - 0.95) < 0.015  # three standard errors


def test_the_bootstrap_covers_the_true_mean_in_95_of_100_cases():
    rng, inside, runs = np.random.default_rng(0), 0, 200
    for _ in range(runs):  # differences of answers that are right or wrong
        values = rng.binomial(1, 0.7, 150) - rng.binomial(1, 0.6, 150)
        low, high = interval(values, PROMPT)
        inside += low <= 0.1 <= high
    assert abs(inside / runs - 0.95) < 0.047


def test_an_interval_is_the_textbooks():
    # mean 2, standard error 1/√3, t with 2 degrees of freedom 4.302653
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    assert interval([2.0] * 50, PROMPT) == (2.0, 2.0)
    with pytest.raises(ValueError, match="3 values or more, got 2"):
        interval([1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([2.0, 2.1, 1.9], HOLDS),
        ([0.5, 0.51, 0.49], SAME),  # it is there, and too small to matter
        ([-2.0, -2.1, -1.9], FAILS),
        ([-0.5, -0.51, -0.49], SAME),
        ([0.1, -0.1, 0.0], SAME),
        ([3.0, -1.0, 2.0], INCONCLUSIVE),
        ([5.0, 0.5, 3.0], INCONCLUSIVE),  # the middle is large, and so is the interval
    ],
)
def test_the_rule(values, outcome):
    assert difference(values).outcome == outcome


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([0.1, -0.1, 0.0], HOLDS),
        ([2.0, 2.1, 1.9], FAILS),
        ([-2.0, -2.1, -1.9], FAILS),
        ([3.0, -1.0, 2.0], INCONCLUSIVE),
        ([1.0, 1.1, 0.9], INCONCLUSIVE),
    ],
)
def test_the_rule_where_the_claim_says_that_both_are_equal(values, outcome):
    assert difference(values, equal=True).outcome == outcome


def test_two_networks_must_agree_on_the_side():
    values = [2.0, 2.2, 1.8, 2.1] * 10
    agree = difference(values * 2, unit=PROMPT, groups=2)
    assert agree.outcome == HOLDS
    apart = difference([6.0, 6.2] * 20 + [-1.0, -1.2] * 20, unit=PROMPT, groups=2)
    assert apart.interval[0] > 0
    assert apart.outcome == INCONCLUSIVE


def test_what_is_proved_needs_no_seeds():
    assert Identity("left = right", 1e-15, 1e-12).outcome == SHOWN
    assert Identity("left = right", 1e-9, 1e-12).outcome == FAILS


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([SHOWN], SHOWN),
        ([SHOWN, HOLDS], HOLDS),
        ([SHOWN, SAME], PARTLY),
        ([HOLDS, FAILS], PARTLY),
        ([HOLDS, SAME], PARTLY),
        ([SAME, SAME], SAME),
        ([SAME, FAILS], FAILS),
        ([HOLDS, INCONCLUSIVE], INCONCLUSIVE),
        ([FAILS, INCONCLUSIVE], INCONCLUSIVE),
    ],
)
def test_the_outcome_of_several_parts(outcomes, whole):
    assert together(outcomes) == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0, 3.0], [1.0, 2.0], 1.0), "as many values on both sides"),
        (([1.0, 2.0], [1.0, 2.0], 1.0), "three or more"),
        (([1.0, 2.0, float("nan")], [0.0] * 3, 1.0), "finite"),
        (([1.0, 2.0, 3.0], [0.0] * 3, 0.0), "must be positive"),
        (([1.0, 2.0, 3.0], [0.0] * 3, 1.0, "digit"), "expected a unit of"),
        (([1.0, 2.0, 3.0], [0.0] * 3, 1.0, PROMPT, False, 2), "groups of one length"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Difference("a − b", *arguments)


def test_an_identity_needs_an_error_and_a_bound():
    for error, bound in [(-1.0, 1.0), (float("nan"), 1.0), (0.0, 0.0)]:
        with pytest.raises(ValueError, match="expected an error from 0 on"):
            Identity("left = right", error, bound)


def test_a_record_gives_back_its_claim():
    parts = [
        difference([2.0, 2.1, 1.9] * 4, unit=PROMPT, groups=2),
        Identity("left = right", 1e-15, 1e-12),
    ]
    claim = Claim("X-1", "a beats b", parts, {"size": "quick", "date": "2026-01-02"})
    again = claim_of(claim.record())
    assert again.record() == claim.record()
    assert again.outcome == HOLDS
    assert again.facts == {"size": "quick", "date": "2026-01-02"}
    with pytest.raises(KeyError):
        claim_of({"id": "X-1"})
    with pytest.raises(ValueError, match="at least one part"):
        Claim("X-1", "a beats b", [], {})


def test_a_claim_is_shown_with_all_that_decides_it():
    facts = {"size": "quick", "minutes": 1.5, "command": "python -m minilib measure X"}
    claim = Claim("X-1", "x_{t−1} < x_t", [difference([2.0, 2.1, 1.9])], facts)
    shown = claim._repr_mimebundle_()
    assert shown[MIME]["outcome"] == HOLDS
    assert shown[MIME]["parts"][0]["middle"] == pytest.approx(2.0)
    assert "larger" not in shown[MIME]["parts"][0]  # a page keeps no long lists
    for text in ("X-1 holds", "1.75 to 2.25", "3 training seeds", "quick size", "1.5"):
        assert text in shown["text/html"]
    assert "<i>x</i><sub>t−1</sub> &lt; <i>x</i><sub>t</sub>" in shown["text/html"]
    assert "X-1 holds" in shown["text/plain"]


def test_symbols_with_an_index_are_typeset_and_names_are_not():
    assert typeset("β̃_t of x_0") == "<i>β̃</i><sub>t</sub> of <i>x</i><sub>0</sub>"
    assert typeset("clip_portraits, R@1") == "clip_portraits, R@1"
