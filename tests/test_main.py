import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from minilib import recipes, runtime, train, weights
from minilib.__main__ import main
from minilib.data import digits
from minilib.recipes.captioned import portrait_tokens

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def cheap(monkeypatch):
    """`ae_digits` on few digits and without its slow score and sampling, changed as the
    test wants.
    """

    def replace(**changes):
        x = digits.load("test")[0][:200]
        quick = {
            "data": lambda: (x,),
            "score": lambda model: {"mse": 0.5},
            "sample": None,
            "batch_size": 8,
        }
        recipe = dataclasses.replace(recipes.get("ae_digits"), **{**quick, **changes})
        monkeypatch.setitem(recipes.RECIPES, "ae_digits", recipe)

    replace()
    return replace


@pytest.fixture
def refused(capfd):
    """Runs a command that must fail, and gives the one line that it says; stdout stays
    empty.
    """

    def run(*arguments):
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        *begun, line = err.splitlines()
        assert line.startswith("minilib: ")
        what_runs = ("drawing 64 pictures on ", "training on ")
        assert all(said.startswith(what_runs) for said in begun)
        return line

    return run


def files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


# ---------- list: see also tests/commands ----------


def test_list_names_every_recipe_with_its_steps_and_score(capsys):
    assert main(["list"]) == 0
    head, *lines, size = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "DRAWS", "QUICK", "FULL", "SCORE"]
    shipped = list(weights.HERE.glob("*.safetensors"))
    total = sum(path.stat().st_size for path in shipped) / 1e6
    assert size == f"{len(shipped)} files of weights ship, {total:.1f} MB in all"
    found = re.compile(
        r"(\S+) +(-|from (?:class|prompt(?:, image)?|nothing)) +"
        r"([\d,]+) +([\d,]+)  (.+)"
    )
    rows = [found.fullmatch(line) for line in lines[: len(recipes.RECIPES)]]
    for row, (name, recipe) in zip(rows, recipes.RECIPES.items(), strict=True):
        assert row[1] == name
        assert (row[2] == "-") == (recipe.sample is None)
        assert row[3] == f"{recipe.quick:,}"
        assert row[4] == f"{recipe.full:,}"
        score = weights.card(name)["score"] if name in weights.names() else {}
        key, _, value = row[5].rpartition(" ")
        assert not score or value == f"{score[key]:.4g}"
    # the columns stand one below the other, whatever the names' lengths
    assert len({row.start(3) + len(row[3]) for row in rows}) == 1
    assert len({row.start(5) for row in rows}) == 1


# ---------- what the user can mend ----------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "train nope --steps 1",
            "no recipe named 'nope': there are digit_classifier, ae_digits, "
            "ae_digits_2d",
        ),
        (
            "sample nope",
            "no recipe named 'nope': there are digit_classifier, ae_digits, "
            "ae_digits_2d",
        ),
        (
            "sample digit_classifier",
            "'digit_classifier' draws no pictures; these do: ae_digits, ae_digits_2d",
        ),
        ("sample ae_digits --weights nowhere.safetensors", "nowhere.safetensors"),
        (
            "train ae_digits --device cuda",
            "device 'cuda' asked for, but torch sees 0 CUDA GPUs: use 'cpu'",
        ),
        (
            "sample ae_digits --device cuda:3",
            "device 'cuda:3' asked for, but torch sees 0",
        ),
        (
            "sample ae_digits --device abacus",
            "unknown device 'abacus': use 'cpu', 'cuda', 'cuda:1' or 'mps'",
        ),
        ("sample ae_digits --device=", "unknown device ''"),
    ],
)
def test_one_line_says_what_is_wrong(here, refused, monkeypatch, command, says):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert says in refused(*command.split())
    assert not files(here)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("train ae_digits --steps 0", "--steps: expected a whole number from 1 to "),
        ("train ae_digits --steps -5", "--steps: expected a whole number from 1 to "),
        (
            "train ae_digits --steps many",
            "--steps: expected a whole number from 1 to .*, got 'many'",
        ),
        (
            "train ae_digits --seed -1",
            "--seed: expected a whole number from 0 to 4294967295, got '-1'",
        ),
        (
            "sample ae_digits --seed 4294967296",
            "--seed: expected a whole number from 0 to 4294967295",
        ),
        ("train", "required: NAME"),
        ("paint ae_digits", "invalid choice: 'paint'"),
        ("", "required: command"),
    ],
)
def test_arguments_that_make_no_sense(here, capsys, command, says):
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert re.search(says, capsys.readouterr().err)
    assert not files(here)


