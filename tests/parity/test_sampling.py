"""Our samplers against diffusers' schedulers, step by step, with a toy in the network's
place: float64.
"""

import pytest
from diffusers import DDIMScheduler

from minilib.diffusion.schedule import even
from tests.parity.reference import (
    BAR,
    PREDICTIONS,
    T,
    ancestral_error,
    ddim_error,
    dpm_error,
)

kinds = pytest.mark.parametrize("kind", PREDICTIONS)
spacings = pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
counts = pytest.mark.parametrize("n", [5, 10, 50])
clips = pytest.mark.parametrize("clip", [False, True])


@kinds
# with linspace its DDIM goes from t to t - T // n, and not to its own next t
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@counts
@clips
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(kind, spacing, n, clip, eta):
    assert ddim_error(kind, spacing, n, clip, eta) < BAR


@counts
def test_ddim_with_linspace_names_the_same_steps(n):
    scheduler = DDIMScheduler(T, timestep_spacing="linspace")
    scheduler.set_timesteps(n)
    assert scheduler.timesteps.tolist() == even(T, n)


@kinds
@spacings
@counts
@clips
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_ancestral(kind, spacing, n, clip, variance):
    assert ancestral_error(kind, spacing, n, clip, variance) < BAR


@kinds
@spacings
@counts
@clips
def test_dpm_solver(kind, spacing, n, clip):
    assert dpm_error(kind, spacing, n, clip) < BAR
