import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minilib import train
from minilib.train import (
    Draw,
    fit,
    generator,
    learning_rate,
    loop,
    shuffled,
    update_ema,
)
from minilib.train.fingerprint import fingerprint, of_batch, of_loss
from minilib.weights import read_tensors, write_tensors


def data(n=40):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=g), torch.randn(n, 2, generator=g)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.SiLU(), nn.Linear(8, 2)
    )


def noisy_loss(model, x, y, draw):
    return (
        model(x + 0.1 * draw.normal(3)) - y
    ).square().mean() + 0 * draw.uniform().mean()


def run(steps=12, **options):
    x, y = data()
    options = {"steps": steps, "lr": 0.01, "progress": False, **options}
    return fit(model(), noisy_loss, shuffled(x, y, batch_size=8), **options)


def same(a, b):
    return all(
        torch.equal(p, q)
        for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.integers(0, 100))
def test_shuffled_shows_every_row_once_an_epoch(n, batch_size, seed):
    batches = shuffled(torch.arange(n), batch_size=batch_size, seed=seed)
    steps = -(-3 * n // batch_size)
    stream = torch.cat([batches(step)[0] for step in range(steps)])[: 3 * n]
    for epoch in stream.split(n):
        assert epoch.sort().values.tolist() == list(range(n))
    assert batches(1)[0].tolist() == batches(1)[0].tolist()


def test_shuffled_keeps_rows_together_and_depends_on_the_seed():
    a, b = shuffled(torch.arange(50), -torch.arange(50), batch_size=50)(0)
    assert torch.equal(a, -b)
    assert not torch.equal(a, shuffled(torch.arange(50), batch_size=50, seed=1)(0)[0])


@pytest.mark.parametrize(
    "tensors", [(torch.zeros(0),), (torch.zeros(3), torch.zeros(4))]
)
def test_shuffled_refuses_what_has_no_rows_in_common(tensors):
    with pytest.raises(ValueError, match="one length ≥ 1"):
        shuffled(*tensors, batch_size=2)


def test_draw_gives_each_process_its_rows_of_the_same_noise():
    whole = Draw(generator(0, 5), slice(0, 6), 6).normal(4)
    halves = [
        Draw(generator(0, 5), rows, 6).normal(4) for rows in (slice(0, 3), slice(3, 6))
    ]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(Draw(generator(0, 6), slice(0, 6), 6).normal(4), whole)


def test_learning_rate_warms_up_and_falls_to_zero():
    lr = [learning_rate(step, steps=100, peak=2.0, warmup=10) for step in range(101)]
    assert lr[0] == pytest.approx(0.2)
    assert lr[10] == max(lr) == 2.0
    assert lr[55] == pytest.approx(1.0)  # half way down the cosine
    assert lr[100] == pytest.approx(0.0)
    assert learning_rate(0, steps=1, peak=1.0, warmup=0) == 1.0


def test_ema_averages_parameters_and_copies_buffers():
    ema, current = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        current.weight.fill_(3.0)
        current.running_mean.fill_(5.0)
    update_ema(ema, current, 0.75)
    assert ema.weight.tolist() == [1.5, 1.5]
    assert ema.running_mean.tolist() == [5.0, 5.0]


def test_fit_learns_and_leaves_the_callers_generator_alone():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    linear = nn.Linear(3, 1)
    state = torch.get_rng_state()
    fitted = fit(
        linear,
        lambda m, x, y: (m(x) - y).square().mean(),
        shuffled(x, y, batch_size=50),
        steps=300,
        lr=0.05,
        progress=False,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, state)
    assert fitted.loss[-1] < 1e-4 < fitted.loss[0]
    assert torch.allclose(linear.weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.01)
    assert fitted.model is linear
    assert len(fitted.loss) == 300


def test_gradient_clipping_bounds_the_step():
    """With SGD-like first steps hidden by AdamW, look at the norm that the optimizer is
    given.
    """
    norms = []
    trainer = train.Trainer(
        nn.Linear(3, 2),
        lambda m, x, y: 1e6 * (m(x) - y).square().mean(),
        settings_of(5),
        torch.device("cpu"),
    )
    trainer.players[0].optimizer.register_step_pre_hook(
        lambda *_: norms.append(
            torch.cat([p.grad.flatten() for p in trainer.parameters]).norm()
        )
    )
    trainer.take_step(data())
    assert float(norms[0]) == pytest.approx(1.0, rel=1e-4)


def settings_of(steps):
    return {
        "name": "",
        "steps": steps,
        "lr": 0.01,
        "betas": [0.9, 0.999],
        "warmup": 1,
        "clip": 1.0,
        "weight_decay": 0.0,
        "ema": 0.9,
        "seed": 0,
        "precision": "float32",
    }


def test_two_runs_agree_to_the_bit_and_seeds_differ():
    assert same(run().ema, run().ema)
    assert not same(run().model, run(seed=1).model)


def test_resuming_is_exact_at_every_step(tmp_path, monkeypatch):
    """Stop after each possible number of steps, resume, and compare with an undisturbed
    run.
    """
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)
    whole, (x, y) = run(), data()
    for stop in range(1, 12):
        path = tmp_path / f"{stop}.safetensors"

        def interrupted(step, stop=stop):
            if step == stop:
                raise KeyboardInterrupt
            return shuffled(x, y, batch_size=8)(step)

        with pytest.raises(KeyboardInterrupt):
            fit(
                model(),
                noisy_loss,
                interrupted,
                steps=12,
                lr=0.01,
                progress=False,
                checkpoint=path,
            )
        assert read_tensors(path)[1]["step"] == stop // 3 * 3
        resumed = run(checkpoint=path)
        assert same(resumed.model, whole.model)
        assert same(resumed.ema, whole.ema)
        assert torch.equal(resumed.loss, whole.loss)


