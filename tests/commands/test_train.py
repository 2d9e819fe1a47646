import csv
import dataclasses
import json
import re
import signal
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from minilib import recipes, runtime, train, weights
from minilib.__main__ import main
from minilib.commands import progress, training
from minilib.data import digits
from minilib.models.autoencoder import reconstruction_loss
from minilib.recipes import ddpm
from minilib.recipes.digits import denoising
from minilib.train import loop
from minilib.train.fingerprint import of_loss

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def cheap(monkeypatch):
    """`ae_digits` on few digits and without its slow score and sampling, changed as the
    test wants.
    """

    def replace(**changes):
        x = digits.load("test")[0][:64]
        few = {"data": lambda: (x,), "score": lambda model: {"mse": 0.5}}
        few |= {"sample": None, "batch_size": 8, "quick": 3, "full": 5}
        recipe = dataclasses.replace(recipes.get("ae_digits"), **{**few, **changes})
        monkeypatch.setitem(recipes.RECIPES, "ae_digits", recipe)
        return recipe

    replace()
    return replace


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def card(folder):
    return json.loads((folder / "ae_digits.json").read_text(encoding="utf-8"))


def run(*arguments):
    return main(["train", "ae_digits", "--out", "run", *map(str, arguments)])


def stopping_loss(step):
    """The recipe's loss; in its call number `step` comes Ctrl-C."""

    def loss(model, x):
        if next(due, False):
            signal.raise_signal(signal.SIGINT)
        return reconstruction_loss(model, x)

    # what an iterator has yet to give is no option of a loss
    due = iter([*[False] * (step - 1), True] if step else [])
    return loss


# ---------- how long ----------


@pytest.mark.parametrize("machine", ["quick", "full"])
@pytest.mark.parametrize(
    ("asked", "steps"), [("--full", 5), ("--quick", 3), ("--steps=2", 2)]
)
def test_the_budget_can_be_asked_for(here, cheap, monkeypatch, machine, asked, steps):
    monkeypatch.setenv("MINILIB_BUDGET", machine)
    assert run(asked) == 0
    assert card(here / "run")["steps"] == steps


@pytest.mark.parametrize("asked", ["--full --quick", "--full --steps 2"])
def test_one_length_at_a_time(here, capsys, asked):
    with pytest.raises(SystemExit):
        run(*asked.split())
    assert "not allowed with argument" in capsys.readouterr().err


def test_resume_takes_its_steps_from_the_checkpoint(here, cheap, monkeypatch, capsys):
    cheap(loss=stopping_loss(2))
    assert run("--steps", 4) == 130
    assert run("--resume") == 0
    assert card(here / "run")["steps"] == 4
    # it is at its end, and stays there
    monkeypatch.setattr(train.Trainer, "take_step", None)
    assert run("--resume") == 0
    capsys.readouterr()
    assert run("--resume", "--full") == 2
    said = capsys.readouterr().err
    assert "steps: 4 there, 5 here" in said
    assert "along a cosine of all steps" in said


def test_resume_takes_its_seed_from_the_checkpoint(here, cheap, capsys):
    assert run("--steps", 4, "--seed", 7) == 0
    whole = (here / "run" / "ae_digits.safetensors").read_bytes()
    for path in (here / "run").iterdir():
        path.unlink()
    cheap(loss=stopping_loss(2))
    assert run("--steps", 4, "--seed", 7) == 130
    assert run("--resume") == 0
    assert (here / "run" / "ae_digits.safetensors").read_bytes() == whole
    assert card(here / "run")["seed"] == 7
    # the one that is asked for is compared
    capsys.readouterr()
    assert run("--resume", "--seed", 0) == 2
    assert "another run (seed: 7 there, 0 here)" in capsys.readouterr().err


def test_another_run_is_known_before_its_data_are_made(here, cheap, capsys):
    assert run("--steps", 4) == 0
    cheap(data=None)
    assert run("--resume", "--steps", 5) == 2
    assert "steps: 4 there, 5 here" in last_line(capsys)[1]


def test_previews_of_a_resumed_run_have_its_seed(here, cheap):
    seen = []

    def sample(model, n, generator):
        seen.append(generator.initial_seed())
        return torch.zeros(n, 1, 28, 28)

    cheap(loss=stopping_loss(2), sample=sample)
    assert run("--no-score", "--steps", 4, "--seed", 7) == 130
    assert run("--no-score", "--resume", "--preview", 3) == 0
    assert seen == [7, 7]


