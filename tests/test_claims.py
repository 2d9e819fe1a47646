import json

import pytest

from minilib.claims import FAILS, HOLDS, INCONCLUSIVE, MIME, Claim, Difference


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("MINILIB_BUDGET", "quick")


def difference(values, measured=1.0):
    return Difference("a > b", [v + 5 for v in values], [5.0] * len(values), measured)


@pytest.mark.parametrize(
    ("values", "measured", "outcome"),
    [
        ([1.0, 1.1, 0.9], 1.0, HOLDS),
        # less than half of what the authors measured
        ([1.0, 1.1, 0.9], 2.1, INCONCLUSIVE),
        ([1.0, 2.0, 0.1], 1.0, INCONCLUSIVE),  # the seeds disagree
        ([-1.0, -1.1, -0.9], 1.0, FAILS),
        ([-1.0, -2.0, -0.1], 1.0, INCONCLUSIVE),
        ([0.0, 0.0, 0.0], 1.0, INCONCLUSIVE),
    ],
)
def test_the_rule(values, measured, outcome):
    assert difference(values, measured).outcome == outcome


def test_at_full_size_only_the_spread_counts(monkeypatch):
    monkeypatch.setenv("MINILIB_BUDGET", "full")
    assert difference([1.0, 1.1, 0.9], measured=100).outcome == HOLDS


def test_a_claim_holds_when_all_its_differences_do():
    good, unclear, bad = (
        difference([1, 1.1, 0.9]),
        difference([1, -1, 1]),
        difference([-1, -1.1, -0.9]),
    )
    assert Claim("X-1", "s", range(3), [good, good]).outcome == HOLDS
    assert Claim("X-1", "s", range(3), [good, unclear]).outcome == INCONCLUSIVE
    assert Claim("X-1", "s", range(3), [good, unclear, bad]).outcome == FAILS


def test_check_raises_when_the_page_says_otherwise():
    claim = Claim("X-1", "s", range(3), [difference([1, 1.1, 0.9])])
    assert claim.check(HOLDS) is claim
    with pytest.raises(
        AssertionError,
        match="X-1: the page says 'fails at our scale', the measurement says 'holds'",
    ):
        claim.check(FAILS)


def test_at_full_size_the_outcome_is_found_not_stated(monkeypatch):
    monkeypatch.setenv("MINILIB_BUDGET", "full")
    claim = Claim("X-1", "s", range(3), [difference([-1, -1.1, -0.9])])
    assert claim.check(HOLDS).outcome == FAILS


def test_the_record_is_json_with_paired_values():
    claim = Claim("X-1", "1 < 2 & more", range(3), [difference([1, 1.25, 0.75])])
    bundle = claim._repr_mimebundle_()
    record = json.loads(json.dumps(bundle[MIME]))
    assert record["numbers"] == [
        {"name": "a > b", "values": [1.0, 1.25, 0.75], "median": 1.0, "std": 0.25}
    ]
    assert (record["outcome"], record["budget"], record["seeds"]) == (
        HOLDS,
        "quick",
        [0, 1, 2],
    )
    assert "1 &lt; 2 &amp; more" in bundle["text/html"]
    assert "a &gt; b" in bundle["text/html"]
    assert "1 ± 0.25" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("larger", "smaller", "measured"),
    [([1], [2], 1), ([1, 2], [1], 1), ([1, 2], [0, 1], 0), ([1, 2], [0, 1], -1)],
)
def test_differences_need_paired_seeds_and_a_positive_measure(
    larger, smaller, measured
):
    with pytest.raises(ValueError, match=r"expected one value a seed|must be positive"):
        Difference("d", larger, smaller, measured)


def test_a_number_that_is_none_and_a_seed_too_many_are_refused():
    with pytest.raises(ValueError, match="a > b: expected finite differences"):
        difference([1.0, float("nan")])
    with pytest.raises(ValueError, match="X-1: expected a value for each of the seeds"):
        Claim("X-1", "s", range(5), [difference([1.0, 1.1])])