def test_a_finished_checkpoint_is_not_trained_again(tmp_path):
    path = tmp_path / "c.safetensors"
    first = run(checkpoint=path)
    before = path.read_bytes()
    assert same(run(checkpoint=path).ema, first.ema)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"lr": 0.5}, {"name": "other"}, {"steps": 13}]
)
def test_checkpoint_of_another_run_is_refused(tmp_path, change):
    path = tmp_path / "c.safetensors"
    run(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"another run .*{next(iter(change))}"):
        run(**{"steps": 12, **change}, checkpoint=path)
    assert path.read_bytes() == before


def test_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    run(checkpoint=path)
    x, y = data()
    with pytest.raises(ValueError, match="another model"):
        fit(
            nn.Linear(3, 2),
            noisy_loss,
            shuffled(x, y, batch_size=8),
            steps=12,
            lr=0.01,
            progress=False,
            checkpoint=path,
        )


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    write_tensors(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="no training checkpoint"):
        run(checkpoint=path)


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    path, (x, y) = tmp_path / "c.safetensors", data()
    batches = lambda step: (x[:8], y[:8] if step < 5 else y[:8] * float("nan"))  # noqa: E731
    with pytest.raises(FloatingPointError, match=r"batch, .* from step 5 on: look at"):
        fit(
            model(),
            noisy_loss,
            batches,
            steps=12,
            lr=0.01,
            progress=False,
            checkpoint=path,
        )
    tensors, meta = read_tensors(path)
    assert meta["step"] == 4
    assert all(t.isfinite().all() for t in tensors.values())


def test_an_unwritable_checkpoint_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")

    def batches(step):
        pytest.fail("trained although the checkpoint cannot be written")

    with pytest.raises(OSError, match="cannot write"):
        fit(
            model(),
            noisy_loss,
            batches,
            steps=5,
            lr=0.01,
            checkpoint=tmp_path / "file" / "c.safetensors",
        )


