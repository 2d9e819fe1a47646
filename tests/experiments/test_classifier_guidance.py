"""The helpers of chapter 8's claims, where the right answer is known."""

import pytest
import torch

from minilib.experiments import classifier_guidance as claims
from minilib.experiments.experiment import Size
from minilib.metrics import precision_recall


def test_inside_has_precision_and_recall_as_its_means():
    g = torch.Generator().manual_seed(0)
    real, fake = torch.randn(80, 3, generator=g), torch.randn(50, 3, generator=g) + 0.7
    precision, recall = precision_recall(real, fake)
    assert float(claims.inside(real, fake).mean()) == pytest.approx(precision)
    assert float(claims.inside(fake, real).mean()) == pytest.approx(recall)
    assert len({0, 1, precision, recall}) == 4  # else they could be mixed up


def test_spread_has_the_variance_within_a_label_as_its_mean():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 1, 28, 28, generator=g)
    label = torch.tensor([0] * 9 + [1] * 20 + [2])
    found = claims.spread(x, label)
    for c in (0, 1):
        variance = x[label == c].var(dim=0).mean()
        assert float(found[label == c].mean()) == pytest.approx(float(variance))
    assert found[-1] == 0  # a label of one picture


def test_log_probability_is_of_the_label_asked_for():
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, 3.0, 1.0]])
    wanted = claims.class_log_probability(lambda x, t: logits, torch.tensor([2, 0]))
    expected = logits.softmax(dim=1)[[0, 1], [2, 0]].log()
    assert torch.allclose(wanted(None, None).cpu(), expected)


def test_guidance_turns_the_same_noise_into_the_digit_asked_for():
    guide = claims.shipped_guide()
    plain, guided = (claims.draw_digits(10, s, guide, seed=4) for s in (0.0, 10.0))
    assert claims.agreed(guided).mean() > claims.agreed(plain).mean() + 0.4
    again = claims.draw_digits(10, 0.0, lambda x, t: 1 / 0, seed=4)  # nobody is asked
    assert torch.equal(plain, again)


def test_best_agreement_takes_the_scale_that_validation_prefers(monkeypatch):
    asked = []

    def draw(n, s, network, seed):
        asked.append((n, s, seed))
        right = s == 10 if seed >= claims.VALIDATION else s == 3
        return torch.full((n,), float(right))

    monkeypatch.setattr(claims, "draw_digits", draw)
    monkeypatch.setattr(claims, "agreed", lambda x: x)
    assert claims.best_agreement(None, 5, 2, 7) == 0  # at 10, whatever 3 would give
    assert asked[-1] == (7, 10.0, 5)
    assert [seed for _, _, seed in asked[:-1]] == [105] * 4


def test_the_clean_classifier_hears_step_0():
    heard = []
    claims.at_step_zero(lambda x, t: heard.append(t))(None, torch.tensor([5, 999]))
    assert heard[0].tolist() == [0, 0]


def test_a_guided_step_costs_more():
    assert 1.1 < claims.operations(1.0) / claims.operations(0.0) < 2


def test_guidance_returns_its_parts():
    measured = claims.guidance(0, Size.LIVE)
    claims.ADM_6.require_parts(measured)
    assert {len(side) for side in measured["recall: not − guided"]} == {claims.REAL}
    assert {len(side) for side in measured["precision: guided − not"]} == {40}
