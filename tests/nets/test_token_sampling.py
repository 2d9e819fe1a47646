import math

import pytest
import torch

from minilib.nets.token_sampling import sample_token, top_k_logits, top_p_logits

SHARES = [0.4, 0.3, 0.15, 0.1, 0.05]
MINUS = -math.inf


def logits(rows=1, shares=SHARES):
    return torch.tensor(shares, dtype=torch.float64).log().expand(rows, -1)


def kept(found):
    return (found[0] > MINUS).nonzero()[:, 0].tolist()


def frequencies(n=100_000, **options):
    g = torch.Generator().manual_seed(0)
    found = sample_token(logits(n), g, **options)
    return torch.bincount(found, minlength=5) / n


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [0]), (3, [0, 1, 2]), (5, range(5)), (9, range(5))]
)
def test_the_top_k(k, expected):
    found = top_k_logits(logits(), k)
    assert kept(found) == [*expected]
    assert torch.equal(found[0, [*expected]], logits()[0, [*expected]])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1e-9, [0]),
        (0.39, [0]),
        (0.41, [0, 1]),
        (0.69, [0, 1]),
        (0.71, [0, 1, 2]),
        (1, range(5)),
    ],
)
def test_the_fewest_tokens_that_have_probability_p(p, expected):
    found = top_p_logits(logits(), p)
    assert kept(found) == [*expected]
    assert torch.equal(found[0, [*expected]], logits()[0, [*expected]])


def test_each_row_is_cut_by_its_own_order():
    rows = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    expected = torch.tensor([[MINUS, 3.0, 1.0], [2.0, MINUS, 1.0]])
    assert torch.equal(top_k_logits(rows, 2), expected)
    assert torch.equal(top_p_logits(rows, 0.9), expected)  # of 0.84 + 0.11, 0.67 + 0.24


def test_of_equals_the_first_is_kept():
    assert kept(top_k_logits(torch.zeros(1, 100), 3)) == [0, 1, 2]
    assert kept(top_p_logits(torch.zeros(1, 100), 0.025)) == [0, 1, 2]


def test_tokens_come_as_often_as_their_probability_says():
    assert frequencies().tolist() == pytest.approx(SHARES, abs=0.006)
    warm = torch.tensor(SHARES).sqrt()
    assert frequencies(temperature=2.0).tolist() == pytest.approx(
        (warm / warm.sum()).tolist(), abs=0.006
    )
    assert frequencies(top_k=2).tolist() == pytest.approx(
        [4 / 7, 3 / 7, 0, 0, 0], abs=0.006
    )
    assert frequencies(top_p=0.5).tolist() == pytest.approx(
        [4 / 7, 3 / 7, 0, 0, 0], abs=0.006
    )


def test_first_the_temperature_then_k_then_p():
    # cold, the top 2 have 0.64 and 0.36, else 0.57 and 0.43
    assert frequencies(1000, temperature=0.5, top_k=2, top_p=0.6)[0] == 1
    assert frequencies(1000, temperature=1.0, top_k=2, top_p=0.6)[1] > 0.3


def test_at_temperature_0_the_largest_whatever_the_generator():
    rows = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        assert sample_token(rows, g, temperature=0).tolist() == [1, 0]
        assert sample_token(rows, g, top_k=1).tolist() == [1, 0]
        assert sample_token(rows, g, temperature=1e-3).tolist() == [1, 0]


def test_the_generator_decides():
    draws = [
        sample_token(logits(50), torch.Generator().manual_seed(seed)).tolist()
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "a temperature from 0 up, got -0.1"),
        ({"temperature": math.nan}, "a temperature from 0 up, got nan"),
        ({"temperature": math.inf}, "a temperature from 0 up, got inf"),
        ({"top_k": 0}, "top_k from 1 up, got 0"),
        ({"top_p": 0}, "top_p above 0 and at most 1, got 0"),
        ({"top_p": 1.1}, "top_p above 0 and at most 1, got 1.1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sample_token(logits(), torch.Generator(), **options)