def test_a_checkpoint_of_another_precision_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    run(checkpoint=path)
    monkeypatch.setenv("MINILIB_PRECISION", "bf16")
    with pytest.raises(ValueError, match="precision: 'float32' there, 'bf16' here"):
        run(checkpoint=path)


@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_the_model_multiplies_in_the_precision_and_all_that_stays_is_float32(
    monkeypatch, name
):
    monkeypatch.setenv("MINILIB_DEVICE", "cpu")
    monkeypatch.setenv("MINILIB_PRECISION", name)
    trainers, seen, init = [], [], train.Trainer.__init__

    def kept(self, *options):
        init(self, *options)
        trainers.append(self)

    def loss(model, x, y):
        out = model(x)
        seen.append(out.dtype)
        return (out - y).square().mean()

    monkeypatch.setattr(train.Trainer, "__init__", kept)
    batches = shuffled(*data(), batch_size=8)
    fitted = fit(nn.Linear(3, 2), loss, batches, steps=2, progress=False)
    assert seen == 2 * [torch.bfloat16 if name == "bf16" else torch.float32]
    assert fitted.precision == name
    optimizer = trainers[0].players[0].optimizer.state_dict()["state"]
    stay = [*fitted.model.parameters(), *fitted.ema.parameters(), fitted.loss]
    stay += [value for state in optimizer.values() for value in state.values()]
    assert {t.dtype for t in stay} == {torch.float32}


def test_bf16_learns_what_float32_learns_and_repeats_to_the_bit(monkeypatch):
    exact = run(steps=100)
    monkeypatch.setenv("MINILIB_PRECISION", "bf16")
    once, again = run(steps=100), run(steps=100)
    assert same(once.ema, again.ema)
    assert not same(once.ema, exact.ema)
    assert float(once.loss[-50:].mean()) == pytest.approx(
        float(exact.loss[-50:].mean()), rel=0.02
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_mixed_precision_on_cuda(monkeypatch):
    monkeypatch.delenv("MINILIB_PRECISION", raising=False)
    seen = []
    (x, y), linear = data(), nn.Linear(3, 2)

    def loss(model, x, y):
        out = model(x)
        seen.append(out.dtype)
        return (out.float() - y).square().mean()

    fit(linear, loss, shuffled(x, y, batch_size=8), steps=3, progress=False)
    assert set(seen) <= {torch.bfloat16, torch.float16}


class Pair(nn.Module):
    """Two networks that want different things of the product of their parameters'
    sums.
    """

    def __init__(self):
        super().__init__()
        self.one, self.two = (
            nn.Linear(3, 2),
            nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
        )
        self.other = nn.Linear(1, 1)


TURNS = {
    "two": lambda m, x, y, draw: (m.two(x) - m.one(x) - draw.normal(2)).square().mean(),
    "one": lambda m, x, y: -(m.two(x) - m.one(x)).square().mean().cos(),
}


def run_pair(turns=TURNS, steps=6, **options):
    torch.manual_seed(0)
    options = {"steps": steps, "lr": 0.01, "progress": False, **options}
    return fit(Pair(), turns, shuffled(*data(), batch_size=8), **options)


def test_each_player_moves_its_own_parameters_alone():
    torch.manual_seed(0)
    start = Pair()
    only_two = run_pair({"two": TURNS["two"]}, steps=3).model
    assert same(only_two.one, start.one)
    assert not same(only_two.two, start.two)
    both = run_pair(steps=3)
    assert same(both.model.other, start.other)
    assert not same(both.model.one, start.one)
    assert both.loss.shape == (3, 2)
    assert all(p.requires_grad for p in both.model.parameters())


def test_players_take_turns_as_a_plain_loop_does(monkeypatch):
    """Two AdamW over one batch, one after the other: the second sees what the first has
    learnt.
    """
    steps, betas, (x, y) = 5, (0.5, 0.9), data()
    monkeypatch.setattr(loop, "CLIP", 1e9)
    fitted = run_pair(steps=steps, betas=betas)
    torch.manual_seed(0)
    pair = Pair().train()
    optimizers = {
        n: torch.optim.AdamW(
            getattr(pair, n).parameters(), betas=betas, weight_decay=0.0
        )
        for n in TURNS
    }
    for step in range(steps):
        draw = Draw(generator(0, step), slice(0, 8), 8)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = learning_rate(
                step, steps=steps, peak=0.01, warmup=2
            )
            batch = shuffled(x, y, batch_size=8)(step)
            loss = (
                TURNS[name](pair, *batch, draw=draw)
                if name == "two"
                else TURNS[name](pair, *batch)
            )
            pair.zero_grad()
            loss.backward()
            optimizer.step()
            assert float(fitted.loss[step, list(TURNS).index(name)]) == pytest.approx(
                float(loss.detach()), rel=1e-5
            )
    for trained, expected in zip(
        fitted.model.parameters(), pair.parameters(), strict=True
    ):
        assert torch.allclose(trained, expected, atol=1e-6)


def test_players_resume_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    whole, path = run_pair(), tmp_path / "pair.safetensors"
    monkeypatch.setattr(train.Trainer, "train", stopped_at(4, train.Trainer.train))
    with pytest.raises(KeyboardInterrupt):
        run_pair(checkpoint=path)
    monkeypatch.undo()
    assert read_tensors(path)[1]["step"] == 4
    resumed = run_pair(checkpoint=path)
    assert same(resumed.ema, whole.ema)
    assert torch.equal(resumed.loss, whole.loss)


def stopped_at(last, training):
    """`Trainer.train` that is interrupted when it asks for the batch of step `last`."""

    def interrupted(self, batches, *rest):
        def until(step):
            if step == last:
                raise KeyboardInterrupt
            return batches(step)

        training(self, until, *rest)

    return interrupted


def test_a_player_that_the_model_lacks_is_refused():
    with pytest.raises(AttributeError, match="three"):
        run_pair({"three": TURNS["two"]})


# ---------- whose checkpoint is it ----------


def weighted_loss(model, x, y, weight=1.0, scale=None):
    scale = torch.ones(2) if scale is None else scale
    return weight * ((model(x) - y) * scale).square().mean()


class Weighted:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, model, x, y):
        return weighted_loss(model, x, y, self.weight)


