"""The test of the tests of Stable Diffusion's parts: break one detail at a time, and
the comparison with the reference must fail.
"""

import pytest

from minilib.models.latent import kl_autoencoder
from minilib.nets import spatial_transformer
from tests.parity import test_conditional_unet, test_kl_autoencoder
from tests.parity.reference import BAR
from tests.parity.test_mutations import Mutation, broken


def conditional() -> float:
    return test_conditional_unet.unet_error()


def autoencoder() -> float:
    return test_kl_autoencoder.autoencoder_error()


MODULES = (
    spatial_transformer,
    kl_autoencoder,
    test_conditional_unet,
    test_kl_autoencoder,
)
COMPARISONS = (conditional, autoencoder)
MUTATIONS = {
    "a gate by the tanh GELU": Mutation(
        spatial_transformer,
        "GEGLU",
        "F.gelu(gate)",
        'F.gelu(gate, approximate="tanh")',
        conditional,
    ),
    "the gate before the value": Mutation(
        spatial_transformer, "GEGLU", "value, gate =", "gate, value =", conditional
    ),
    "a transformer's norm with the eps of its U-Net": Mutation(
        spatial_transformer, "SpatialTransformer", "eps=1e-6", "eps=c.eps", conditional
    ),
    "heads of so many channels, not so many heads": Mutation(
        spatial_transformer,
        "SpatialTransformer",
        "(channels, heads, context)",
        "(channels, channels // heads, context)",
        conditional,
    ),
    "positions that do not see each other": Mutation(
        spatial_transformer,
        "ConditionalTransformerBlock",
        "self.self_attention(normed, normed)",
        "self.self_attention(normed, normed[:, :1])",
        conditional,
    ),
    "words asked before the norm": Mutation(
        spatial_transformer,
        "ConditionalTransformerBlock",
        "self.cross_attention(self.norm2(h)",
        "self.cross_attention(h + 1e-9 * self.norm2(h)",
        conditional,
    ),
    "padding that is seen": Mutation(
        spatial_transformer,
        "CrossAttention",
        "None if seen is None else seen[:, None, None]",
        "None",
        conditional,
    ),
    "eps of the autoencoder's norms 1e-5, not 1e-6": Mutation(
        kl_autoencoder, "group_norm", "channels, EPS", "channels, 1e-5", autoencoder
    ),
    "sides that halve over zeros all around": Mutation(
        kl_autoencoder, "halving", "(0, 1, 0, 1)", "(1, 0, 1, 0)", autoencoder
    ),
    "two heads in the autoencoder's middle": Mutation(
        kl_autoencoder,
        "attentive",
        "head_dim=channels",
        "head_dim=channels // 2",
        autoencoder,
    ),
    "log variance before mean": Mutation(
        kl_autoencoder, "KLAutoencoder", "mu, logvar =", "logvar, mu =", autoencoder
    ),
    "bilinear doubling": Mutation(
        kl_autoencoder,
        "doubling",
        "scale_factor=2",
        'scale_factor=2, mode="bilinear"',
        autoencoder,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_detail_is_found(name, monkeypatch):
    mutation = MUTATIONS[name]
    whole, replacement = getattr(mutation.module, mutation.name), broken(mutation)
    for module in MODULES:
        for key, value in list(vars(module).items()):
            if value is whole:
                monkeypatch.setattr(module, key, replacement)
    error = mutation.compare()
    assert not error <= 1e3 * BAR, (
        f"{name}: the comparison says {error:.1e}, and would have let it pass"
    )


@pytest.mark.parametrize("compare", COMPARISONS)
def test_nothing_broken_passes(compare):
    assert compare() < BAR
