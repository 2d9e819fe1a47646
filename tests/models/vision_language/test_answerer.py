import math

import pytest
import torch

from minilib.models.vision_language.answerer import (
    Answerer,
    AnswererConfig,
    Look,
    answer_loss,
    answered,
)
from minilib.nets.layers import attend
from minilib.text.words import END, START
from minilib.train import Draw, fit, shuffled

CONFIG = AnswererConfig(words=9, length=5, width=16, heads=2)
QUESTIONS = torch.tensor(
    [
        [[START, 4, END, 0, 0], [START, 5, 6, END, 0], [START, 8, 3, 7, END]],
        [[START, 3, END, 0, 0], [START, 4, END, 0, 0], [START, 7, 7, END, 0]],
    ]
)


@pytest.fixture
def model():
    """A judge with weights large enough that all of them tell."""
    torch.manual_seed(0)
    model = Answerer(CONFIG).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.requires_grad_(False)


def pictures(n=2, size=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=g) * 2 - 1


def a_draw(rows):
    return Draw(torch.Generator().manual_seed(0), slice(0, rows), rows)


# ---------- the model ----------


def test_an_answer_depends_on_its_own_picture_and_question_alone(model):
    x, before = pictures(), model(pictures(), QUESTIONS)
    assert before.shape == (2, 3)
    changed = QUESTIONS.clone()
    changed[0, 1, 1] = 7
    gap = (model(x, changed) - before).abs() > 1e-5
    assert gap.tolist() == [[False, True, False], [False] * 3]
    x[1, :, 20:] *= -1
    gap = (model(x, QUESTIONS) - before).abs() > 1e-5
    assert gap.tolist() == [[False] * 3, [True] * 3]


def test_one_question_at_a_time_is_answered_alike(model):
    together = model(pictures(), QUESTIONS)
    single = [model(pictures(), QUESTIONS[:, [i]]) for i in range(3)]
    assert torch.allclose(torch.cat(single, dim=1), together, atol=1e-5)


def test_it_knows_where_in_the_picture_something_is(model):
    x = torch.zeros(2, 3, 32, 32)
    x[0, :, 4:8, 4:8] = 1
    x[1, :, 20:24, 20:24] = 1
    answers = model(x, QUESTIONS[:1].expand(2, -1, -1))
    assert (answers[0] - answers[1]).abs().max() > 1e-3


def test_a_look_is_attention_written_out():
    torch.manual_seed(0)
    look = Look(8, heads=2).double()
    q, h = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    query = look.to_query(look.norm1(q))
    key, value = look.to_key_value(h).chunk(2, dim=2)
    heads = [
        attend(query[..., at], key[..., at], value[..., at])
        for at in (slice(0, 4), slice(4, 8))
    ]
    expected = q + look.out(torch.cat(heads, dim=2))
    expected = expected + look.mlp(look.norm2(expected))
    assert torch.allclose(look(q, h), expected, atol=1e-12)


def test_pictures_of_64_pixels():
    model = Answerer(AnswererConfig(words=9, size=64, length=5, width=16, heads=2))
    assert model(pictures(size=64), QUESTIONS).shape == (2, 3)


# ---------- loss, answers ----------


def test_the_loss_is_the_mean_cross_entropy_on_degraded_pictures():
    told = []

    def spy(x, questions):
        told.append(x)
        return torch.tensor([[2.0, -1.0, 0.0], [0.5, 0.0, -3.0]])

    yes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    loss = answer_loss(spy, pictures(), QUESTIONS, yes, a_draw(2))
    logits = [2.0, 1.0, 0.0, -0.5, 0.0, -3.0]  # of the right answer
    expected = sum(math.log(1 + math.exp(-z)) for z in logits) / 6
    assert float(loss) == pytest.approx(expected)
    assert 0.01 < (told[0] - pictures()).abs().mean() < 0.5


def lit(n):
    """Pictures whose left or right half is bright, or both, or none; what is asked of
    each half; and the answers.
    """
    g = torch.Generator().manual_seed(0)
    yes = torch.randint(0, 2, (n, 2), generator=g)
    x = yes.float().repeat_interleave(16, dim=1)[:, None, None] * 1.6 - 0.8
    asking = torch.tensor([[START, 3, END, 0, 0], [START, 4, END, 0, 0]])
    return x.expand(n, 3, 32, 32).contiguous(), asking.expand(n, -1, -1), yes.float()


def test_a_judge_learns_to_look_where_the_question_says():
    torch.manual_seed(0)
    x, questions, yes = lit(128)
    batches = shuffled(x, questions, yes, batch_size=16)
    options = {"steps": 60, "lr": 3e-3, "progress": False}
    judge = fit(Answerer(CONFIG), answer_loss, batches, **options).model
    right = answered(judge, x, questions) == yes.bool()
    assert right.float().mean() > 0.95
    blind = answered(judge, x.flip(0), questions) == yes.bool()
    assert 0.3 < blind.float().mean() < 0.7


# ---------- what is refused ----------


def test_pictures_questions_and_answers_that_do_not_fit_are_refused(model):
    with pytest.raises(ValueError, match=r"x of shape \(B, 3, 32, 32\)"):
        model(pictures(size=64), QUESTIONS)
    with pytest.raises(ValueError, match=r"of each of 3 pictures, got .* \(2, 3, 5\)"):
        model(pictures(3), QUESTIONS)
    with pytest.raises(ValueError, match=r"of each of 2 pictures, got .* \(2, 5\)"):
        model(pictures(), QUESTIONS[:, 0])
    with pytest.raises(ValueError, match="end token 2 in every caption"):
        model(pictures(), QUESTIONS[..., :2])
    with pytest.raises(ValueError, match=r"answers of shape \(2, 3\), got \(2, 1\)"):
        answer_loss(model, pictures(), QUESTIONS, torch.zeros(2, 1), a_draw(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"size": 48}, "size 32 or 64, got 48"), ({"depth": 0}, "depth to be a whole")],
)
def test_sizes_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AnswererConfig(**({"words": 9} | changes))