def closing_over(weight):
    return lambda model, x, y: weighted_loss(model, x, y, weight)


@dataclasses.dataclass(frozen=True)
class Scale:
    values: Tensor

    def loss(self, model, x, y):
        return weighted_loss(model, x, y, scale=self.values)


def closing_over_all(held):
    """A loss that closes over a container."""
    return lambda model, x, y: weighted_loss(model, x, y, len(held))


def reading_from_its_module(**bound):
    """A loss as a notebook's cell defines it: what it reads is the module's."""
    here = {"weighted_loss": weighted_loss, **bound}
    exec(
        "def loss(model, x, y):\n"
        "    return sum(weighted_loss(model, x, y, w) for w in weights)",
        here,
    )
    return here["loss"]


LOSSES = {
    "a list": closing_over_all([1.0, 2.0]),
    "another list": closing_over_all([1.0, 3.0]),
    "a list in a list": closing_over_all([[1.0], [2.0]]),
    "a dict": closing_over_all({"weight": 1.0, "scale": 2.0}),
    "another dict": closing_over_all({"weight": 1.0, "scale": 3.0}),
    "a dict of other keys": closing_over_all({"weight": 1.0, "size": 2.0}),
    "a set": closing_over_all({"red", "green", "blue"}),
    "another set": closing_over_all({"red", "green", "black"}),
    "a closed-over tensor": closing_over_all(torch.tensor([1.0, 2.0])),
    "another closed-over tensor": closing_over_all(torch.tensor([1.0, 3.0])),
    "a sparse tensor": closing_over_all(torch.eye(2).to_sparse()),
    "tensors in a dict": closing_over_all({"t": [torch.ones(1), torch.zeros(2)]}),
    "other tensors in a dict": closing_over_all({"t": [torch.ones(1), torch.ones(2)]}),
    "words of numpy": closing_over_all(np.array(["a", "b"])),
    "other words of numpy": closing_over_all(np.array(["a", "c"])),
    "objects of numpy": closing_over_all(np.array(["a", 1], dtype=object)),
    "other objects of numpy": closing_over_all(np.array(["a", 2], dtype=object)),
    "the module's list": reading_from_its_module(weights=[1.0, 2.0]),
    "another list of the module": reading_from_its_module(weights=[1.0, 3.0]),
    "the module's tuple": reading_from_its_module(weights=(1.0, 2.0)),
    "plain": weighted_loss,
    "an option": partial(weighted_loss, weight=2.0),
    "another option": partial(weighted_loss, weight=3.0),
    "a tensor": partial(weighted_loss, scale=torch.tensor([1.0, 2.0])),
    "another tensor": partial(weighted_loss, scale=torch.tensor([1.0, 3.0])),
    "an object": Weighted(1.0),
    "another object": Weighted(2.0),
    "a closure": closing_over(1.0),
    "another closure": closing_over(2.0),
    "a lambda": lambda model, x, y: (model(x) - y).square().mean(),
    "another lambda": lambda model, x, y: (model(x) - y).abs().mean(),
    "a cached function": cache(lambda model, x, y: (model(x) - y).cos().mean()),
    "another cached function": cache(lambda model, x, y: (model(x) - y).sin().mean()),
    "a nested tensor": Scale(torch.tensor([1.0, 2.0])).loss,
    "another nested tensor": Scale(torch.tensor([1.0, 3.0])).loss,
}
SETS = """
import json
import test_train as t
from minilib.train.fingerprint import fingerprint, of_batch, of_loss
told = [of_loss(loss, t.model()) for loss in t.LOSSES.values()]
told += [fingerprint({"a", "b", "c", frozenset("xyz")}, []), of_batch(t.data())]
print(json.dumps(told))
"""


