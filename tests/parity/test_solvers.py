"""The samplers as Stable Diffusion's files configure them, against diffusers'
schedulers, step by step, with a toy in the network's place: float64.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from torch import Tensor

from minilib.diffusion import sampling, solvers
from minilib.diffusion.schedule import (
    EPS,
    Schedule,
    V,
    leading,
    leading_by_one,
    scaled_linear_beta,
    trailing,
)
from tests.parity.reference import (
    BAR,
    PREDICTIONS,
    T,
    in_float64,
    start,
    toy,
    trajectory_error,
)

# as in the scheduler's file of Stable Diffusion 1.5
PUBLISHED: dict[str, Any] = {
    "num_train_timesteps": T,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
SPACINGS = {"leading": leading_by_one, "trailing": trailing}
CHAIN = Schedule(scaled_linear_beta())


def exact(scheduler: Any) -> Any:
    """The scheduler with the numbers that it derives from its betas in float64."""
    assert torch.allclose(scheduler.betas.double(), CHAIN.beta, rtol=1e-5)
    scheduler.alphas_cumprod = CHAIN.alpha_bar
    scheduler.final_alpha_cumprod = CHAIN.alpha_bar[0]
    return scheduler


def follow(scheduler: Any, n: int, **options: Any) -> list[Tensor]:
    """The reference's x after each call, on the scale where x_t has variance 1."""
    scheduler.set_timesteps(n)
    steps = scheduler.timesteps
    if hasattr(scheduler, "sigmas"):
        at = [int(t) for t in steps]
        sigma = (1 / CHAIN.alpha_bar - 1).sqrt()
        scheduler.sigmas = torch.cat([sigma[at], sigma.new_zeros(1)])
    by_sigma = isinstance(
        scheduler, EulerDiscreteScheduler | EulerAncestralDiscreteScheduler
    )
    scale = (1 + scheduler.sigmas.square()).sqrt() if by_sigma else None
    x, states = start(), []
    x = x if scale is None else x * scale[0]
    with in_float64():
        for i, t in enumerate(steps):
            seen = scheduler.scale_model_input(x, t)
            out = toy(seen, t.expand(len(x)))
            x = scheduler.step(out, t, x, **options).prev_sample
            states.append(x if scale is None else x / scale[i + 1])
    return states


def denoise(kind: str = "epsilon") -> sampling.Denoiser:
    return sampling.denoiser(toy, CHAIN, PREDICTIONS[kind], clip=False)


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def pndm_error(n: int = 10, spacing: str = "leading") -> float:
    """Their first call only tries; and they end at t = 0, not at the data: we take a
    step more, to 0, and leave out the last.
    """
    settings = PUBLISHED | {"timestep_spacing": spacing}
    theirs = follow(exact(PNDMScheduler(skip_prk_steps=True, **settings)), n)
    steps = [*SPACINGS[spacing](T, n), 0]
    mine = list(solvers.pndm(denoise(), CHAIN, start(), steps))
    return trajectory_error(mine[:-1], theirs[1:])


def euler_error(n: int = 10, spacing: str = "leading", kind: str = "epsilon") -> float:
    settings = PUBLISHED | {"timestep_spacing": spacing, "prediction_type": kind}
    theirs = follow(exact(EulerDiscreteScheduler(**settings)), n)
    steps = SPACINGS[spacing](T, n)
    mine = solvers.euler(denoise(kind), CHAIN, start(), steps)
    return trajectory_error(mine, theirs)


def euler_ancestral_error(
    n: int = 10, spacing: str = "leading", kind: str = "epsilon"
) -> float:
    settings = PUBLISHED | {"timestep_spacing": spacing, "prediction_type": kind}
    scheduler = exact(EulerAncestralDiscreteScheduler(**settings))
    theirs = follow(scheduler, n, generator=draw())
    steps = SPACINGS[spacing](T, n)
    mine = solvers.euler_ancestral(denoise(kind), CHAIN, start(), steps, draw())
    return trajectory_error(mine, theirs)