def test_resume_without_a_checkpoint_takes_the_budget(here, cheap):
    assert run("--resume") == 0
    assert card(here / "run")["steps"] == 3


# ---------- Ctrl-C ----------


def last_line(capsys):
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err.splitlines()[-1]


def test_ctrl_c_in_training_is_one_line_and_the_state_is_saved(here, cheap, capsys):
    cheap()
    assert run() == 0
    whole = (here / "run" / "ae_digits.safetensors").read_bytes()
    for path in (here / "run").iterdir():
        path.unlink()
    cheap(loss=stopping_loss(2))
    capsys.readouterr()
    assert run() == 130
    path = (here / "run" / "ae_digits.checkpoint.safetensors").relative_to(here)
    out, line = last_line(capsys)
    assert out == ""
    assert line == (
        f"minilib: interrupted: step 2 of 3 is saved in {path}: go on with --resume"
    )
    assert files(here) == ["ae_digits.checkpoint.safetensors"]
    assert weights.read_tensors(path)[1]["step"] == 2
    assert run("--resume") == 0
    resumed = (here / "run" / "ae_digits.safetensors").read_bytes()
    assert resumed == whole


def interrupted(*_):
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_scoring_leaves_weights_that_load(here, cheap, capsys):
    recipe = cheap(score=interrupted)
    assert run() == 130
    path = here / "run" / "ae_digits.safetensors"
    out, line = last_line(capsys)
    assert out.startswith("wrote ")
    assert line.startswith(f"minilib: interrupted: {path.relative_to(here)} is whole")
    assert card(here / "run")["score"] == {}
    weights.load_weights(recipe.model(), path)
    cheap()
    assert run("--resume") == 0
    assert card(here / "run")["score"] == {"mse": 0.5}


@pytest.mark.parametrize("command", ["train ae_digits", "sample ae_digits"])
def test_ctrl_c_anywhere_else_is_one_line(here, cheap, capsys, command):
    cheap(data=interrupted, model=interrupted, sample=interrupted)
    assert main(command.split()) == 130
    out, line = last_line(capsys)
    assert (out, line[:20]) == ("", "minilib: interrupted")
    assert not files(here)


# ---------- the score ----------


def test_that_it_scores_is_said_after_the_weights_are_whole(
    here, cheap, capsys, monkeypatch
):
    said, clocks = [], []

    @contextmanager
    def clock(what):
        clocks.append(what)
        yield
        clocks.append("over")

    def score(model):
        assert clocks == ["scoring"]
        said.append(capsys.readouterr())
        weights.load_weights(model, here / "run" / "ae_digits.safetensors")
        return {"mse": 0.5}

    cheap(score=score)
    monkeypatch.setattr(progress, "clock", clock)
    assert run() == 0
    assert clocks == ["scoring", "over"]
    assert said[0].out.startswith("wrote ")
    assert said[0].err.splitlines()[-1].startswith(f"scoring on {runtime.device()}")
    assert last_line(capsys)[1] == "scored: mse 0.5"
    assert card(here / "run")["score"] == {"mse": 0.5}


def without_network(name):
    """A recipe's model, whose network answers at once with zeros; and its calls."""
    model, calls = recipes.get(name).model().eval(), []
    channels = {"adm_digits": 2}.get(name, 1 if "digits" in name else 3)

    def forward(x, *more):
        calls.append(1)
        return torch.zeros(len(x), channels, *x.shape[2:])

    model.forward = forward
    return model, calls


@pytest.mark.parametrize("name", training.CALLS)
def test_the_bar_of_a_score_ends_where_it_does(name, monkeypatch):
    if "digits" in name:  # distances and classes call other networks
        monkeypatch.setattr(ddpm, "accuracy", lambda *_: 0.0)
        for module in (ddpm, denoising):
            monkeypatch.setattr(module, "fd_from_data", lambda x: 0.0)
    model, calls = without_network(name)
    recipes.get(name).score(model)
    recipes.drawing_time(recipes.get(name), model, 0)
    assert len(calls) == training.CALLS[name]