def fit_with(loss, path, n=40, batch_size=8):
    batches = shuffled(*data(n), batch_size=batch_size)
    options = {"lr": 0.01, "progress": False, "checkpoint": path}
    return fit(model(), loss, batches, steps=3, **options)


@pytest.mark.parametrize("name", LOSSES)
def test_a_checkpoint_knows_its_loss(tmp_path, name):
    path = tmp_path / "c.safetensors"
    first = fit_with(LOSSES[name], path)
    before = path.read_bytes()
    assert same(fit_with(LOSSES[name], str(path)).ema, first.ema)
    for other in LOSSES.keys() - {name}:
        with pytest.raises(ValueError, match=r"another run .*loss"):
            fit_with(LOSSES[other], path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda held: held["list"].append(4.0),
        lambda held: held["dict"].update(a=2.0),
        lambda held: held["set"].add("c"),
        lambda held: held["tensor"].add_(1.0),
    ],
)
def test_a_loss_is_another_once_what_it_closes_over_is_edited(edit):
    held = {"list": [1.0], "dict": {"a": 1.0}, "set": {"b"}, "tensor": torch.ones(2)}
    loss, net = closing_over_all(held), model()
    before = of_loss(loss, net)
    assert of_loss(loss, net) == before
    edit(held)
    assert of_loss(loss, net) != before


def test_a_list_that_a_loss_fills_from_empty_hinders_no_resumption(tmp_path):
    def logged():
        log = []

        def loss(model, x, y):
            log.append((model(x) - y).detach().square().mean())
            return weighted_loss(model, x, y)

        return loss

    path = tmp_path / "c.safetensors"
    first = fit_with(logged(), path)
    assert same(fit_with(logged(), path).ema, first.ema)


