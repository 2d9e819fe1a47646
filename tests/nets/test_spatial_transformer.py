from dataclasses import replace
from functools import partial

import pytest
import torch

from minilib.nets.conditional_unet import ConditionalUNet
from minilib.nets.layers import attend
from minilib.nets.spatial_transformer import (
    GEGLU,
    ConditionalTransformerBlock,
    CrossAttention,
    SpatialTransformer,
)
from minilib.nets.unet_blocks import Context, UNetConfig

WIDTH = 12
CONFIG = UNetConfig(
    channels=4,
    patch=1,
    width=16,
    multipliers=(1, 2),
    blocks=1,
    attention=(0, 1),
    attend=partial(SpatialTransformer, context=WIDTH, heads=2),
)


def words(n: int = 2, length: int = 5) -> Context:
    """Random vectors, the last two of which are padding in the second row."""
    seen = torch.ones(n, length, dtype=torch.bool)
    seen[1:, 3:] = False
    return Context(torch.randn(n, length, WIDTH), seen)


def awake(model: torch.nn.Module) -> torch.nn.Module:
    """The model with all that starts at 0 filled."""
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model


def test_cross_attention_is_attend_head_by_head():
    layer, h, context = CrossAttention(8, 2, WIDTH), torch.randn(2, 6, 8), words()
    q, k, v = layer.to_q(h), layer.to_k(context.vectors), layer.to_v(context.vectors)
    heads = [
        attend(q[..., at], k[..., at], v[..., at], context.seen[:, None])
        for at in (slice(0, 4), slice(4, 8))
    ]
    expected = layer.to_out(torch.cat(heads, dim=2))
    assert torch.allclose(layer(h, *context), expected, atol=1e-6)


def test_weights_are_what_the_values_are_averaged_by():
    layer, h, context = CrossAttention(8, 2, WIDTH), torch.randn(2, 6, 8), words()
    weights = layer.weights(h, context)
    assert weights.shape == (2, 2, 6, 5)
    assert torch.allclose(weights.sum(dim=3), torch.ones(2, 2, 6))
    assert (weights[1, :, :, 3:] == 0).all()
    assert (weights[0] > 0).all()
    found = weights @ layer.split(layer.to_v(context.vectors))
    expected = layer.to_out(found.transpose(1, 2).flatten(2))
    assert torch.allclose(layer(h, *context), expected, atol=1e-6)


def test_heads_share_the_dim_equally():
    with pytest.raises(ValueError, match="3 heads can share equally, got 8"):
        CrossAttention(8, 3, WIDTH)


def test_a_gate_at_nought_is_closed():
    layer = GEGLU(3, 4)
    torch.nn.init.zeros_(layer.proj.weight[4:])
    torch.nn.init.zeros_(layer.proj.bias[4:])
    assert (layer(torch.randn(2, 5, 3)) == 0).all()
    torch.nn.init.constant_(layer.proj.bias[4:], 10.0)  # gelu(10) is 10
    h = torch.randn(2, 5, 3)
    value = torch.nn.functional.linear(h, layer.proj.weight[:4], layer.proj.bias[:4])
    assert torch.allclose(layer(h), 10 * value, atol=1e-4)


def test_positions_see_each_other_and_no_order():
    """Attention knows no place: positions in another order come out in that order."""
    block, h, context = (
        ConditionalTransformerBlock(8, 2, WIDTH),
        torch.randn(2, 6, 8),
        words(),
    )
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    out = block(h, context)
    assert torch.allclose(block(h[:, order], context), out[:, order], atol=1e-5)
    other = h.clone()
    other[:, 0] = torch.randn(2, 8)
    assert not torch.allclose(block(other, context)[:, 5], out[:, 5], atol=1e-4)


def test_a_new_transformer_leaves_the_picture_as_it_is():
    block, h = SpatialTransformer(CONFIG, 16, WIDTH, 2), torch.randn(2, 16, 4, 6)
    assert torch.equal(block(h, words()), h)
    with pytest.raises(ValueError, match="expected a context"):
        block(h)


def test_the_network_reads_the_words_it_may_see():
    torch.manual_seed(0)
    model, context = awake(ConditionalUNet(CONFIG)), words()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    out = model(x, t, context)
    assert out.shape == x.shape
    padding = context.vectors.clone()
    padding[1, 3:] += 5
    same = model(x, t, Context(padding, context.seen))
    assert torch.allclose(same, out, atol=1e-5)
    shown = torch.ones_like(context.seen)
    assert not torch.allclose(
        model(x, t, Context(padding, shown))[1], out[1], atol=1e-3
    )


def test_channels_out_may_differ():
    model = ConditionalUNet(replace(CONFIG, channels=9, channels_out=4))
    out = model(torch.randn(1, 9, 8, 8), torch.tensor([0]), words(1))
    assert out.shape == (1, 4, 8, 8)


def test_a_context_of_another_batch_is_refused():
    model, x, t = ConditionalUNet(CONFIG), torch.randn(2, 4, 8, 8), torch.tensor([0, 1])
    vectors, seen = words(3)
    with pytest.raises(ValueError, match=r"vectors \(2, L, D\), got \(3, 5, 12\)"):
        model(x, t, Context(vectors, seen))
    with pytest.raises(ValueError, match="what is seen"):
        model(x, t, Context(vectors[:2], seen))
    with pytest.raises(ValueError, match="expected x of shape"):
        model(x[:, :3], t, Context(vectors[:2], seen[:2]))
