import random
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minilib import runtime
from minilib.runtime import require_images


def test_device_prefers_cuda_then_mps_then_cpu(monkeypatch):
    for cuda, mps, expected in [
        (True, True, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ]:
        monkeypatch.delenv("MINILIB_DEVICE", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda cuda=cuda: int(cuda))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert runtime.device().type == expected


def test_the_variable_names_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("MINILIB_DEVICE", "cpu")
    assert runtime.device() == torch.device("cpu")


@pytest.mark.parametrize("has", ["_is_amx_tile_supported", "_is_avx512_bf16_supported"])
def test_a_cpu_trains_in_bf16_where_it_multiplies_bf16(monkeypatch, has):
    monkeypatch.delenv("MINILIB_PRECISION", raising=False)
    cpu = torch.device("cpu")
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert runtime.precision(cpu) == "float32"
    monkeypatch.setattr(torch.cpu, has, lambda: True)
    assert runtime.precision(cpu) == "bf16"
    assert runtime.precision(torch.device("mps")) == "float32"


def test_a_torch_that_does_not_say_trains_in_float32(monkeypatch):
    monkeypatch.delenv("MINILIB_PRECISION", raising=False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert runtime.precision(torch.device("cpu")) == "float32"


def test_the_variable_names_the_precision(monkeypatch):
    for name in ("float32", "bf16"):
        monkeypatch.setenv("MINILIB_PRECISION", name)
        assert runtime.precision(torch.device("cpu")) == name
    monkeypatch.setenv("MINILIB_PRECISION", "float16")
    with pytest.raises(ValueError, match="'float16': set it to 'float32' or 'bf16'"):
        runtime.precision(torch.device("cpu"))


def test_in_blocks_is_the_function_on_the_whole():
    x = torch.randn(11, 3, requires_grad=True)
    out = runtime.in_blocks(lambda block: 2 * block, x, size=4)
    assert torch.equal(out, 2 * x)
    assert not out.requires_grad


def test_in_blocks_goes_through_several_tensors_together():
    x, y = torch.arange(7), 10 * torch.arange(7)
    sizes = []

    def add(a, b):
        sizes.append(len(a))
        return a + b

    assert torch.equal(runtime.in_blocks(add, x, y, size=3), 11 * x)
    assert sizes == [3, 3, 1]
    with pytest.raises(ValueError, match="shorter"):
        runtime.in_blocks(add, x, y[:3], size=3)


@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_cuda_asked_for_and_absent(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RuntimeError, match="use 'cpu'"):
        runtime.device(name)


def test_mps_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no Apple GPU"):
        runtime.device("mps")


@pytest.mark.parametrize("name", ["gpu", "", "cudaa", "xpu", "meta"])
def test_unknown_device_lists_known_ones(name):
    with pytest.raises(ValueError, match=r"unknown device .*'cpu', 'cuda'"):
        runtime.device(name)


def test_seed_everything_repeats_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002

    runtime.seed_everything(7)
    first = draw()
    runtime.seed_everything(7)
    assert draw() == first
    runtime.seed_everything(8)
    assert draw() != first


def test_budget_follows_the_variable(monkeypatch):
    monkeypatch.setenv("MINILIB_BUDGET", "full")
    assert runtime.budget(quick=1, full=2) == 2
    monkeypatch.setenv("MINILIB_BUDGET", "quick")
    assert runtime.budget(quick=1, full=2) == 1


@pytest.mark.parametrize(
    ("kind", "expected"), [("cpu", "quick"), ("cuda", "full"), ("mps", "quick")]
)
def test_budget_without_the_variable_follows_the_device(monkeypatch, kind, expected):
    monkeypatch.delenv("MINILIB_BUDGET", raising=False)
    monkeypatch.setattr(runtime, "device", lambda: torch.device(kind))
    assert runtime.budget_name() == expected


@pytest.mark.parametrize("name", ["ful", "QUICK", "1"])
def test_misspelt_budget(monkeypatch, name):
    monkeypatch.setenv("MINILIB_BUDGET", name)
    with pytest.raises(
        ValueError, match=f"MINILIB_BUDGET is '{name}': set it to 'quick' or 'full'"
    ):
        runtime.budget(quick=1, full=2)


@pytest.mark.parametrize(
    ("platform", "unit"), [("linux", 1024), ("darwin", 1), ("freebsd14", 1024)]
)
def test_peak_memory_knows_the_unit_of_its_system(monkeypatch, platform, unit):
    usage = SimpleNamespace(ru_maxrss=2_000_000_000 // unit)
    asked = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: usage)
    monkeypatch.setitem(sys.modules, "resource", asked)
    monkeypatch.setattr(sys, "platform", platform)
    assert runtime.peak_memory() == pytest.approx(2.0)


def test_peak_memory_is_in_gb_and_holds_what_was_allocated():
    pytest.importorskip("resource")
    held = torch.ones(50_000_000)  # 0.2 GB
    assert 0.2 < runtime.peak_memory() < 50
    assert len(held)


def test_the_cost_of_a_chapter_is_one_line_and_leaves_out_what_is_unknown(monkeypatch):
    monkeypatch.setattr(time, "process_time", lambda: 190.0)
    monkeypatch.setattr(runtime, "peak_memory", lambda: 1.26)
    assert runtime.spent(100.0) == "this run: 1.5 core-minutes, 1.3 GB at most"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert runtime.peak_memory() is None
    assert runtime.spent(0.0).endswith("core-minutes")


def test_report_is_one_line_with_budget_and_torch(monkeypatch):
    monkeypatch.setenv("MINILIB_BUDGET", "quick")
    line = runtime.report()
    assert "\n" not in line
    assert "quick budget" in line
    assert torch.__version__.split("+")[0] in line


def test_each_process_of_torchrun_has_a_gpu_of_its_own_unless_one_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("MINILIB_DEVICE", "")  # as if it were not set
    assert runtime.device() == torch.device("cuda:1")
    monkeypatch.setenv("MINILIB_DEVICE", "cuda:0")
    assert runtime.device() == torch.device("cuda:0")


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 1, 4, 5),
        torch.zeros(1, 4, 4),
        torch.zeros(1, 1, 4, 4, dtype=torch.int64),
    ],
)
def test_require_images_refuses_shape_and_dtype(x):
    with pytest.raises(ValueError, match=f"got {x.dtype} of shape"):
        require_images(x, (1, 4, 4))


