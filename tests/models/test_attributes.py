"""The judge of people's attributes: its answers, its labels and its loss."""

import pytest
import torch

from minilib.data.people.attributes import draw as draw_people
from minilib.data.people.attributes import seen, values
from minilib.models.attributes import (
    AttributeJudge,
    attribute_loss,
    judged,
    labels,
)
from minilib.train import Draw, generator


class Oracle(AttributeJudge):
    """Is given its logits; sees that pictures fit."""

    def __init__(self, logits, size=32):
        super().__init__(size)
        self.logits, self.seen = logits, None

    def forward(self, x):
        self.seen = x
        return self.logits


def draw(total):
    return Draw(generator(0, 0), slice(0, total), total)


def one_hot(y, answers, scale):
    columns = [
        torch.nn.functional.one_hot(label, n)
        for label, n in zip(y.T, answers, strict=True)
    ]
    return scale * torch.cat(columns, dim=1).float()


@pytest.mark.parametrize("size", [32, 64])
def test_there_is_an_answer_for_every_value_and_for_not_shown(size):
    model = AttributeJudge(size)
    shown = values("personas", size)
    assert list(model.values) == list(shown)
    assert model.answers == [len(names) + 1 for names in shown.values()]
    assert model(torch.zeros(2, 3, size, size)).shape == (2, sum(model.answers))
    assert sum(p.numel() for p in model.parameters()) < 500_000  # 1 MB in float16
    with pytest.raises(ValueError, match=r"expected a floating-point x .*3, "):
        model(torch.zeros(2, 3, size + 4, size + 4))


def test_only_sizes_and_styles_that_exist():
    with pytest.raises(ValueError, match="expected people of size 64 or 32, got 48"):
        AttributeJudge(48)
    with pytest.raises(ValueError, match="unknown style 'oil'"):
        AttributeJudge(32, "oil")


def test_every_pixel_of_64_counts():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64, generator=generator(0, 0)).requires_grad_()
    AttributeJudge(64)(x).square().sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("size", [32, 64])
def test_labels_are_what_is_seen(size):
    who = draw_people(50, 0)
    y, shown = labels(who, "personas", size), values("personas", size)
    assert y.shape == (50, len(shown))
    for row, person in zip(y.tolist(), who, strict=True):
        said = {
            name: names[i - 1]
            for i, (name, names) in zip(row, shown.items(), strict=True)
            if i
        }
        assert said == seen(person, "personas", size)
    assert (y == 0).any()


def test_answers_are_values_or_can_not_tell():
    who = draw_people(20, 0)
    y = labels(who)
    model = Oracle(one_hot(y, AttributeJudge().answers, 20))
    x = torch.zeros(20, 3, 32, 32)
    for answers, person in zip(judged(model, x), who, strict=True):
        told = {name: value for name, value in answers.items() if value is not None}
        assert list(answers) == list(model.values)
        assert told == seen(person, size=32)
    # "skin" has five answers: e / (e + 4) = 0.40
    model.logits = one_hot(y, model.answers, 1)
    assert judged(model, x, sure=0.39)[0]["skin"] == who[0].skin
    assert judged(model, x, sure=0.41)[0]["skin"] is None


def test_at_32_pixels_the_judge_sees_means_of_four():
    x = torch.randn(2, 3, 64, 64, generator=generator(0, 0))
    model = Oracle(torch.zeros(2, sum(AttributeJudge().answers)))
    judged(model, x)
    assert torch.equal(model.seen, torch.nn.functional.avg_pool2d(x, 2))


@pytest.mark.parametrize(
    ("size", "shape"),
    [(32, (3, 28, 28)), (32, (3, 64, 32)), (32, (1, 64, 64)), (64, (3, 32, 32))],
)
def test_other_pictures_are_refused(size, shape):
    with pytest.raises(ValueError, match="expected a floating-point x of shape"):
        judged(AttributeJudge(size), torch.zeros(2, *shape))


@pytest.mark.parametrize("sure", [-0.1, 70])
def test_a_threshold_is_a_probability(sure):
    with pytest.raises(ValueError, match=f"expected sure from 0 to 1, got {sure}"):
        judged(AttributeJudge(), torch.zeros(1, 3, 32, 32), sure)


def test_the_loss_is_low_for_right_answers_but_of_those_who_show_nobody():
    y = labels(draw_people(400, 0))
    x, answers = torch.zeros(400, 3, 32, 32), AttributeJudge().answers
    nobody = (draw(400).uniform(1, 1, 1).flatten() - 0.5).abs() > 7 / 16
    assert 30 < nobody.sum() < 70
    right = one_hot(y.masked_fill(nobody[:, None], 0), answers, 30)
    assert attribute_loss(Oracle(right), x, y, draw(400)) < 1e-3
    all_shown = one_hot(y, answers, 30)
    share = float((y > 0)[nobody].float().sum(dim=1).sum() / 400)
    loss = attribute_loss(Oracle(all_shown), x, y, draw(400))
    assert float(loss) == pytest.approx(30 * share, rel=1e-4)


def test_labels_of_no_answer_are_refused():
    x, y = torch.zeros(3, 3, 32, 32), labels(draw_people(3, 0))
    with pytest.raises(ValueError, match="expected labels y from 0 to 4, got"):
        attribute_loss(
            AttributeJudge(), x, y.index_fill(0, torch.arange(3), 5), draw(3)
        )
    with pytest.raises(ValueError, match=r"expected labels y of shape \(3, 11\)"):
        attribute_loss(AttributeJudge(), x, y[:, :4], draw(3))