def test_a_checkpoint_says_which_option_of_the_loss_differs(tmp_path):
    path = tmp_path / "c.safetensors"
    fit_with(LOSSES["an option"], path)
    with pytest.raises(
        ValueError, match=r"run \(loss's weight: 2\.0 there, 3\.0 here\)"
    ):
        fit_with(LOSSES["another option"], path)
    with pytest.raises(ValueError, match=r"loss's weight: 2\.0 there, None here"):
        fit_with(LOSSES["plain"], path)


def test_a_checkpoint_knows_the_losses_of_players(tmp_path):
    path = tmp_path / "c.safetensors"
    run_pair(checkpoint=path)
    with pytest.raises(ValueError, match="loss of one"):
        run_pair({"two": TURNS["two"]}, checkpoint=path)
    with pytest.raises(ValueError, match="loss's code of two"):
        run_pair({**TURNS, "two": TURNS["one"]}, checkpoint=path)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch_size": 4}, "batch_size: 8 there, 4 here; first batch: "),
        ({"n": 39}, "first batch: "),
    ],
)
def test_a_checkpoint_knows_its_batches(tmp_path, changed, says):
    path = tmp_path / "c.safetensors"
    fit_with(weighted_loss, path)
    with pytest.raises(ValueError, match=re.escape(f"another run ({says}")):
        fit_with(weighted_loss, path, **changed)


def test_the_weights_that_are_trained_are_no_option_of_the_loss():
    net, teacher, other = model(0), model(0), model(1)
    loss = lambda known: partial(weighted_loss, scale=known)  # noqa: E731
    told = lambda loss: of_loss(loss, net)  # noqa: E731
    assert told(loss(teacher)) != told(loss(other))
    own = told(loss(net))
    with torch.no_grad():
        net[0].weight.fill_(0)
    assert told(loss(net)) == own


