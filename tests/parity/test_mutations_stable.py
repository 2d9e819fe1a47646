"""The test of the tests of Stable Diffusion's parts: break one detail at a time, and
the comparison with the reference must fail.
"""

import pytest

from minilib.diffusion import schedule, solvers
from minilib.models.latent import kl_autoencoder
from minilib.nets import spatial_transformer
from tests.parity import test_conditional_unet, test_kl_autoencoder, test_solvers
from tests.parity.reference import BAR
from tests.parity.test_mutations import Mutation, broken


def conditional() -> float:
    return test_conditional_unet.unet_error()


def autoencoder() -> float:
    return test_kl_autoencoder.autoencoder_error()


def pndm() -> float:
    return test_solvers.pndm_error()


def euler() -> float:
    return test_solvers.euler_error()


def euler_ancestral() -> float:
    return test_solvers.euler_ancestral_error()


MODULES = (
    schedule,
    solvers,
    spatial_transformer,
    kl_autoencoder,
    test_conditional_unet,
    test_kl_autoencoder,
    test_solvers,
)
COMPARISONS = (conditional, autoencoder, pndm, euler, euler_ancestral)
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
    "a first step that is not tried": Mutation(
        solvers,
        "pndm",
        "eps = (eps + predicted_noise(denoise, tried, walk[1][0], step.then)) / 2",
        "",
        pndm,
    ),
    "the first step twice in the mixture": Mutation(
        solvers, "pndm", "[eps, *past[:3]]", "[eps, *(past or [eps])[:3]]", pndm
    ),
    "a mixture of three": Mutation(solvers, "pndm", "past[:3]", "past[:2]", pndm),
    "oldest first": Mutation(
        solvers, "pndm", "[len(past)], past,", "[len(past)], past[::-1],", pndm
    ),
    "Euler's method without sigma": Mutation(
        solvers,
        "euler",
        "(lower - sigma) * slope",
        "(lower - sigma) * sigma * slope",
        euler,
    ),
    "x for u": Mutation(solvers, "euler", "x / step.now.sqrt()", "x", euler),
    "noise on top of all of the step": Mutation(
        solvers, "euler_ancestral", "(down - sigma)", "(end - sigma)", euler_ancestral
    ),
    "too little noise": Mutation(
        solvers,
        "euler_ancestral",
        "(end / sigma).square()",
        "(end / sigma)",
        euler_ancestral,
    ),
    "a sigma of one half more": Mutation(
        solvers, "noise_level", "1 / alpha_bar - 1", "1 / alpha_bar", euler
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
