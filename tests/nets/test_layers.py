import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from minilib.nets.layers import (
    Attention,
    TransformerBlock,
    attend,
    attend_fast,
    down,
    step_embedding,
    up,
)


@pytest.mark.parametrize("size", [4, 28, 32])
def test_down_halves_and_up_doubles(size):
    x = torch.randn(2, 3, size, size)
    h = down(3, 8)(x)
    assert h.shape == (2, 8, size // 2, size // 2)
    assert up(8, 16)(h).shape == (2, 16, size, size)


def test_output_does_not_depend_on_the_rest_of_the_batch():
    """GroupNorm normalises each picture by itself, so that a reconstruction is the same
    alone and in company.
    """
    torch.manual_seed(0)
    block, x = down(1, 8), torch.randn(4, 1, 8, 8)
    assert torch.allclose(block(x)[:1], block(x[:1]), atol=1e-6)


# ---------- attention ----------


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with every tensor random: biases that start at 0 would hide
    whole branches.
    """
    g = torch.Generator().manual_seed(seed)
    for p in module.double().parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=g, dtype=torch.float64)
    return module


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    dim=st.integers(1, 8),
    scale=st.sampled_from([1.0, 0.01, 30.0]),
)
def test_attend_is_torchs(batch, heads, queries, keys, dim, scale):
    q, k = (
        scale * tokens(batch, heads, queries, dim),
        tokens(batch, heads, keys, dim, seed=2),
    )
    v = tokens(batch, heads, keys, dim + 1, seed=3)
    assert distance(attend(q, k, v), F.scaled_dot_product_attention(q, k, v)) < 1e-10


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_is_torchs_forward_and_backward(heads, scale):
    ours, theirs = (
        filled(Attention(12, heads)),
        nn.MultiheadAttention(12, heads, batch_first=True).double(),
    )
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = (
        ours.qkv.weight.data,
        ours.qkv.bias.data,
    )
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = (
        ours.out.weight.data,
        ours.out.bias.data,
    )
    x, y = (
        (scale * tokens(3, 7, 12)).requires_grad_(),
        (scale * tokens(3, 7, 12)).requires_grad_(),
    )
    a, b = ours(x), theirs(y, y, y, need_weights=False)[0]
    assert distance(a, b) < 1e-10
    for output in (a, b):
        output.square().sum().backward()
    assert distance(x.grad, y.grad) < 1e-10
    assert distance(ours.qkv.weight.grad, theirs.in_proj_weight.grad) < 1e-10


def test_a_block_is_torchs_pre_norm_layer():
    ours = filled(TransformerBlock(12, 3))
    theirs = nn.TransformerEncoderLayer(
        12, 3, 48, 0.0, F.gelu, batch_first=True, norm_first=True
    ).double()
    theirs.self_attn.in_proj_weight.data, theirs.self_attn.in_proj_bias.data = (
        ours.attention.qkv.weight.data,
        ours.attention.qkv.bias.data,
    )
    pairs = [
        (theirs.self_attn.out_proj, ours.attention.out),
        (theirs.linear1, ours.mlp[0]),
        (theirs.linear2, ours.mlp[2]),
        (theirs.norm1, ours.norm1),
        (theirs.norm2, ours.norm2),
    ]
    for there, here in pairs:
        there.weight.data, there.bias.data = here.weight.data, here.bias.data
    x, y = tokens(2, 5, 12).requires_grad_(), tokens(2, 5, 12).requires_grad_()
    a, b = ours(x), theirs(y)
    assert distance(a, b) < 1e-10
    for output in (a, b):
        output.square().sum().backward()
    assert distance(x.grad, y.grad) < 1e-10


MASKS = {
    "everywhere": None,
    "so many keys": (torch.arange(7) < torch.tensor([[7], [3], [1]]))[:, None, None],
    "those before": torch.ones(7, 7, dtype=torch.bool).tril(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("queries", [5, 7])
def test_attend_fast_is_attend_forward_and_backward(name, queries):
    """Five queries look at seven keys, as in cross-attention, or seven look."""
    mask, found = MASKS[name], []
    mask = mask[:queries] if name == "those before" else mask
    for function in (attend, attend_fast):
        q, k, v = (
            tokens(3, 2, L, 4, seed=seed).requires_grad_()
            for seed, L in ((1, queries), (2, 7), (3, 7))
        )
        out = function(q, k, v, mask)
        (out * tokens(*out.shape, seed=4)).sum().backward()
        found.append((out, q.grad, k.grad, v.grad))
    for ours, fast in zip(*found, strict=True):
        assert distance(fast, ours) < 1e-12


def test_a_query_that_may_look_nowhere_finds_nothing():
    mask = torch.tensor([[True, False], [False, False]])
    out = attend_fast(tokens(1, 1, 2, 4), tokens(1, 1, 2, 4), tokens(1, 1, 2, 4), mask)
    assert (out[0, 0, 1] == 0).all()
    assert torch.equal(out[0, 0, 0], tokens(1, 1, 2, 4)[0, 0, 0])


def test_attend_fast_computes_in_float32_under_autocast():
    q, k, v = (tokens(1, 2, 5, 4, seed=seed).bfloat16() for seed in (1, 2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        out = attend_fast(q, k, v)
    assert out.dtype == torch.float32
    assert distance(out, attend(q.float(), k.float(), v.float())) < 1e-6


def test_attention_weights_are_an_average():
    values = tokens(1, 6, 4)
    out = attend(tokens(1, 3, 4, seed=2), tokens(1, 6, 4, seed=3), values)
    assert (out <= values.amax(dim=1, keepdim=True)).all()
    assert (out >= values.amin(dim=1, keepdim=True)).all()
    assert torch.allclose(
        attend(torch.zeros(1, 1, 4).double(), values, values)[0, 0],
        values[0].mean(dim=0),
    )


def test_attention_has_no_sense_of_order():
    """Shuffled tokens give the same answers, shuffled: order has to come from position
    embeddings.
    """
    block, x, order = (
        filled(TransformerBlock(8, 2)),
        tokens(1, 6, 8),
        torch.tensor([3, 0, 5, 1, 4, 2]),
    )
    assert torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-12)


@pytest.mark.parametrize(("dim", "heads"), [(10, 3), (4, 8)])
def test_heads_must_share_the_width_equally(dim, heads):
    with pytest.raises(ValueError, match=f"{heads} heads can share equally, got {dim}"):
        Attention(dim, heads)


# ---------- the step of a diffusion model ----------


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_a_step_becomes_cosines_then_sines(dim):
    steps = [0, 1, 7, 999]
    embedded = step_embedding(torch.tensor(steps), dim, torch.float64)
    assert embedded.shape == (4, dim)
    for row, t in zip(embedded, steps, strict=True):
        angles = [t / 10_000 ** (i / (dim // 2)) for i in range(dim // 2)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        assert row.tolist() == pytest.approx(expected, abs=1e-12)


def test_how_alike_two_steps_are_depends_on_their_distance_alone():
    e = step_embedding(torch.arange(1000), 32, torch.float64)
    alike = e @ e.T
    for distance_ in (0, 1, 10, 300):
        diagonal = alike.diagonal(distance_)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-10)
    others = alike - 100 * torch.eye(1000)
    # of 16 for a step with itself: no two steps are the same
    assert others.max() < 0.97 * 16


def test_a_step_may_lie_between_two():
    whole, between = (
        step_embedding(torch.tensor([3, 4]), 32),
        step_embedding(torch.tensor([3.0, 3.5]), 32),
    )
    assert torch.equal(whole[0], between[0])
    assert not torch.allclose(between[1], whole[1], atol=0.05)
    assert whole.dtype == torch.float32