def test_scoring_shows_its_share(here, cheap, monkeypatch, capsys):
    monkeypatch.setattr(progress, "tqdm", partial(progress.tqdm, mininterval=0))
    monkeypatch.setitem(training.CALLS, "ae_digits", 4)

    def score(model):
        for _ in range(3):
            model(torch.zeros(1, 1, 28, 28))
        return {"mse": 0.5}

    cheap(score=score)
    assert run() == 0
    assert "scoring:  75%" in capsys.readouterr().err


def test_the_score_can_be_left_out(here, cheap, capsys):
    cheap(score=interrupted, sample=interrupted)
    assert run("--no-score") == 0
    assert "scoring" not in capsys.readouterr().err
    assert card(here / "run")["score"] == {}
    assert "seconds_per_1000_samples" not in card(here / "run")


# ---------- previews ----------


def test_previews_show_samples_and_the_loss_and_change_no_bit(here, cheap):
    seen = []

    def sample(model, n, generator):
        assert not model.training
        seen.append(torch.randn(n, 1, 28, 28, generator=generator))
        return seen[-1].clamp(-1, 1)

    cheap(sample=sample)
    assert run("--no-score", "--steps", 5) == 0
    plain = (here / "run" / "ae_digits.safetensors").read_bytes()
    assert not seen
    (here / "run" / "ae_digits.checkpoint.safetensors").unlink()
    assert run("--no-score", "--steps", 5, "--preview", 2) == 0
    assert (here / "run" / "ae_digits.safetensors").read_bytes() == plain
    sheets = [f"ae_digits.{step:06}.png" for step in (2, 4, 5)]
    assert [name for name in files(here) if re.search(r"\d\.png", name)] == sheets
    assert all(torch.equal(one, seen[0]) for one in seen)
    with Image.open(here / "run" / sheets[0]) as picture:
        assert np.asarray(picture).shape == (2 * 28 + 2, 8 * 28 + 7 * 2)
    losses = weights.read_tensors(here / "run" / "ae_digits.checkpoint.safetensors")[0]
    with open(here / "run" / "ae_digits.loss.csv", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["step", "loss"]
    assert [int(step) for step, _ in rows] == list(range(5))
    told = torch.tensor([[float(loss)] for _, loss in rows])
    assert torch.equal(told, losses["losses"])
    with Image.open(here / "run" / "ae_digits.loss.png") as curve:
        assert min(curve.size) > 200


def test_each_player_has_its_column(here, cheap):
    parts = {"decode": reconstruction_loss, "encode": reconstruction_loss}
    cheap(loss=parts)
    assert run("--preview", 10) == 0
    table = (here / "run" / "ae_digits.loss.csv").read_text(encoding="utf-8")
    assert table.splitlines()[0] == "step,decode,encode"
    assert len(table.splitlines()) == 4


def test_a_preview_of_what_is_not_finite_names_the_step(here, cheap, capsys):
    cheap(loss=lambda model, x: reconstruction_loss(model, x) * float("nan"))
    assert run("--preview", 2) == 2
    assert "not finite from step 0 on" in last_line(capsys)[1]
    assert files(here) == ["ae_digits.checkpoint.safetensors"]


# ---------- whose checkpoint ----------


def test_recipes_tell_their_losses_apart_and_say_no_addresses():
    def told(name):
        return of_loss(recipes.get(name).loss, torch.nn.Identity())

    assert told("ddpm_digits") != told("ddpm_digits_eps")
    assert told("ae_digits") == told("ae_digits_2d")
    for name in recipes.RECIPES:
        assert told(name) == told(name)
        assert "0x" not in json.dumps(told(name))


def test_another_loss_of_the_recipe_is_another_run(here, cheap, capsys):
    assert run() == 0
    cheap(loss=stopping_loss(0))
    assert run("--resume") == 2
    assert "another run (loss: 'reconstruction_loss' there" in last_line(capsys)[1]


def test_a_run_of_seconds_is_saved_by_time(here, cheap, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path, steps = here / "run" / "ae_digits.checkpoint.safetensors", []

    def loss(model, x):
        steps.append(weights.read_tensors(path)[1]["step"])
        return reconstruction_loss(model, x)

    cheap(loss=loss)
    assert run() == 0
    assert steps == [0, 1, 2]
