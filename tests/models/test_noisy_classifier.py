import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from minilib.diffusion.schedule import Schedule, cosine_beta
from minilib.models.noisy_classifier import (
    AttentionPool,
    NoisyClassifier,
    noisy_classification_loss,
)
from minilib.nets.unet_blocks import ScaleShift, UNetConfig, block_down
from minilib.train import Draw, fit, shuffled

SMALL = UNetConfig(width=8, head_dim=8)
SCHEDULE = Schedule(cosine_beta(20))


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(0, n), n)


@settings(max_examples=15, deadline=None)
@given(
    size=st.sampled_from([8, 12, 28]),
    channels=st.sampled_from([1, 3]),
    classes=st.sampled_from([2, 10]),
    ada=st.booleans(),
    n=st.integers(1, 3),
)
def test_one_row_of_logits_for_each_picture(size, channels, classes, ada, n):
    config = UNetConfig(channels=channels, width=8, head_dim=8)
    if ada:
        config = UNetConfig(
            channels=channels,
            width=8,
            head_dim=8,
            modulation=ScaleShift,
            down=block_down,
        )
    model = NoisyClassifier(config, size, classes)
    assert model(torch.randn(n, channels, size, size), torch.arange(n)).shape == (
        n,
        classes,
    )


@pytest.mark.parametrize(("head_dim", "heads"), [(16, 1), (8, 2), (4, 4)])
def test_the_pool_is_attention_of_the_mean_on_all_places(head_dim, heads):
    torch.manual_seed(0)
    pool = AttentionPool(channels=16, positions=6, head_dim=head_dim, out=5).double()
    h = torch.randn(3, 16, 2, 3, dtype=torch.float64)
    for picture, logits in zip(h, pool(h), strict=True):
        places = picture.flatten(1).T  # (6, 16)
        places = torch.cat([places.mean(dim=0, keepdim=True), places]) + pool.position.T
        # (7, 16) each
        q, k, v = F.linear(places, pool.qkv.weight, pool.qkv.bias).split(16, dim=1)
        answer = []
        for head in torch.arange(16).chunk(heads):
            fit_of = torch.stack(
                [q[0, head] @ k[place, head] for place in range(7)]
            ) / math.sqrt(head_dim)
            weights = fit_of.exp() / fit_of.exp().sum()
            answer.append(sum(w * v[place, head] for place, w in enumerate(weights)))
        expected = pool.out(torch.cat(answer))
        assert torch.allclose(logits, expected, atol=1e-12)


def test_the_pool_knows_where_things_are():
    torch.manual_seed(0)
    pool, h = AttentionPool(16, 4, 8, 5), torch.randn(1, 16, 2, 2)
    assert not torch.allclose(pool(h), pool(h.flip(3)))
    pool.position.data.zero_()
    assert torch.allclose(pool(h), pool(h.flip(3)), atol=1e-6)


def test_the_step_reaches_the_logits():
    torch.manual_seed(0)
    model = NoisyClassifier(SMALL, 8, 10)
    for block in model.encoder.middle[::2]:
        nn.init.normal_(block.conv2.weight)  # at birth it adds nothing
    x = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(model(x, torch.tensor([0])), model(x, torch.tensor([19])))


def test_every_parameter_gets_a_gradient_once_the_zeros_are_gone():
    torch.manual_seed(0)
    model = NoisyClassifier(SMALL, 8, 10)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    model(torch.randn(2, 1, 8, 8), torch.tensor([3, 7])).square().sum().backward()
    assert [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any()
    ] == []


def test_the_gradient_in_the_picture_is_right():
    torch.manual_seed(0)
    model = NoisyClassifier(SMALL, 8, 3).double()
    x, t = (
        torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True),
        torch.tensor([5]),
    )
    assert torch.autograd.gradcheck(lambda x: F.log_softmax(model(x, t), dim=1), x)


def test_the_loss_is_the_cross_entropy_of_noisy_pictures():
    model, x_0, y = (
        NoisyClassifier(SMALL, 8, 10),
        torch.randn(6, 1, 8, 8),
        torch.arange(6),
    )
    loss = noisy_classification_loss(model, x_0, y, draw=draw(6), schedule=SCHEDULE)
    again = draw(6)
    t = (again.uniform() * 20).long()
    alpha_bar = SCHEDULE.alpha_bar[t].float().view(-1, 1, 1, 1)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * again.normal(1, 8, 8)
    expected = -model(x_t, t).log_softmax(dim=1)[torch.arange(6), y].mean()
    assert loss.shape == ()
    assert torch.allclose(loss, expected, atol=1e-6)


def test_without_noise_the_pictures_stay_clean_and_the_step_is_0():
    seen = []

    def model(x, t):
        seen.append((x, t))
        return torch.zeros(len(x), 10)

    x_0, y = torch.randn(4, 1, 8, 8), torch.arange(4)
    loss = noisy_classification_loss(
        model, x_0, y, draw=draw(4), schedule=SCHEDULE, noise=False
    )
    (x, t), *_ = seen
    assert torch.equal(x, x_0)
    assert t.tolist() == [0, 0, 0, 0]
    assert float(loss) == pytest.approx(math.log(10))


def test_the_steps_drawn_cover_the_schedule():
    seen = []

    def model(x, t):
        seen.append(t)
        return torch.zeros(len(x), 2)

    x_0, y = torch.zeros(500, 1, 2, 2), torch.zeros(500).long()
    noisy_classification_loss(model, x_0, y, draw=draw(500), schedule=SCHEDULE)
    assert set(seen[0].tolist()) == set(range(20))


def test_it_learns():
    y = torch.arange(200) % 2
    x = (
        torch.where(y == 1, 1.0, -1.0)
        .view(-1, 1, 1, 1)
        .expand(-1, 1, 8, 8)
        .contiguous()
    )
    torch.manual_seed(0)
    loss = partial(noisy_classification_loss, schedule=SCHEDULE)
    run = fit(
        NoisyClassifier(SMALL, 8, 2),
        loss,
        shuffled(x, y, batch_size=32),
        steps=60,
        lr=3e-3,
        progress=False,
    )
    assert run.loss[-10:].mean() < 0.4 < run.loss[:5].mean()


def test_what_does_not_fit_is_refused():
    model = NoisyClassifier(SMALL, 8, 10)
    with pytest.raises(ValueError, match=r"expected t of shape \(2,\), got \(2, 1\)"):
        model(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1).long())
    with pytest.raises(
        ValueError, match=r"expected x of shape \(B, 1, H, W\) with H, W multiples of 4"
    ):
        model(torch.zeros(2, 1, 7, 8), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"expected x of shape \(B, 1, H, W\)"):
        model(torch.zeros(2, 3, 8, 8), torch.zeros(2).long())
    with pytest.raises(
        ValueError,
        match=r"expected h of shape \(B, 16, H, W\) with 4 places, got \(2, 16, 4, 4\)",
    ):
        model(torch.zeros(2, 1, 16, 16), torch.zeros(2).long())


@pytest.mark.parametrize("bad", [-100, 3])
def test_labels_of_no_class_are_refused(bad):
    with pytest.raises(
        ValueError, match=rf"expected labels y from 0 to 2, got .*{bad}"
    ):
        noisy_classification_loss(
            lambda x, t: torch.zeros(2, 3),
            torch.zeros(2, 1, 8, 8),
            torch.tensor([1, bad]),
            draw=Draw(torch.Generator(), slice(None), 2),
            schedule=Schedule(cosine_beta()),
        )