def test_require_images_lets_pictures_pass():
    assert (
        require_images(torch.zeros(0, 1, 4, 4, dtype=torch.float64), (1, 4, 4)) is None
    )


@pytest.mark.parametrize("values", [[0, -1], [5, 0], [2.5, float("nan")]])
def test_require_range_says_the_range_and_what_was_found(values):
    with pytest.raises(ValueError, match="expected steps t from 0 to 4, got"):
        runtime.require_range("steps t", torch.tensor(values), 0, 4)


def test_true_and_false_are_no_numbers_of_a_range():
    with pytest.raises(ValueError, match="steps t from 0 to 4, got True and False"):
        runtime.require_range("steps t", torch.tensor([True, False]), 0, 4)


def test_require_range_lets_its_ends_and_nothing_pass():
    runtime.require_range("steps t", torch.tensor([0, 4]), 0, 4)
    runtime.require_range("steps t", torch.tensor([]), 0, 4)
    for outside in (-1, 5):
        with pytest.raises(ValueError, match=r"from 0 to 4"):
            runtime.require_range("steps t", torch.tensor([0, outside]), 0, 4)


def test_require_range_does_not_make_a_training_wait_for_its_gpu():
    far = torch.empty(3, device="meta")  # where to look is an error
    runtime.require_range("steps t", far, 0, 4)
    with torch.no_grad(), pytest.raises(RuntimeError):
        runtime.require_range("steps t", far, 0, 4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_require_finite_names_the_step_and_what_is_not(bad):
    fine = torch.ones(2, 3)
    runtime.require_finite(0, "loss")
    runtime.require_finite(0, "gradient", fine, None, torch.tensor(3))
    with pytest.raises(
        FloatingPointError,
        match=r"^the gradient is not finite from step 7 on: lower the learning",
    ):
        runtime.require_finite(7, "gradient", fine, None, torch.tensor([0.0, bad]))