def test_a_misspelt_budget(here, refused, monkeypatch, cheap):
    monkeypatch.setenv("MINILIB_BUDGET", "qick")
    assert "MINILIB_BUDGET is 'qick': set it to 'quick' or 'full'" in refused(
        "train", "ae_digits"
    )
    assert not files(here)


@pytest.mark.parametrize("preset", ["cpu", None])
@pytest.mark.parametrize("fails", [False, True])
def test_the_device_is_chosen_for_one_command(cheap, monkeypatch, preset, fails):
    seen = []

    def score(model):
        seen.append(os.environ["MINILIB_DEVICE"])
        if fails:
            raise ValueError("no score")
        return {}

    if preset is None:
        monkeypatch.delenv("MINILIB_DEVICE")
    cheap(score=score)
    assert (
        main(["train", "ae_digits", "--steps", "1", "--device", "cpu:0"]) == 2 * fails
    )
    assert seen == ["cpu:0"]
    assert os.environ.get("MINILIB_DEVICE") == preset


# ---------- train ----------


def test_train_writes_weights_and_card_and_says_where(here, cheap, capsys):
    assert main(["train", "ae_digits", "--steps", "2", "--seed", "3"]) == 0
    assert (
        capsys.readouterr().out.strip()
        == f"wrote {os.path.join('runs', 'ae_digits', 'ae_digits.safetensors')}"
    )
    written = {
        f"runs/ae_digits/ae_digits.{end}"
        for end in ("safetensors", "json", "checkpoint.safetensors")
    }
    assert set(files(here)) == written
    model = weights.load_weights(
        recipes.get("ae_digits").model(), here / "runs/ae_digits/ae_digits.safetensors"
    )
    expected = (
        recipes.get("ae_digits").train(steps=2, seed=3, progress=False).ema.state_dict()
    )
    assert all(
        torch.equal(value, expected[key].half().float())
        for key, value in model.state_dict().items()
    )


def test_an_existing_checkpoint_needs_resume(here, cheap, refused, monkeypatch):
    command = ["train", "ae_digits", "--steps", "4", "--out", "run"]
    assert main(command) == 0
    before = {name: (here / name).read_bytes() for name in files(here)}
    says = refused(*command)
    assert re.search(
        r"ae_digits\.checkpoint\.safetensors exists: go on with --resume, "
        r".*or delete it",
        says,
    )
    assert {name: (here / name).read_bytes() for name in files(here)} == before

    # it is at its end: there is no step to take
    monkeypatch.setattr(train.Trainer, "take_step", None)
    assert main([*command, "--resume"]) == 0
    assert (here / "run/ae_digits.safetensors").read_bytes() == before[
        "run/ae_digits.safetensors"
    ]


def test_resume_without_a_checkpoint_starts(here, cheap):
    assert main(["train", "ae_digits", "--steps", "2", "--out", "run", "--resume"]) == 0
    assert "run/ae_digits.safetensors" in files(here)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--steps", "5"], "steps: 4 there, 5 here"),
        (["--steps", "4", "--seed", "1"], "seed: 0 there, 1 here"),
    ],
)
def test_a_checkpoint_of_another_run_is_left_alone(here, cheap, refused, changed, says):
    assert main(["train", "ae_digits", "--steps", "4", "--out", "run"]) == 0
    before = {name: (here / name).read_bytes() for name in files(here)}
    line = refused("train", "ae_digits", "--out", "run", "--resume", *changed)
    assert "is the checkpoint of another run" in line
    assert says in line
    assert {name: (here / name).read_bytes() for name in files(here)} == before


