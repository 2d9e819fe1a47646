"""Our `KLAutoencoder` against diffusers' AutoencoderKL: every published key and shape,
under all the names that files have had; and in float64 outputs and gradients.
"""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL

from minilib.interop.stable_diffusion import AUTOENCODER, from_autoencoder
from minilib.models.latent.kl_autoencoder import KLAutoencoder, KLConfig
from tests.parity.adm import KEYS
from tests.parity.reference import BAR, apart, in_float64, randomise

TINY = KLConfig(width=16, multipliers=(1, 2), blocks=1)


def theirs(c: KLConfig) -> AutoencoderKL:
    """diffusers' network of the same form, with random weights."""
    levels = len(c.multipliers)
    model = AutoencoderKL(
        in_channels=c.channels,
        out_channels=c.channels,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=c.widths,
        layers_per_block=c.blocks,
        latent_channels=c.latent_channels,
        norm_num_groups=c.groups,
    )
    return randomise(model)


def errors(
    config: KLConfig = TINY, size: tuple[int, int] = (8, 12)
) -> dict[str, float]:
    """How far our network is from diffusers': mean, log variance and rebuilt pictures,
    gradients of input and weights; on normal input and on a hundredth of it.
    """
    reference, model = theirs(config), KLAutoencoder(config).double()
    model.load_state_dict(from_autoencoder(reference.state_dict(), config))
    g, found = torch.Generator().manual_seed(1), {}
    for scale in (1.0, 0.01):
        x = scale * torch.randn(
            2, config.channels, *size, generator=g, dtype=torch.float64
        )
        mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        with in_float64():
            q = reference.encode(other).latent_dist
            out = reference.decode(q.mean + 0.1 * q.logvar).sample
        mu, logvar = model.encode(mine)
        ours = model.decode(mu + 0.1 * logvar)
        weight = torch.randn(out.shape, generator=g, dtype=torch.float64)
        (out * weight).sum().backward()
        (ours * weight).sum().backward()
        for name, a, b in (("mu", mu, q.mean), ("logvar", logvar, q.logvar)):
            found[f"{name}, input × {scale}"] = apart(a, b)
        found[f"output, input × {scale}"] = apart(ours, out)
        found[f"gradient of x, input × {scale}"] = apart(mine.grad, other.grad)
        expected = from_autoencoder(
            {name: p.grad for name, p in reference.named_parameters()}, config
        )
        found[f"gradients of weights, input × {scale}"] = max(
            apart(p.grad, expected[name]) for name, p in model.named_parameters()
        )
        model.zero_grad()
        reference.zero_grad()
    return found


def autoencoder_error() -> float:
    return max(errors().values())


CASES = {
    "two levels": (TINY, (8, 12)),
    "three levels, two blocks": (
        replace(TINY, multipliers=(1, 2, 2), blocks=2, latent_channels=3),
        (16, 8),
    ),
    "one level, black and white": (replace(TINY, multipliers=(2,), channels=1), (5, 7)),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case):
    found = errors(*CASES[case])
    assert max(found.values()) < BAR, found


def test_extreme_variances_are_clamped_alike():
    reference, model = theirs(TINY), KLAutoencoder(TINY).double()
    with torch.no_grad():
        reference.quant_conv.bias[4:6], reference.quant_conv.bias[6:] = 40.0, -60.0
    model.load_state_dict(from_autoencoder(reference.state_dict(), TINY))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    _, logvar = model.encode(x)
    assert apart(logvar, reference.encode(x).latent_dist.logvar) < BAR
    assert (logvar.max(), logvar.min()) == (20, -30)


@pytest.mark.parametrize(
    "file",
    ["sd15_vae.diffusers_current", "sd15_vae.diffusers_published", "sd15_vae.ldm"],
)
def test_every_key_and_shape_of_the_published_weights(file):
    shapes = json.loads((KEYS / f"{file}.json").read_text())
    assert len(shapes) == 248
    published = from_autoencoder(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    with torch.device("meta"):
        model = KLAutoencoder(AUTOENCODER)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in published.items()} == ours
    assert sum(p.numel() for p in model.parameters()) == 83_653_863


def as_in(file: str, c: KLConfig) -> dict[str, str]:
    """diffusers' names of today → those of another file, of a network of two levels."""
    today = theirs(c).state_dict()
    old = {
        "to_q": "query",
        "to_k": "key",
        "to_v": "value",
        "to_out.0": "proj_attn",
    }
    single = {
        "mid_block.resnets.0": "mid.block_1",
        "mid_block.resnets.1": "mid.block_2",
        "mid_block.attentions.0": "mid.attn_1",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
        "conv_norm_out": "norm_out",
        "conv_shortcut": "nin_shortcut",
        "down_blocks.0.downsamplers.0": "down.0.downsample",
        "up_blocks.0.upsamplers.0": "up.1.upsample",
        "down_blocks.0.resnets": "down.0.block",
        "down_blocks.1.resnets": "down.1.block",
        "up_blocks.0.resnets": "up.1.block",
        "up_blocks.1.resnets": "up.0.block",
    }
    names = {}
    for key in today:
        name = key
        for a, b in (old if file == "published" else single).items():
            name = name.replace(f".{a}.", f".{b}.")
        names[key] = name if file == "published" else f"first_stage_model.{name}"
    return names


@pytest.mark.parametrize("file", ["published", "ldm"])
def test_files_under_other_names_hold_the_same_network(file):
    state, names = theirs(TINY).state_dict(), as_in(file, TINY)
    assert len(set(names.values()) & set(state)) < len(state)
    other = {names[key]: value for key, value in state.items()}
    if file == "ldm":  # holds attention's maps as convolutions
        other = {
            key: value[:, :, None, None]
            if ".attn_1." in key and value.ndim == 2
            else value
            for key, value in other.items()
        }
    expected, found = (from_autoencoder(s, TINY) for s in (state, other))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_published_scale_stands_in_both_ways():
    model = KLAutoencoder(TINY).double()
    model.load_state_dict(from_autoencoder(theirs(TINY).state_dict(), TINY))
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    mu, z = model.encode(x)[0], model.latents(x)
    assert torch.allclose(z, 0.18215 * mu)
    assert torch.allclose(model.pictures(z), model.decode(mu).clamp(-1, 1))


@pytest.mark.parametrize(
    "key", ["encoder.conv_inn.weight", "first_stage_model.encoder.down.0.x.weight"]
)
def test_an_unknown_key_is_named(key):
    with pytest.raises(ValueError, match="unknown key"):
        from_autoencoder({key: torch.zeros(1)})
