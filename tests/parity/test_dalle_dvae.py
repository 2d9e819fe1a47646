"""OpenAI's discrete VAE: every key of its published networks, and their outputs, frozen
from the package DALL-E 0.1, whose arithmetic was run in float64.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minilib.interop.dalle_dvae import (
    DalleConfig,
    DalleDecoder,
    DalleEncoder,
    from_dalle,
)
from minilib.models.dvae import map_pixels, unmap_pixels
from tests.parity.adm import KEYS
from tests.parity.reference import BAR, apart

FROZEN = load_file(Path(__file__).parent / "dalle_dvae.safetensors")
TINY = DalleConfig(codes=512, width=64, blocks=1, decoder_stem=8)
KINDS = {"encoder": DalleEncoder, "decoder": DalleDecoder}
INPUTS = {"encoder": (1, 3, 16, 16), "decoder": (1, 512, 2, 2)}
# of one layer each at the start, in the middle and at the end
WATCHED = ("blocks.input.w", "blocks.group_4.block_1.res_path.conv_2.w",
           "blocks.output.conv.b")  # fmt: skip
NUMBERS = {"encoder": 53_786_240, "decoder": 43_829_766}
kinds = pytest.mark.parametrize("kind", KINDS)


def wave(shape, step, scale):
    """The numbers of the fixture: scale · sin(step · (i + 1))."""
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (scale * torch.sin(n * step + step)).reshape(shape)


def theirs(kind):
    """Weights under their names and in their order, as the fixture filled them."""
    shapes = tiny_shapes(kind)
    return {
        key: wave(shape, 1.7 + 0.31 * i, (2 / fan(shape)) ** 0.5)
        for i, (key, shape) in enumerate(shapes.items())
    }


def fan(shape):
    return torch.Size(shape[1:]).numel() if len(shape) > 1 else 100


def tiny_shapes(kind):
    """Those of our network, under their names, in the order of the published file."""
    published = json.loads((KEYS / f"dalle_dvae_{kind}.openai.json").read_text())
    ours = KINDS[kind](TINY).state_dict()
    found = {}
    for key in published:
        (name,) = from_dalle({key: torch.empty(0)})
        if name in ours:
            found[key] = tuple(ours[name].shape)
    assert len(found) == len(ours)
    return found


@kinds
def test_every_key_and_shape_of_the_published_weights(kind):
    shapes = json.loads((KEYS / f"dalle_dvae_{kind}.openai.json").read_text())
    found = from_dalle({k: torch.empty(s, device="meta") for k, s in shapes.items()})
    with torch.device("meta"):
        model = KINDS[kind](DalleConfig())
    ours = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert {k: tuple(v.shape) for k, v in found.items()} == ours
    assert sum(p.numel() for p in model.parameters()) == NUMBERS[kind]


@kinds
@pytest.mark.parametrize("size", ["1", "0.01"])
def test_outputs_and_gradients(kind, size):
    model = KINDS[kind](TINY).double()
    model.load_state_dict(from_dalle(theirs(kind)))
    x = (float(size) * wave(INPUTS[kind], 0.37, 1.0)).requires_grad_(True)
    out = model(x)
    out.square().sum().backward()
    assert apart(out, FROZEN[f"{kind}.{size}.out"]) <= BAR
    assert apart(x.grad, FROZEN[f"{kind}.{size}.grad"]) <= BAR
    ours = dict(model.named_parameters())
    grads, expected = [], []
    for key in WATCHED:
        (name,) = from_dalle({key: torch.empty(0)})
        grads.append(ours[name].grad.flatten()[:64])
        expected.append(FROZEN[f"{kind}.{size}.grad of {key}"])
    # at once: with a small input a ReLU may leave one of them all zero
    assert apart(torch.cat(grads), torch.cat(expected)) <= BAR


@kinds
def test_in_float32_as_the_package_runs(kind):
    model = KINDS[kind](TINY)
    model.load_state_dict(from_dalle(theirs(kind)))
    out = model(wave(INPUTS[kind], 0.37, 1.0).float())
    assert apart(out, FROZEN[f"{kind}.float32"]) <= 1e-5


def test_the_map_of_pixels():
    """Theirs takes pixels from 0 to 1, ours from -1 to 1."""
    mapped = map_pixels(FROZEN["pixels"] * 2 - 1)
    assert torch.allclose(mapped, FROZEN["mapped"], atol=1e-7)
    y = torch.linspace(-0.2, 1.2, 48).reshape(1, 3, 4, 4)
    assert torch.allclose((unmap_pixels(y) + 1) / 2, FROZEN["unmapped"], atol=1e-6)


@pytest.mark.parametrize(
    ("key", "gist"),
    [
        ("blocks.input.g", "end in .w or .b"),
        ("blocks.middle.w", "unknown key 'blocks.middle'"),
    ],
)
def test_unknown_keys_are_refused(key, gist):
    with pytest.raises(ValueError, match=gist):
        from_dalle({key: torch.zeros(1)})
