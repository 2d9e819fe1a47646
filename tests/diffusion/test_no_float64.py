"""On an Apple GPU, which has no float64: losses, the bound and samplers, on a pretend
one that computes on the CPU and refuses what a real one would.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

from minilib.diffusion.guidance import ancestral_guided, guided
from minilib.diffusion.loss import bound_by_step, hybrid_loss, prior_term, simple_loss
from minilib.diffusion.sampling import (
    ancestral,
    ddim,
    ddim_encode,
    denoiser,
    dpm_solver,
    last,
    learned_variance,
    probability_flow,
)
from minilib.diffusion.schedule import EPS, X_0, Schedule, V, cosine_beta
from minilib.diffusion.solvers import euler, euler_ancestral, pndm
from minilib.train import Draw

CHAIN = Schedule(cosine_beta())
X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
APPLE, CPU = torch.device("mps"), torch.device("cpu")


class Apple(Tensor):
    """A tensor that says it is on an Apple GPU."""


class AppleGPU(TorchFunctionMode):
    """While it lasts there is such a GPU. What is on it is computed on the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
        there = any(isinstance(a, Apple) for a in tensors)
        if func == Tensor.device.__get__:
            return APPLE if there else CPU
        if func in (Tensor.to, Tensor.cpu):
            there, dtype = self.goal(args[0], CPU if func is Tensor.cpu else args[1:])
            func, args, kwargs = Tensor.type, (args[0], dtype), {}
        elif "device" in kwargs:
            there, kwargs["device"] = torch.device(kwargs["device"]) == APPLE, "cpu"
        elif there and any(a.ndim > 0 and not isinstance(a, Apple) for a in tensors):
            raise RuntimeError(f"{func}: a tensor here, and one on the GPU")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return tree_map_only(Tensor, self.put if there else self.fetch, found)

    def goal(self, x, to):
        """Whether x goes to the GPU, and its type there."""
        there, dtype = isinstance(x, Apple), x.dtype
        for a in to if isinstance(to, tuple) else (to,):
            if isinstance(a, Tensor):
                there, dtype = isinstance(a, Apple), a.dtype
            elif isinstance(a, torch.dtype):
                dtype = a
            else:
                there = torch.device(a) == APPLE
        return there, dtype

    def put(self, x):
        if x.dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return x if isinstance(x, Apple) else x.as_subclass(Apple)

    def fetch(self, x):
        return x.as_subclass(Tensor) if isinstance(x, Apple) else x


@pytest.fixture
def gpu() -> Iterator[None]:
    with AppleGPU():
        yield


def draw(device: torch.device) -> Draw:
    """Random numbers that are the same on both."""

    class There(Draw):
        def normal(self, *shape: int) -> Tensor:
            return super().normal(*shape).to(device)

        def uniform(self, *shape: int) -> Tensor:
            return super().uniform(*shape).to(device)

    return There(torch.Generator().manual_seed(1), slice(None), len(X))


def once(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    return torch.sin(3 * x)


def twice(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    return torch.cat([torch.sin(3 * x), torch.cos(x)], dim=1)


def test_the_pretend_gpu_refuses_float64_and_mixing(gpu):
    x = X.to(APPLE)
    assert x.device == APPLE
    assert torch.equal((x * 2).cpu(), X * 2)
    # one number, of any kind, is taken from the CPU
    assert torch.equal((x * torch.tensor(2.0, dtype=torch.float64)).cpu(), X * 2)
    with pytest.raises(TypeError, match="support float64"):
        x.double()
    with pytest.raises(TypeError, match="support float64"):
        torch.zeros(2, dtype=torch.float64, device=APPLE)
    with pytest.raises(RuntimeError, match="a tensor here, and one on the GPU"):
        x + X


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
@pytest.mark.parametrize(("loss", "model"), [(simple_loss, once), (hybrid_loss, twice)])
def test_a_loss_is_what_it_is_on_a_cpu(gpu, loss, model, prediction):
    here, there = (
        loss(
            model,
            X.to(device),
            draw=draw(device),
            schedule=CHAIN,
            prediction=prediction,
        )
        for device in (CPU, APPLE)
    )
    assert there.device == APPLE
    assert there.dtype == here.dtype == torch.float32
    assert float(there) == pytest.approx(float(here), rel=1e-4)


def test_the_bound_is_what_it_is_on_a_cpu(gpu):
    here, there = (
        bound_by_step(
            denoiser(twice, CHAIN, V),
            CHAIN,
            x,
            [999, 500, 1, 0],
            torch.Generator().manual_seed(0),
        )
        for x in (X, X.to(APPLE))
    )
    assert torch.allclose(there.cpu(), here, rtol=1e-3)
    assert torch.allclose(
        prior_term(CHAIN, X.to(APPLE)).cpu(), prior_term(CHAIN, X), rtol=1e-4
    )


def likes_white(x_t: Tensor, t: Tensor) -> Tensor:
    return x_t.flatten(1).sum(dim=1)


SAMPLERS = {
    "ancestral": lambda denoise, x, steps, g: ancestral(
        denoise, CHAIN, x, steps, g, learned_variance
    ),
    "ddim": lambda denoise, x, steps, g: ddim(denoise, CHAIN, x, steps, g, 0.5),
    "ddim_encode": lambda denoise, x, steps, g: ddim_encode(denoise, CHAIN, x, steps),
    "dpm_solver": lambda denoise, x, steps, g: dpm_solver(denoise, CHAIN, x, steps),
    "pndm": lambda denoise, x, steps, g: pndm(denoise, CHAIN, x, steps),
    "euler": lambda denoise, x, steps, g: euler(denoise, CHAIN, x, steps),
    "euler_ancestral": lambda denoise, x, steps, g: euler_ancestral(
        denoise, CHAIN, x, steps, g
    ),
    "guided": lambda denoise, x, steps, g: ddim(
        guided(denoise, CHAIN, likes_white, 0.1), CHAIN, x, steps
    ),
    "ancestral_guided": lambda denoise, x, steps, g: ancestral_guided(
        denoise, CHAIN, likes_white, 0.1, x, steps, g
    ),
    "probability_flow": lambda denoise, x, steps, g: [
        probability_flow(denoise, CHAIN, x, 0.1)[0]
    ],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_draws_what_it_draws_on_a_cpu(gpu, name):
    here, there = (
        last(
            SAMPLERS[name](
                denoiser(twice, CHAIN, V),
                x,
                [900, 500, 100, 0],
                torch.Generator().manual_seed(0),
            )
        )
        for x in (X, X.to(APPLE))
    )
    assert there.device == APPLE
    assert torch.allclose(there.cpu(), here, atol=1e-4)
