from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from minilib.nets.unet import Embedding, UNet, UNetEncoder, UpLevel
from minilib.nets.unet_blocks import (
    ConvDown,
    ConvUp,
    ResBlock,
    ScaleShift,
    Shift,
    SpatialAttention,
    UNetConfig,
    block_down,
    block_up,
    grow,
    same,
    shrink,
    zeroed,
)

SMALL = UNetConfig(width=8, head_dim=8)
ADM = replace(
    SMALL,
    channels_out=2,
    classes=3,
    modulation=ScaleShift,
    down=block_down,
    up=block_up,
)
forms = pytest.mark.parametrize("config", [SMALL, ADM], ids=["DDPM", "ADM"])


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with every tensor random: those that start at 0 would hide
    whole branches.
    """
    g = torch.Generator().manual_seed(seed)
    for p in module.double().parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64)
    return module


def normal(*shape, seed=1):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@settings(max_examples=15)
@given(
    channels=st.sampled_from([1, 3]),
    channels_out=st.sampled_from([None, 1, 6]),
    patch=st.sampled_from([1, 2]),
    multipliers=st.sampled_from([(1,), (1, 2), (2, 1), (1, 2, 3)]),
    blocks=st.integers(1, 3),
    attention=st.sampled_from([(), (0,), (0, 1)]),
    classes=st.sampled_from([0, 4]),
    adm=st.booleans(),
    sides=st.sampled_from([(2, 2), (2, 3), (4, 1)]),
    n=st.integers(1, 3),
)
def test_what_comes_out_has_the_size_of_what_came_in(
    channels,
    channels_out,
    patch,
    multipliers,
    blocks,
    attention,
    classes,
    adm,
    sides,
    n,
):
    attention = tuple(level for level in attention if level < len(multipliers))
    kinds = (
        {"modulation": ScaleShift, "down": block_down, "up": block_up} if adm else {}
    )
    config = UNetConfig(
        channels,
        channels_out,
        patch,
        8,
        multipliers,
        blocks,
        attention,
        head_dim=8,
        classes=classes,
        **kinds,
    )
    H, W = (side * patch * 2 ** (len(multipliers) - 1) for side in sides)
    y = torch.arange(n) % classes if classes else None
    out = UNet(config)(torch.randn(n, channels, H, W), torch.arange(n), y)
    assert out.shape == (n, channels_out or channels, H, W)


@forms
def test_a_new_network_says_0(config):
    out = UNet(config)(torch.randn(2, 1, 8, 8), torch.tensor([0, 999]))
    assert torch.equal(out, torch.zeros(2, config.outputs, 8, 8))


def test_what_is_added_to_the_stream_starts_as_nothing():
    h, emb = torch.randn(2, 16, 4, 4), torch.randn(2, 32)
    assert torch.equal(ResBlock(SMALL, 16, 16)(h, emb), h)
    assert torch.equal(SpatialAttention(SMALL, 16)(h), h)
    assert torch.equal(block_down(ADM, 16)(h, emb), shrink(h))
    assert torch.equal(block_up(ADM, 16)(h, emb), grow(h))


def test_zeroed_sets_weight_and_bias_to_0():
    layer = zeroed(nn.Conv2d(3, 4, 3))
    assert not layer.weight.any()
    assert not layer.bias.any()
    assert layer.weight.requires_grad


@forms
def test_every_parameter_gets_a_gradient(config):
    model = filled(UNet(config))
    y = torch.tensor([0, 1, 2]) if config.classes else None
    model(normal(3, 1, 8, 8), torch.tensor([0, 5, 900]), y).square().sum().backward()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []


@forms
def test_the_gradient_in_the_picture_is_right(config):
    model, t = filled(UNet(config)), torch.tensor([7])
    x = normal(1, 1, 4, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x, t).sum(dim=(2, 3)), x)


@forms
def test_each_picture_is_worked_on_by_itself(config):
    model, x, t = filled(UNet(config)), normal(3, 1, 8, 8), torch.tensor([0, 500, 999])
    y = torch.tensor([0, 2, 1]) if config.classes else None
    together = model(x, t, y)
    for i in range(3):
        alone = model(x[i : i + 1], t[i : i + 1], None if y is None else y[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-12)


@forms
def test_the_step_reaches_the_picture(config):
    model, x = filled(UNet(config)), normal(1, 1, 8, 8)
    out = [model(x, torch.tensor([t])) for t in (0, 1, 999)]
    assert (out[0] - out[1]).abs().max() > 1e-3
    assert (out[0] - out[2]).abs().max() > 1e-3


def test_a_step_may_be_a_fraction():
    model, x = filled(UNet(SMALL)), normal(1, 1, 8, 8)
    at = lambda t: model(x, torch.tensor([t]))  # noqa: E731
    assert torch.equal(at(3.0), at(3))
    assert (at(3.001) - at(3.0)).abs().max() < 0.02 * (at(4.0) - at(3.0)).abs().max()


# ---------- labels ----------


def test_labels_reach_the_picture():
    model, x, t = filled(UNet(ADM)), normal(1, 1, 8, 8), torch.tensor([3])
    out = [model(x, t, torch.tensor([y])) for y in (-1, 0, 1, 2)]
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 1e-3


def test_a_label_of_minus_1_says_nothing():
    model, x, t = filled(UNet(ADM)), normal(3, 1, 8, 8), torch.tensor([3, 50, 999])
    conditional, unconditional = model(x, t, torch.tensor([2, 1, 0])), model(x, t)
    assert torch.equal(model(x, t, torch.full((3,), -1)), unconditional)
    mixed = model(x, t, torch.tensor([2, -1, 0]))
    assert torch.allclose(
        mixed,
        torch.stack([conditional[0], unconditional[1], conditional[2]]),
        atol=1e-12,
    )


def test_hidden_labels_teach_no_row_of_the_embedding():
    model = filled(UNet(ADM))
    model(
        normal(3, 1, 8, 8), torch.tensor([1, 2, 3]), torch.tensor([-1, 2, -1])
    ).square().sum().backward()
    rows = model.embed.label.weight.grad.abs().sum(dim=1)
    assert rows[:2].tolist() == [0, 0]
    assert rows[2] > 0


def test_the_label_is_added_to_the_embedded_step():
    embed, t = filled(Embedding(ADM)), torch.tensor([4, 9])
    assert torch.allclose(
        embed(t, torch.tensor([2, 0])),
        embed(t) + embed.label.weight[[2, 0]],
        atol=1e-14,
    )


# ---------- blocks ----------


def test_the_step_shifts_before_the_norm_in_ddpm_and_after_it_in_adm():
    h, emb = normal(2, 16, 3, 3), normal(2, 32)
    one = filled(Shift(SMALL, 16))
    shift = F.linear(F.silu(emb), one.linear.weight, one.linear.bias)[:, :, None, None]
    assert torch.allclose(
        one(h, emb),
        F.group_norm(h + shift, 8, one.norm.weight, one.norm.bias, 1e-5),
        atol=1e-12,
    )
    other = filled(ScaleShift(ADM, 16))
    both = F.linear(F.silu(emb), other.linear.weight, other.linear.bias)[
        :, :, None, None
    ]
    normed = F.group_norm(h, 8, other.norm.weight, other.norm.bias, 1e-5)
    assert torch.allclose(
        other(h, emb), normed + normed * both[:, :16] + both[:, 16:], atol=1e-12
    )


@pytest.mark.parametrize(
    "config", [replace(SMALL, eps=0.3), replace(ADM, eps=0.3)], ids=["DDPM", "ADM"]
)
@pytest.mark.parametrize("resize", [same, shrink, grow])
@pytest.mark.parametrize("channels_out", [8, 16])
def test_a_block_is_norm_silu_resize_conv_modulate_silu_conv_and_what_came_in(
    config, resize, channels_out
):
    block, h, emb = (
        filled(ResBlock(config, 8, channels_out, resize)),
        normal(2, 8, 4, 6),
        normal(2, 32),
    )
    new = resize(F.silu(F.group_norm(h, 8, block.norm.weight, block.norm.bias, 0.3)))
    new = F.conv2d(new, block.conv1.weight, block.conv1.bias, padding=1)
    new = F.conv2d(
        F.silu(block.modulate(new, emb)),
        block.conv2.weight,
        block.conv2.bias,
        padding=1,
    )
    old = (
        resize(h)
        if channels_out == 8
        else F.conv2d(resize(h), block.skip.weight, block.skip.bias)
    )
    assert torch.allclose(block(h, emb), old + new, atol=1e-12)


@forms
def test_every_norm_has_the_eps_and_the_groups_of_the_config(config):
    norms = [
        m
        for m in UNet(replace(config, eps=0.3, groups=4)).modules()
        if isinstance(m, nn.GroupNorm)
    ]
    assert len(norms) > 20
    assert {(norm.eps, norm.num_groups) for norm in norms} == {(0.3, 4)}


def test_a_convolution_with_stride_2_looks_at_every_second_place_and_its_neighbours():
    down, h = filled(ConvDown(SMALL, 8)), normal(1, 8, 6, 6)
    whole = F.conv2d(h, down.conv.weight, down.conv.bias, padding=1)
    assert torch.allclose(down(h, normal(1, 32)), whole[:, :, ::2, ::2], atol=1e-12)


def test_a_level_of_the_decoder_takes_its_features_first_and_the_last_skip_first():
    level = filled(UpLevel(SMALL, [(24, 8), (16, 8)], False, None))
    h, near, far, emb = (
        normal(1, 16, 2, 2),
        normal(1, 8, 2, 2),
        normal(1, 8, 2, 2, seed=2),
        normal(1, 32),
    )
    first, second = level.blocks
    expected = second(
        torch.cat([first(torch.cat([h, near], dim=1), emb), far], dim=1), emb
    )
    assert torch.allclose(level(h, [far, near], emb, None), expected, atol=1e-12)


def test_shrink_takes_means_and_grow_undoes_it():
    h = torch.arange(16.0).view(1, 1, 4, 4)
    assert shrink(h)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert grow(h)[0, 0, :2, :4].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert torch.equal(shrink(grow(h)), h)


@pytest.mark.parametrize("down", [ConvDown, block_down])
@pytest.mark.parametrize("up", [ConvUp, block_up])
def test_down_halves_and_up_doubles(down, up):
    h, emb = torch.randn(2, 16, 6, 10), torch.randn(2, 32)
    small = down(SMALL, 16)(h, emb)
    assert small.shape == (2, 16, 3, 5)
    assert up(SMALL, 16)(small, emb).shape == h.shape


def test_attention_is_over_places_and_every_place_sees_all():
    attend = filled(SpatialAttention(SMALL, 16))
    assert attend.attention.heads == 2
    h = normal(1, 16, 2, 3)
    # it has no sense of where a place is
    turned = attend(h.transpose(2, 3)).transpose(2, 3)
    assert torch.allclose(attend(h), turned, atol=1e-12)
    h.requires_grad_()
    (slope,) = torch.autograd.grad(attend(h)[0, 0, 0, 0], h)
    assert (slope[0].abs().sum(dim=0) > 0).all()


def test_the_encoder_leaves_a_skip_for_each_block_of_the_decoder():
    config = replace(SMALL, patch=1, multipliers=(1, 2, 3), blocks=2)
    encoder, x = UNetEncoder(config), torch.randn(1, 1, 8, 12)
    h, skips = encoder(x, torch.randn(1, 32))
    assert h.shape == (1, 24, 2, 3)
    wide, half, low = (8, 12), (4, 6), (2, 3)
    expected = (
        [(8, *wide)] * 3
        + [(8, *half)]
        + [(16, *half)] * 2
        + [(16, *low)]
        + [(24, *low)] * 2
    )
    assert [tuple(skip.shape[1:]) for skip in skips] == expected
    decoder = UNet(config).decoder
    assert sum(len(level.blocks) for level in decoder.levels) == len(skips)
    decoder(h, skips, torch.randn(1, 32))
    assert len(skips) == len(expected)  # the caller's list stays as it was


def test_patches_are_channels_of_a_smaller_picture():
    model, other = (
        filled(UNet(SMALL)),
        UNet(replace(SMALL, patch=1, channels=4, channels_out=4)).double(),
    )
    other.load_state_dict(model.state_dict())
    x, t = normal(2, 1, 8, 12), torch.tensor([3, 4])
    small = other(F.pixel_unshuffle(x, 2), t)
    assert torch.allclose(model(x, t), F.pixel_shuffle(small, 2), atol=1e-12)


# ---------- what does not fit ----------


@pytest.mark.parametrize(
    "shape", [(2, 1, 6, 8), (2, 1, 8, 10), (2, 3, 8, 8), (2, 8, 8), (1, 2, 1, 8, 8)]
)
def test_pictures_that_do_not_fit_are_refused(shape):
    with pytest.raises(
        ValueError,
        match=r"expected x of shape \(B, 1, H, W\) with H, W multiples of 4, got",
    ):
        UNet(SMALL)(torch.zeros(shape), torch.zeros(shape[0]))


@pytest.mark.parametrize(
    "t", [torch.zeros(2, 1).long(), torch.zeros(3).long(), torch.tensor(5)]
)
def test_steps_that_do_not_fit_are_refused(t):
    with pytest.raises(ValueError, match=r"expected t of shape \(2,\), got"):
        UNet(SMALL)(torch.zeros(2, 1, 8, 8), t)


def test_labels_that_do_not_fit_are_refused():
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"expected y of shape \(2,\), got \(1,\)"):
        UNet(ADM)(x, t, torch.tensor([0]))
    with pytest.raises(
        ValueError, match="expected no labels y: this network has no classes"
    ):
        UNet(SMALL)(x, t, torch.tensor([0, 1]))


@forms
def test_half_precision_runs_and_float64_stays(config):
    model, x, t = UNet(config), torch.randn(2, 1, 8, 8), torch.tensor([0, 999])
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    exact = model(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, t)
    assert ((rough - exact).abs().max() / exact.abs().max()).item() < 0.1
    assert model.double()(x.double(), t).dtype == torch.float64


@pytest.mark.parametrize("bad", [-2, 3])
def test_labels_that_are_no_class_are_refused(bad):
    with pytest.raises(
        ValueError, match=rf"labels y \(-1 is unconditional\) from -1 to 2, got .*{bad}"
    ):
        UNet(ADM)(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), torch.tensor([0, bad]))


def test_output_follows_input_unless_said_otherwise():
    assert UNetConfig(channels=3).outputs == 3
    assert replace(UNetConfig(), channels=5).outputs == 5
    assert replace(UNetConfig(channels=5), channels_out=3).outputs == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blocks": 0}, "expected blocks to be a whole number from 1 up, got 0"),
        ({"channels": 0}, "expected channels to be a whole number from 1 up, got 0"),
        ({"channels_out": 0}, "expected outputs to be a whole number from 1 up"),
        ({"patch": 0}, "expected patch to be a whole number from 1 up, got 0"),
        ({"head_dim": 0}, "expected head_dim to be a whole number from 1 up, got 0"),
        ({"groups": 0}, "expected groups to be a whole number from 1 up, got 0"),
        ({"classes": -1}, "expected classes to be a whole number from 0 up, got -1"),
        ({"width": 12.0}, r"expected width to be a whole number from 1 up, got 12\.0"),
        ({"attention": (5,)}, r"attention at levels from 0 to 1, got \(5,\)"),
        ({"attention": (-1,)}, r"attention at levels from 0 to 1, got \(-1,\)"),
        ({"multipliers": ()}, r"an even width, and .* got width 32 and channels \[\]"),
        ({"multipliers": (1, 0)}, r"an even width, and .* channels \[32, 0\]"),
        ({"width": 12}, r"8 groups can share equally, got width 12"),
        ({"width": 9, "groups": 3}, "expected an even width, .*got width 9"),
    ],
)
def test_sizes_that_make_no_network_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**wrong)


@pytest.mark.parametrize("head_dim", [5, 32])
def test_heads_share_the_channels_of_a_level_equally(head_dim):
    with pytest.raises(
        ValueError,
        match=(
            r"expected a head_dim that divides the 16 channels of a level, got "
            rf"{head_dim}"
        ),
    ):
        UNet(UNetConfig(width=8, head_dim=head_dim))