def test_a_checkpoint_of_another_recipe_or_cut_short_is_refused(here, cheap, refused):
    assert main(["train", "ae_digits", "--steps", "2", "--out", "run"]) == 0
    checkpoint, other = (
        here / "run/ae_digits.checkpoint.safetensors",
        here / "run/ae_digits_2d.checkpoint.safetensors",
    )
    shutil.copy(checkpoint, other)
    says = refused("train", "ae_digits_2d", "--steps", "2", "--out", "run", "--resume")
    assert "another run (name: 'ae_digits' there, 'ae_digits_2d' here" in says
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    says = refused("train", "ae_digits", "--steps", "2", "--out", "run", "--resume")
    assert "ae_digits.checkpoint.safetensors is truncated" in says


def test_a_folder_that_cannot_be_written_stops_before_the_first_step(
    here, cheap, refused, monkeypatch
):
    monkeypatch.setattr(train.Trainer, "take_step", None)
    (here / "file").write_text("in the way")
    says = refused("train", "ae_digits", "--steps", "2", "--out", "file/run")
    assert re.search(
        r"cannot write file.run.*Nothing was changed; file is a file: choose a folder",
        says,
    )
    assert files(here) == ["file"]


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    here, cheap, refused, monkeypatch
):
    monkeypatch.setattr(os, "fsync", full_disk)
    assert "No space left on device" in refused(
        "train", "ae_digits", "--steps", "2", "--out", "run"
    )
    assert not files(here)


def test_a_loss_that_is_not_finite(here, cheap, capfd):
    cheap(loss=lambda model, x: (model(x) - x).square().mean() * float("nan"))
    assert main(["train", "ae_digits", "--steps", "2", "--out", "run"]) == 2
    said = capfd.readouterr().err
    assert "minilib: the loss is not finite from step 0 on: lower lr" in said
    assert "Traceback" not in said
    # the one from before the first step
    assert files(here) == ["run/ae_digits.checkpoint.safetensors"]


# ---------- sample ----------


def test_sample_draws_a_grid_that_the_seed_decides(here, capsys):
    for name, seed in [("a.png", 0), ("b.png", 0), ("deep/c.png", 1)]:
        assert main(["sample", "ae_digits", "--seed", str(seed), "--out", name]) == 0
        said = capsys.readouterr()
        assert said.out.strip() == f"wrote {os.path.join(*name.split('/'))}"
        assert said.err.startswith(f"drawing 64 pictures on {runtime.device()}")
    assert files(here) == ["a.png", "b.png", "deep/c.png"]
    assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()
    with Image.open(here / "a.png") as grid, Image.open(here / "deep/c.png") as other:
        assert grid.size == other.size == (8 * 28 + 7 * 2, 8 * 28 + 7 * 2)
        first, second = np.asarray(grid), np.asarray(other)
    cells = [
        first[y : y + 28, x : x + 28]
        for y in range(0, 238, 30)
        for x in range(0, 238, 30)
    ]
    assert len({cell.tobytes() for cell in cells}) == 64
    assert (first != second).mean() > 0.1


@pytest.fixture
def fast(monkeypatch):
    """`ae_digits` draws without encoding the training digits first."""

    def sample(model, n, generator):
        with torch.no_grad():
            return model.decode(torch.randn(n, 16, generator=generator))

    monkeypatch.setitem(
        recipes.RECIPES,
        "ae_digits",
        dataclasses.replace(recipes.get("ae_digits"), sample=sample),
    )


def test_sample_from_weights_that_train_wrote(here, cheap, fast):
    assert main(["train", "ae_digits", "--steps", "2", "--out", "run"]) == 0
    assert main(["sample", "ae_digits", "--weights", "run/ae_digits.safetensors"]) == 0
    assert main(["sample", "ae_digits", "--out", "shipped.png"]) == 0
    assert (here / "ae_digits.png").read_bytes() != (here / "shipped.png").read_bytes()


