"""Every key and shape of published checkpoints, under our names, is one of our network:
on the meta device.
"""

import json
from dataclasses import replace

import pytest
import torch

from minilib.interop.adm import by_kind, from_adm
from minilib.interop.unet import from_diffusers
from minilib.models.noisy_classifier import NoisyClassifier
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import ScaleShift, UNetConfig, block_down, block_up
from tests.parity import adm
from tests.parity.adm import KEYS

BAR = 1e-10
CIFAR10 = UNetConfig(
    channels=3,
    channels_out=3,
    patch=1,
    width=128,
    multipliers=(1, 2, 2, 2),
    attention=(1,),
    head_dim=256,
    groups=32,
    eps=1e-6,
)
ADM = {
    "channels": 3,
    "patch": 1,
    "multipliers": (1, 1, 2, 2, 4, 4),
    "attention": (3, 4, 5),
    "head_dim": 64,
    "groups": 32,
    "modulation": ScaleShift,
    "down": block_down,
    "up": block_up,
}
ADM_256 = UNetConfig(width=256, channels_out=6, **ADM)
ADM_256_CLASSES = UNetConfig(width=256, channels_out=6, classes=1000, **ADM)
ADM_256_CLASSIFIER = UNetConfig(width=128, **ADM)
PUBLISHED = {  # file: our network, the map of its keys, its number of parameters
    "ddpm_cifar10.diffusers": (lambda: UNet(CIFAR10), from_diffusers, 35_746_307),
    "adm256_uncond.openai": (
        lambda: UNet(ADM_256),
        lambda s: from_adm(s, ADM_256),
        552_814_086,
    ),
    "adm256_cond.openai": (
        lambda: UNet(ADM_256_CLASSES),
        lambda s: from_adm(s, ADM_256_CLASSES),
        553_838_086,
    ),
    "adm256_classifier.openai": (
        lambda: NoisyClassifier(ADM_256_CLASSIFIER, size=256, classes=1000),
        lambda s: from_adm(s, ADM_256_CLASSIFIER),
        54_096_360,
    ),
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_our_network_has_every_key_and_shape_of_the_published_one(file):
    build, rename, parameters = PUBLISHED[file]
    shapes = json.loads((KEYS / f"{file}.json").read_text())
    published = rename(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    with torch.device("meta"):
        model = build()
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in published.items()} == ours
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    "key", ["conv_inn.weight", "down_blocks.0.resnets.weight", "encoder.stem.weight"]
)
def test_an_unknown_key_is_named(key):
    for rename in (from_diffusers, lambda state: from_adm(state, ADM_256)):
        with pytest.raises(ValueError, match=f"unknown key '{key}'"):
            rename({key: torch.zeros(1)})


def test_qkv_of_each_head_become_those_of_all_heads():
    """ADM's legacy attention cuts its 3·C rows into heads first, and each head's into
    q, k and v.
    """
    heads, d = 3, 2
    rows = torch.tensor(
        [
            [head, kind, i]
            for head in range(heads)
            for kind in range(3)
            for i in range(d)
        ]
    )
    sorted_rows = torch.tensor(
        [
            [head, kind, i]
            for kind in range(3)
            for head in range(heads)
            for i in range(d)
        ]
    )
    assert torch.equal(by_kind(rows, d), sorted_rows)


# ---------- what the map is for: random weights under all of ADM's keys, in its network
# and in ours ----------


def adm_error(file: str) -> float:
    """How far ADM's network, 16 channels wide, is from ours with the same weights:
    output and gradient in x.
    """
    is_classifier, conditional = "classifier" in file, "_cond" in file
    whole = (
        ADM_256_CLASSIFIER
        if is_classifier
        else ADM_256_CLASSES
        if conditional
        else ADM_256
    )
    by = whole.width // 16
    small, state = (
        replace(whole, width=16, head_dim=64 // by, groups=8),
        adm.shrunk(file, by),
    )
    model = (
        NoisyClassifier(small, size=64, classes=1000) if is_classifier else UNet(small)
    ).double()
    model.load_state_dict(from_adm(state, small))
    g, errors = torch.Generator().manual_seed(1), []
    t, y = torch.tensor([3, 977]), torch.tensor([999, 0]) if conditional else None
    for scale in (1.0, 0.01):
        x = scale * torch.randn(2, 3, 64, 64, generator=g, dtype=torch.float64)
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        ours = model(mine, t) if is_classifier else model(mine, t, y)
        shape = (6, small.head_dim)
        out = (
            adm.classifier(state, theirs, t, *shape)
            if is_classifier
            else adm.unet(state, theirs, t, y, *shape)
        )
        weight = torch.randn(out.shape, generator=g, dtype=torch.float64)
        slopes = (
            torch.autograd.grad((a * weight).sum(), b)[0]
            for a, b in ((ours, mine), (out, theirs))
        )
        for a, b in ((ours, out), tuple(slopes)):
            errors.append(float(((a - b).abs().max() / b.abs().max()).detach()))
    return max(errors)


@pytest.mark.parametrize("file", [name for name in PUBLISHED if name.startswith("adm")])
def test_adms_weights_do_in_our_network_what_they_do_in_adms(file):
    assert adm_error(file) < BAR
