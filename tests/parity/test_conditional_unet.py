"""Our `ConditionalUNet` against diffusers' UNet2DConditionModel: every published key
and shape; and in float64, every tensor random, outputs and gradients.
"""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel

from minilib.interop.stable_diffusion import UNET, from_unet
from minilib.nets import spatial_transformer
from minilib.nets.conditional_unet import ConditionalUNet
from minilib.nets.unet_blocks import Context, UNetConfig
from tests.parity.adm import KEYS
from tests.parity.reference import (
    BAR,
    apart,
    float64_sinusoid,
    in_float64,
    randomise,
)

WORDS, WIDTH, HEADS = 7, 24, 4
# Stable Diffusion's form: attention at all levels but the lowest
TINY = replace(UNET, width=16, multipliers=(1, 2), blocks=1, attention=(0,), groups=8)


def small(config: UNetConfig, heads: int = HEADS) -> UNetConfig:
    """The config with transformers of other sizes than the published ones."""
    kind = partial(spatial_transformer.SpatialTransformer, context=WIDTH, heads=heads)
    return replace(config, attend=kind)


def theirs(config: UNetConfig, heads: int = HEADS) -> UNet2DConditionModel:
    """diffusers' network of the same form, with random weights."""
    levels = range(len(config.multipliers))
    kinds = ["CrossAttn" if i in config.attention else "" for i in levels]
    model = UNet2DConditionModel(
        in_channels=config.channels,
        out_channels=config.outputs,
        block_out_channels=[config.width * m for m in config.multipliers],
        layers_per_block=config.blocks,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
        cross_attention_dim=WIDTH,
        attention_head_dim=heads,  # which is their number, whatever its name says
        norm_num_groups=config.groups,
    )
    model = randomise(model)
    model.time_proj.forward = float64_sinusoid(config.width)
    return model


def errors(
    config: UNetConfig = TINY, size: tuple[int, int] = (8, 8), heads: int = HEADS
) -> dict[str, float]:
    """How far our network is from diffusers': output, gradients of input, context and
    weights; on normal input and on a hundredth of it, where eps of the norms tells.
    """
    reference, model = theirs(config, heads), ConditionalUNet(small(config, heads))
    model.double().load_state_dict(from_unet(reference.state_dict(), config))
    g, found = torch.Generator().manual_seed(1), {}
    draw = partial(torch.randn, generator=g, dtype=torch.float64)
    t, seen = torch.tensor([3, 977]), torch.ones(2, WORDS, dtype=torch.bool)
    seen[1, 4:] = False
    for scale in (1.0, 0.01):
        x, words = scale * draw(2, config.channels, *size), draw(2, WORDS, WIDTH)
        mine, other = ([x.clone(), words.clone()] for _ in range(2))
        for value in (*mine, *other):
            value.requires_grad_()
        with in_float64():
            out = reference(other[0], t, other[1], encoder_attention_mask=seen).sample
        ours = model(mine[0], t, Context(mine[1], seen))
        weight = draw(*out.shape)
        (out * weight).sum().backward()
        (ours * weight).sum().backward()
        found[f"output, input × {scale}"] = apart(ours, out)
        for name, a, b in zip(("x", "words"), mine, other, strict=True):
            found[f"gradient of {name}, input × {scale}"] = apart(a.grad, b.grad)
        gradients = {name: p.grad for name, p in reference.named_parameters()}
        expected = from_unet(gradients, config)
        found[f"gradients of weights, input × {scale}"] = max(
            apart(p.grad, expected[name]) for name, p in model.named_parameters()
        )
        model.zero_grad()
        reference.zero_grad()
    return found


def unet_error() -> float:
    return max(errors().values())


CASES = {
    "one level attends": (TINY, (8, 8), HEADS),
    "Stable Diffusion's four levels, two blocks": (
        replace(TINY, multipliers=(1, 2, 2, 2), blocks=2, attention=(0, 1, 2)),
        (8, 16),
        8,
    ),
    "one head, only the lower level attends": (
        replace(TINY, attention=(1,), channels=3, channels_out=6),
        (6, 10),
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case):
    found = errors(*CASES[case])
    assert max(found.values()) < BAR, found


@pytest.mark.parametrize("file", ["sd15_unet.diffusers", "sd15_unet.ldm"])
def test_every_key_and_shape_of_the_published_weights(file):
    shapes = json.loads((KEYS / f"{file}.json").read_text())
    assert len(shapes) == 686
    published = from_unet(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    with torch.device("meta"):
        model = ConditionalUNet(UNET)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in published.items()} == ours
    assert sum(p.numel() for p in model.parameters()) == 859_520_964


def test_both_files_put_a_tensor_at_one_place():
    """Shapes alone do not tell: many blocks are of one size."""
    pairs = [  # of the two files, by the source of diffusers' converter
        ("down_blocks.0.downsamplers.0.conv.bias", "input_blocks.3.0.op.bias"),
        ("down_blocks.2.resnets.1.conv1.bias", "input_blocks.8.0.in_layers.2.bias"),
        ("mid_block.attentions.0.proj_in.bias", "middle_block.1.proj_in.bias"),
        ("up_blocks.0.upsamplers.0.conv.bias", "output_blocks.2.1.conv.bias"),
        ("up_blocks.1.upsamplers.0.conv.bias", "output_blocks.5.2.conv.bias"),
        (
            "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.bias",
            "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.bias",
        ),
        ("up_blocks.3.resnets.2.norm2.bias", "output_blocks.11.0.out_layers.0.bias"),
        ("conv_norm_out.bias", "out.0.bias"),
    ]
    for theirs_, old in pairs:
        value = torch.zeros(1)
        (name,) = from_unet({theirs_: value})
        assert [*from_unet({f"model.diffusion_model.{old}": value})] == [name]


@pytest.mark.parametrize("key", ["conv_inn.weight", "model.diffusion_model.x.weight"])
def test_an_unknown_key_is_named(key):
    with pytest.raises(ValueError, match="unknown key"):
        from_unet({key: torch.zeros(1)})