def test_sample_refuses_weights_that_are_not_the_recipes(here, fast, refused):
    says = refused(
        "sample", "ae_digits", "--weights", weights.HERE / "ae_digits_2d.safetensors"
    )
    assert "ae_digits_2d.safetensors does not fit this model, 3 tensors differ" in says
    for end in ("json", "safetensors"):
        shutil.copy(weights.HERE / f"ae_digits.{end}", here)
    content = bytearray((here / "ae_digits.safetensors").read_bytes())
    content[-1] ^= 1
    (here / "ae_digits.safetensors").write_bytes(content)
    says = refused("sample", "ae_digits", "--weights", "ae_digits.safetensors")
    assert (
        "ae_digits.safetensors is not the file that its card ae_digits.json describes"
        in says
    )
    assert files(here) == ["ae_digits.json", "ae_digits.safetensors"]


@pytest.fixture
def labelled(monkeypatch):
    """The recipe `ae_digits` as if it had three classes; what it was asked to draw is
    kept.
    """
    asked = []

    def sample(model, n, generator, y=None):
        asked.append(y)
        return torch.zeros(n, 1, 28, 28)

    recipe = dataclasses.replace(recipes.get("ae_digits"), sample=sample, classes=3)
    monkeypatch.setitem(recipes.RECIPES, "ae_digits", recipe)
    return asked


def test_sample_of_one_class(here, labelled):
    assert main(["sample", "ae_digits", "--class", "2"]) == 0
    assert main(["sample", "ae_digits"]) == 0
    assert torch.equal(labelled[0], torch.full((64,), 2))
    assert labelled[1] is None


def test_sample_of_a_class_that_there_is_not(here, labelled, refused):
    says = refused("sample", "ae_digits", "--class", "3")
    assert "no class 3 in the recipe 'ae_digits', which knows classes 0 to 2" in says
    assert "'vae_digits' has no use for --class: " in refused(
        "sample", "vae_digits", "--class", "0"
    )
    assert not files(here)


@pytest.fixture
def conditional(monkeypatch):
    """The recipe `glide_portraits` without its network; the captions that it was asked
    to draw are kept.
    """
    asked = []

    def sample(model, n, generator, y=None):
        asked.append(None if y is None else portrait_tokens().decode(y))
        return torch.zeros(n, 3, 16, 16)

    recipe = dataclasses.replace(
        recipes.get("glide_portraits"),
        sample=sample,
        model=lambda: torch.nn.Linear(1, 1),
    )
    monkeypatch.setitem(recipes.RECIPES, "glide_portraits", recipe)
    monkeypatch.setattr(weights, "load_pretrained", lambda model, name: model)
    return asked


def test_sample_of_a_prompt(here, conditional):
    assert main(["sample", "glide-portraits", "A happy person, with a red hat"]) == 0
    assert main(["sample", "glide-portraits"]) == 0
    assert conditional == [["a happy person , with a red hat"] * 64, None]
    with Image.open(here / "glide_portraits.png") as grid:
        assert grid.size == (8 * 48 + 7 * 2, 8 * 48 + 7 * 2)  # each pixel is nine


def test_sample_of_a_prompt_that_is_not_understood(here, conditional, refused):
    says = refused("sample", "glide-portraits", "a happy persen with a red hat")
    assert (
        "unknown word 'persen' in 'a happy persen with a red hat': did you mean "
        "'person'" in says
    )
    says = refused("sample", "glide-portraits", "a red hat, " * 20)
    assert "at most 38 fit: shorten it" in says
    says = refused("sample", "ae_digits", "a red hat")
    assert "'ae_digits' has no use for PROMPT: " in says
    assert "These take PROMPT: glide_portraits, " in says
    assert not conditional
    assert not files(here)


def test_a_recipe_may_be_written_with_hyphens(here, cheap, labelled):
    assert main(["sample", "ae-digits"]) == 0
    assert files(here) == ["ae_digits.png"]


def test_sample_where_it_cannot_write(here, fast, refused, monkeypatch):
    (here / "folder.png").mkdir()
    assert "cannot write folder.png: Is a directory" in refused(
        "sample", "ae_digits", "--out", "folder.png"
    )
    monkeypatch.setattr(os, "fsync", full_disk)
    assert "cannot write a.png: No space left on device" in refused(
        "sample", "ae_digits", "--out", "a.png"
    )
    assert not files(here)


# ---------- as the reader runs it ----------