def test_two_processes_tell_a_run_alike():
    """Whatever the addresses in memory and the order of sets."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    told = subprocess.run(
        [sys.executable, "-c", SETS],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = [of_loss(loss, model()) for loss in LOSSES.values()]
    here += [fingerprint({"a", "b", "c", frozenset("xyz")}, []), of_batch(data())]
    assert json.loads(told) == here
    assert len(set(map(str, here))) == len(here)


# ---------- what is not finite ----------


def root_loss(model, x, y):
    """Its gradient at 0 is infinite, and it is 0 itself."""
    return (0 * model(x)).square().sum().sqrt()


@pytest.mark.parametrize("end", [7, 3000])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (
            "batch",
            r"the batch, and so the loss, is .* step 6 on: look at .*batches\(6\)",
        ),
        ("loss", r"the loss is not finite from step 6 on: lower lr \(now 0\.001\)$"),
        ("gradient", r"the gradient is not finite from step 6 on: lower lr .*a root"),
    ],
)
def test_what_was_not_finite_first_is_named_within_50_steps(tmp_path, bad, says, end):
    """Also where it is the last gradient, and every loss is finite."""
    x, y = data()
    calls = []

    def loss(model, x, y):
        calls.append(0)
        broken = bad != "batch" and len(calls) > 6
        spoilt = (
            root_loss(model, x, y) if bad == "gradient" else torch.tensor(torch.nan)
        )
        return (model(x) - y).square().mean() + (spoilt if broken else 0)

    def batches(step):
        return x[:8], y[:8] * float("nan") if bad == "batch" and step > 5 else y[:8]

    path = tmp_path / "c.safetensors"
    with pytest.raises(FloatingPointError, match=says):
        fit(model(), loss, batches, steps=end, progress=False, checkpoint=path)
    assert len(calls) == min(end, 50)
    assert read_tensors(path)[1]["step"] == 0


def test_data_that_the_loss_leaves_out_may_be_not_finite():
    x, y = data()
    y[0] = float("nan")
    left_out = lambda m, x, y: (m(x) - y)[1:].square().mean()  # noqa: E731
    assert fit(model(), left_out, lambda _: (x, y), steps=2, progress=False).loss.sum()


# ---------- saved by time, and when it is stopped ----------


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path, saved = tmp_path / "c.safetensors", []
    run(checkpoint=path, watch=lambda _: saved.append(read_tensors(path)[1]["step"]))
    assert saved == list(range(12))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1e9)
    path, saved = tmp_path / "d.safetensors", []
    run(checkpoint=path, watch=lambda _: saved.append(read_tensors(path)[1]["step"]))
    assert saved == [0] * 12


def signalled_at(stop, number=signal.SIGINT, times=1):
    """A loss in whose call number `stop` the process signals itself."""

    def loss(model, x, y, draw):
        value = noisy_loss(model, x, y, draw)
        for number in next(due, ()):
            signal.raise_signal(number)
        return value

    # what an iterator has yet to give is no option of a loss
    due = iter([()] * stop + [[number] * times] if stop >= 0 else [])
    return loss


def fit_signalled(path, *how):
    batches = shuffled(*data(), batch_size=8)
    options = {"lr": 0.01, "progress": False, "checkpoint": path}
    return fit(model(), signalled_at(*how), batches, steps=6, **options)


@pytest.mark.parametrize("stop", range(6))
def test_ctrl_c_saves_the_step_that_it_falls_in_and_resuming_is_exact(tmp_path, stop):
    path, before = tmp_path / "c.safetensors", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"step {stop + 1} of 6 is saved"):
        fit_signalled(path, stop)
    assert signal.getsignal(signal.SIGINT) is before
    assert read_tensors(path)[1]["step"] == stop + 1
    whole = fit_signalled(tmp_path / "whole.safetensors", -1)
    resumed = fit_signalled(path, -1)
    assert same(resumed.model, whole.model)
    assert same(resumed.ema, whole.ema)
    assert torch.equal(resumed.loss, whole.loss)


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_signalled(tmp_path / "c.safetensors", 3, signal.SIGINT, 2)
    assert read_tensors(tmp_path / "c.safetensors")[1]["step"] == 0


def test_without_a_checkpoint_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit_signalled(None, 3)
    assert not stopped.value.args


def test_sigterm_saves_and_then_takes_its_course(tmp_path, monkeypatch):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("terminated"))
    try:
        fit_signalled(tmp_path / "c.safetensors", 3, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["terminated"]
    assert read_tensors(tmp_path / "c.safetensors")[1]["step"] == 4


def test_an_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert len(fit_signalled(tmp_path / "c.safetensors", 3).loss) == 6
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_tensors(tmp_path / "c.safetensors")[1]["step"] == 6


def test_outside_the_main_thread_nothing_is_caught(tmp_path):
    with ThreadPoolExecutor() as pool:
        path = tmp_path / "c.safetensors"
        assert len(pool.submit(run, checkpoint=path).result().loss) == 12


def test_another_length_is_another_run_and_says_why(tmp_path):
    path = tmp_path / "c.safetensors"
    run(checkpoint=path)
    with pytest.raises(ValueError, match=r"steps: 12 there, 13 here.*along a cosine"):
        run(steps=13, checkpoint=path)


# ---------- several processes, and killed ones ----------

WORKER = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from minilib.train import fit, shuffled
from minilib.weights import write_tensors
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2)).double()
g = torch.Generator().manual_seed(0)
x, y = (torch.randn(40, n, generator=g).double() for n in (3, 2))
loss = lambda model, x, y, draw: (model(x + 0.1 * draw.normal(3)) - y).square().mean()
other = lambda model, x, y: -(model(x) - y).abs().mean()
losses = loss if sys.argv[2] == "alone" else {"0": loss, "2": other}
batches = shuffled(x, y, batch_size=8)
fitted = fit(model, losses, batches, steps=25, lr=0.01, progress=False)
if fitted.rank == 0:
    state = {**fitted.ema.state_dict(), "loss": fitted.loss}
    write_tensors(Path(sys.argv[1]), state, {})
"""