counts = pytest.mark.parametrize("n", [5, 10, 50])
spacings = pytest.mark.parametrize("spacing", SPACINGS)
kinds = pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
def test_pndm(n):
    assert pndm_error(n) < BAR


@pytest.mark.parametrize("n", [5, 10, 50])  # of which 1000 is a multiple
def test_pndm_with_trailing_steps(n):
    assert pndm_error(n, "trailing") < BAR


def test_pndm_calls_once_more_than_there_are_steps():
    scheduler = exact(PNDMScheduler(skip_prk_steps=True, **PUBLISHED))
    asked = []

    def model(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        asked.append(int(t[0]))
        return toy(x, t)

    scheduler.set_timesteps(50)
    denoise = sampling.denoiser(model, CHAIN, EPS, clip=False)
    sampling.last(solvers.pndm(denoise, CHAIN, start(), leading_by_one(T, 50)))
    assert asked == scheduler.timesteps.tolist()
    assert len(asked) == 51


@counts
@spacings
@kinds
def test_euler(n, spacing, kind):
    assert euler_error(n, spacing, kind) < BAR


@counts
@spacings
@kinds
def test_euler_ancestral(n, spacing, kind):
    assert euler_ancestral_error(n, spacing, kind) < BAR


@counts
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim(n, eta):
    """It too ends at t = 0."""
    settings = PUBLISHED | {"clip_sample": False, "set_alpha_to_one": False}
    theirs = follow(exact(DDIMScheduler(**settings)), n, eta=eta, generator=draw())
    steps = [*leading_by_one(T, n), 0]
    mine = list(sampling.ddim(denoise(), CHAIN, start(), steps, draw(), eta))
    assert trajectory_error(mine[:-1], theirs) < BAR


@counts
@kinds
def test_dpm_solver(n, kind):
    """ "leading" means other steps there: n + 1 of them, and the last left out."""
    settings = PUBLISHED | {"prediction_type": kind, "final_sigmas_type": "zero"}
    scheduler = exact(DPMSolverMultistepScheduler(**settings))
    theirs = follow(scheduler, n)
    steps = [t + 1 for t in leading(T, n + 1)[:-1]]
    assert scheduler.timesteps.tolist() == steps
    mine = sampling.dpm_solver(denoise(kind), CHAIN, start(), steps)
    assert trajectory_error(mine, theirs) < BAR


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("n", [7, 20, 50])
def test_the_published_steps(scheduler, n):
    theirs = scheduler(**PUBLISHED)
    theirs.set_timesteps(n)
    assert theirs.timesteps.tolist() == leading_by_one(T, n)


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.55, 0.8, 1.0])
@pytest.mark.parametrize("n", [20, 30, 50])
def test_image_to_image_starts_where_theirs_does(n, strength):
    scheduler = exact(DDIMScheduler(**PUBLISHED))
    scheduler.set_timesteps(n)
    pipeline = SimpleNamespace(scheduler=scheduler)
    their_steps, _ = StableDiffusionImg2ImgPipeline.get_timesteps(
        pipeline, n, strength, "cpu"
    )
    x_0, steps = start(), leading_by_one(T, n)
    x, left = solvers.from_picture(CHAIN, x_0, steps, strength, draw())
    assert left == their_steps.tolist()
    noise = torch.randn(x_0.shape, generator=draw(), dtype=x_0.dtype)
    expected = scheduler.add_noise(x_0, noise, their_steps[:1].expand(len(x_0)))
    assert trajectory_error([x], [expected]) < BAR


def test_v_is_no_eps():
    """The toy's output is another picture under another prediction, so that the tests
    of both kinds tell them apart.
    """
    a, b = (
        sampling.last(
            solvers.euler(
                sampling.denoiser(toy, CHAIN, kind, clip=False),
                CHAIN,
                start(),
                trailing(T, 5),
            )
        )
        for kind in (EPS, V)
    )
    assert not torch.allclose(a, b, atol=0.1)