def test_from_the_shell():
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "minilib", *arguments],
            capture_output=True,
            text=True,
        )

    listed = run("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert all(f"\n{name} " in listed.stdout for name in recipes.RECIPES)
    unknown = run("sample", "vae")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert (
        unknown.stderr
        == f"minilib: no recipe named 'vae': there are {', '.join(recipes.RECIPES)}\n"
    )


KILLER = """
import dataclasses, os, signal
from pathlib import Path
# which an optimizer's first step imports: once here, not in every child
import torch._dynamo
from minilib import recipes, train, weights
from minilib.__main__ import main
from minilib.data import digits
from minilib.train import loop

loop.CHECKPOINT_EVERY = 2
x = digits.load("test")[0]
cheap = dataclasses.replace(
    recipes.get("ae_digits"),
    data=lambda: (x,),
    score=lambda model: {"mse": 0.5},
    sample=None,
)
recipes.RECIPES["ae_digits"] = cheap

def die_at_call(owner, name, left):
    original = getattr(owner, name)
    def counted(*arguments):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return original(*arguments)
    setattr(owner, name, counted)

def attempt(out, *where):
    child = os.fork()  # saves importing torch anew
    if child == 0:
        if where:
            die_at_call(*where)
        asked = ["--steps", "7", "--seed", "5", "--resume", "--out", out]
        os._exit(main(["train", "ae_digits", *asked]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    checkpoint = Path(out, "ae_digits.checkpoint.safetensors")
    step = weights.read_tensors(checkpoint)[1]["step"]
    ends = ("safetensors", "json")
    there = [end for end in ends if Path(out, f"ae_digits.{end}").exists()]
    print("state:", code, step, *there, flush=True)

# steps 0 to 2 are taken, the last of them is not saved
attempt("killed", train.Trainer, "take_step", 3)
# saved after step 4; the checkpoint after step 6 is written in part
attempt("killed", os, "fsync", 1)
# saved after steps 6 and 7; the weights are written in part
attempt("killed", os, "replace", 2)
# the weights are there, their card is not
attempt("killed", os, "replace", 1)
attempt("killed")
attempt("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no SIGKILL")
def test_killed_at_its_worst_moments_it_ends_with_the_same_bytes(here):
    """Before a checkpoint, while writing one, while writing the weights, and between
    the weights and their card.
    """
    done = subprocess.run(
        [sys.executable, "-c", KILLER], capture_output=True, text=True, check=True
    )
    states = [line for line in done.stdout.splitlines() if line.startswith("state:")]
    assert states == [
        "state: -9 2",
        "state: -9 4",
        "state: -9 7",
        "state: -9 7 safetensors",
        "state: 0 7 safetensors json",
        "state: 0 7 safetensors json",
    ]
    killed, whole = (
        here / "killed/ae_digits.safetensors",
        here / "whole/ae_digits.safetensors",
    )
    assert killed.read_bytes() == whole.read_bytes()
    # file and card belong together
    weights.load_weights(recipes.get("ae_digits").model(), killed)


PAIR = """
import dataclasses, sys
from minilib import recipes
from minilib.__main__ import main
from minilib.data import digits

x = digits.load("test")[0][:64]
recipes.RECIPES["ae_digits"] = dataclasses.replace(
    recipes.get("ae_digits"),
    data=lambda: (x,),
    score=lambda model: {"mse": 0.5},
    sample=None,
    batch_size=16,
)
sys.exit(main(["train", "ae_digits", "--steps", "3", *sys.argv[1:]]))
"""


def test_train_runs_unchanged_under_torchrun(here):
    """Two processes write once, say so once, and take the steps that one process takes,
    to rounding.
    """
    (here / "pair.py").write_text(PAIR)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    pair = [*torchrun, "pair.py", "--out", "two"]
    done = subprocess.run(
        pair, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("wrote two") == 1
    subprocess.run(
        [sys.executable, "pair.py", "--out", "one"],
        env=environment,
        capture_output=True,
        check=True,
    )
    one, two = (
        weights.read_tensors(here / out / "ae_digits.checkpoint.safetensors")[0]
        for out in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all(
        torch.allclose(one[key], two[key], rtol=1e-3, atol=1e-5)
        for key in one
        if key.startswith("model.")
    )