@pytest.mark.parametrize("players", ["alone", "in turn"])
def test_two_processes_take_the_steps_of_one(tmp_path, players):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    subprocess.run(
        [sys.executable, script, tmp_path / "one.safetensors", players], check=True
    )
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MINILIB_DEVICE": "cpu"}
    subprocess.run(
        [*torchrun, script, tmp_path / "two.safetensors", players],
        check=True,
        env=environment,
        capture_output=True,
    )
    one, two = (
        read_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key in one:
        assert torch.allclose(
            one[key], two[key], rtol=1e-6 if key == "loss" else 1e-11, atol=1e-12
        )


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    trainer = train.Trainer(
        nn.Linear(3, 2), noisy_loss, settings_of(1), torch.device("cpu")
    )
    trainer.world = 3
    with pytest.raises(
        ValueError, match="a batch of 40 does not divide among 3 processes"
    ):
        trainer.my_rows(data())


KILLED = """
import sys, time, torch
torch.set_num_threads(1)
from pathlib import Path
from minilib import train
from minilib.train import loop
loop.CHECKPOINT_EVERY = 2
import test_train as t
x, y = t.data()
def slowly(step):
    time.sleep(0.02)
    return train.shuffled(x, y, batch_size=8)(step)
options = {"lr": 0.01, "progress": False, "checkpoint": Path(sys.argv[1])}
fitted = train.fit(t.model(), t.noisy_loss, slowly, steps=60, **options)
"""


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    """SIGKILL again and again, at growing delays after the first checkpoint appears,
    until a run gets to its end.
    """
    path, script = tmp_path / "c.safetensors", tmp_path / "worker.py"
    script.write_text(KILLED)
    tests = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": tests}
    kills = 0
    for delay in (0.05, 0.13, 0.21, 0.34):
        worker = subprocess.Popen([sys.executable, script, path], env=environment)
        before = path.stat().st_mtime_ns if path.exists() else 0
        while worker.poll() is None and not (
            path.exists() and path.stat().st_mtime_ns > before
        ):
            time.sleep(0.005)
        time.sleep(delay)
        worker.send_signal(signal.SIGKILL)
        kills += worker.wait() == -signal.SIGKILL
    assert kills >= 2
    assert read_tensors(path)[1]["step"] < 60
    subprocess.run([sys.executable, script, path], env=environment, check=True)
    disturbed = read_tensors(path)[0]
    whole = tmp_path / "whole.safetensors"
    subprocess.run([sys.executable, script, whole], env=environment, check=True)
    undisturbed = read_tensors(whole)[0]
    assert disturbed.keys() == undisturbed.keys()
    assert all(torch.equal(disturbed[k], undisturbed[k]) for k in disturbed)


@pytest.mark.parametrize(
    ("steps", "lr", "says"),
    [
        (0, 0.1, "expected one step or more, got steps=0"),
        (-3, 0.1, "expected one step or more, got steps=-3"),
        (1, 0.0, "expected a learning rate above 0, got lr=0.0"),
        (1, math.nan, "expected a learning rate above 0, got lr=nan"),
        (1, math.inf, "expected a learning rate above 0, got lr=inf"),
    ],
)
def test_no_step_and_no_learning_rate_are_refused(steps, lr, says):
    with pytest.raises(ValueError, match=says):
        fit(torch.nn.Linear(1, 1), lambda m, x: m(x).mean(), None, steps=steps, lr=lr)


@pytest.mark.parametrize("batches", [[(torch.zeros(2, 1),)], None])
def test_a_data_loader_is_no_function_of_the_step(batches):
    if batches is None:
        data = torch.utils.data.TensorDataset(torch.zeros(4, 1))
        batches = torch.utils.data.DataLoader(data, batch_size=2)
    with pytest.raises(
        ValueError, match=rf"as a function of the step.*got a {type(batches).__name__}"
    ):
        fit(torch.nn.Linear(1, 1), lambda m, x: m(x).mean(), batches, steps=1)
