import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from minilib.models.dvae import DVAEConfig, gumbel_softmax, hard, perplexity
from minilib.models.vq import (
    VQVAE,
    VQConfig,
    restart_dead_codes,
    straight_through,
    straight_through_gumbel,
    vq_loss,
)

SMALL = VQConfig(DVAEConfig(codes=6, width=16, blocks=1), code_dim=3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, size=8, seed=0):
    return torch.rand(n, 3, size, size, generator=generator(seed)) * 2 - 1


def small(seed=0):
    torch.manual_seed(seed)
    model = VQVAE(SMALL)
    for p in model.parameters():  # no layer starts at 0
        torch.nn.init.normal_(p, std=0.3)
    return model


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    soft = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    exact = torch.tensor([0.0, 1.0], dtype=torch.float64)
    y = straight_through(exact, soft)
    assert torch.equal(y.detach(), exact)
    (y * torch.tensor([2.0, 3.0])).sum().backward()
    assert soft.grad.tolist() == [2, 3]


def test_straight_through_gumbel_is_torchs_hard_draw():
    """Values and gradients, given the same noise."""
    logits = torch.randn(4, 5, 2, 3, generator=generator(), dtype=torch.float64)
    weight = torch.randn(4, 5, 2, 3, generator=generator(1), dtype=torch.float64)
    u = torch.rand(logits.shape, dtype=logits.dtype, generator=generator(3))
    # what torch adds is -log of an exponential number: the same as ours of this u
    shifted = (logits - torch.log(-torch.log(u))).requires_grad_(True)
    soft = (shifted / 0.7).softmax(dim=1)
    theirs = hard(soft) - soft.detach() + soft
    (theirs * weight).sum().backward()
    ours = logits.clone().requires_grad_(True)
    y = straight_through_gumbel(ours, 0.7, generator(3))
    (y * weight).sum().backward()
    assert torch.equal(y.detach(), hard(soft).detach())
    assert torch.allclose(ours.grad, shifted.grad, rtol=1e-12)
    soft_draw = gumbel_softmax(logits, 0.7, generator(3))
    assert torch.equal(y.detach().argmax(1), soft_draw.argmax(1))


def test_shapes_and_tokens():
    model, x = small(), pictures(3)
    tokens = model.tokens(x)
    assert tokens.shape == (3, 4)
    assert tokens.dtype == torch.long
    assert model(x).shape == x.shape
    assert torch.allclose(model(x), model.decode_tokens(tokens), atol=1e-6)


def test_nearest_is_the_smallest_distance():
    model = small()
    h = torch.randn(2, 3, 4, 5, generator=generator())
    flat = h.movedim(1, -1).flatten(0, 2)
    expected = torch.cdist(flat, model.codebook).argmin(dim=1).view(2, 4, 5)
    assert torch.equal(model.nearest(h), expected)
    at = model.codebook.detach().T[None, :, :, None]  # a code is nearest to itself
    assert model.nearest(at)[0, :, 0].tolist() == list(range(6))
    assert torch.equal(model.quantised(at), at)


def test_the_loss_and_who_moves_whom():
    model, x = small().double(), pictures(3).double()
    h = model.encode(x).detach()
    e = model.quantised(h).detach()
    expected = F.mse_loss(model(x), x) + 1.5 * F.mse_loss(e, h)
    found = vq_loss(model, x, commitment=0.5)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found.backward()
    # the codebook moves towards its vectors alone, not by what is rebuilt
    used = F.one_hot(model.nearest(h), 6).double()  # (B, h, w, codes)
    pull = 2 * (e - h) / h.numel()
    towards = torch.einsum("bhwk,bdhw->kd", used, pull)
    assert torch.allclose(model.codebook.grad, towards, atol=1e-12)


def test_the_encoder_learns_straight_through():
    model, x = small().double(), pictures(3).double()
    vq_loss(model, x, commitment=0.0).backward()
    through = [p.grad.clone() for p in model.encode.parameters()]
    model.zero_grad()
    h = model.encode(x)
    e = model.quantised(h).detach().requires_grad_(True)
    F.mse_loss(model.decode(e), x).backward()
    h.backward(e.grad)
    direct = [p.grad for p in model.encode.parameters()]
    for a, b in zip(through, direct, strict=True):
        assert torch.allclose(a, b, atol=1e-14)


def test_dead_codes_start_again_at_vectors_of_pictures():
    model, x = small(), pictures(40)
    with torch.no_grad():
        model.codebook[1:] += 100  # nobody is near
    assert perplexity(model.tokens(x), 6) == 1
    alive = model.codebook[0].clone()
    assert restart_dead_codes(model, x, generator()) == 5
    assert torch.equal(model.codebook[0], alive)
    vectors = model.encode(x).movedim(1, -1).flatten(0, 2)
    nearest = torch.cdist(model.codebook[1:], vectors).min(dim=1).values
    assert nearest.max() < 1e-3
    assert perplexity(model.tokens(x), 6) > 3


def test_least_says_what_is_dead():
    model, x = small(), pictures(10)
    used = torch.bincount(model.tokens(x).flatten(), minlength=6)
    for least in (1, 10**6):
        expected = int((used < least).sum())
        assert restart_dead_codes(small(), x, generator(), least) == expected


@pytest.mark.parametrize(
    ("config", "gist"),
    [
        (replace(SMALL, code_dim=0), "code_dim"),
        (VQConfig(DVAEConfig(codes=0)), "codes"),
    ],
)
def test_other_sizes_are_refused(config, gist):
    with pytest.raises(ValueError, match=gist):
        VQVAE(config)


def test_other_pictures_tokens_and_seeds_are_refused():
    model = small()
    with pytest.raises(ValueError, match="multiples of 4"):
        model.tokens(torch.zeros(1, 3, 6, 8))
    with pytest.raises(ValueError, match="multiples of 4"):
        model(torch.zeros(1, 3, 6, 8))
    with pytest.raises(ValueError, match="tokens from 0 to 5"):
        model.decode_tokens(torch.full((1, 4), 6))
    with pytest.raises(ValueError, match="expected a generator"):
        restart_dead_codes(model, pictures(1), 0)
    with pytest.raises(ValueError, match="tau > 0"):
        straight_through_gumbel(torch.zeros(1, 2), math.nan, generator())
