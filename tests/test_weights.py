import errno
import json
import os

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from book.tools.train_weights import trainings
from minilib import recipes, train, weights
from minilib.weights import (
    CorruptFileError,
    load_pretrained,
    load_weights,
    read_tensors,
    save_weights,
    write_atomically,
    write_tensors,
)


def saved(tmp_path, model=None):
    path = tmp_path / "tiny.safetensors"
    save_weights(model or nn.Linear(3, 2), path, {"recipe": "test"})
    return path


def test_round_trip_is_the_half_precision_of_the_weights(tmp_path):
    model = nn.BatchNorm1d(4)
    model.running_mean.copy_(torch.randn(4))
    path = saved(tmp_path, model)
    loaded = load_weights(nn.BatchNorm1d(4), path)
    assert torch.equal(loaded.running_mean, model.running_mean.half().float())
    assert loaded.num_batches_tracked.dtype == torch.int64
    assert not loaded.training
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["name"] == "tiny"
    assert card["recipe"] == "test"
    assert card["bytes"] == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_changed_or_cut_file_is_refused_and_the_model_keeps_its_weights(
    tmp_path_factory, data
):
    path = saved(tmp_path_factory.mktemp("w"))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
    path.write_bytes(content)
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    with pytest.raises(
        CorruptFileError, match=r"tiny.safetensors is not the file that its card"
    ):
        load_weights(model, path)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("card", ["", "{", "[]", "{}"])
def test_a_damaged_card_is_refused(tmp_path, card):
    path = saved(tmp_path)
    path.with_suffix(".json").write_text(card)
    with pytest.raises(
        CorruptFileError,
        match=r"the card .*tiny\.json is damaged, .* saved with tiny\.safetensors",
    ):
        load_weights(nn.Linear(3, 2), path)


def test_a_missing_card_is_named(tmp_path):
    path = saved(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(
        CorruptFileError, match=r"has no card tiny\.json beside it: copy there"
    ):
        load_weights(nn.Linear(3, 2), path)


def test_the_card_of_another_file_is_refused(tmp_path):
    path = saved(tmp_path)
    (tmp_path / "other").mkdir()
    other = saved(tmp_path / "other", nn.Linear(3, 2))
    path.with_suffix(".json").write_bytes(other.with_suffix(".json").read_bytes())
    with pytest.raises(
        CorruptFileError,
        match=r"is not the file that its card tiny\.json describes: restore both",
    ):
        load_weights(nn.Linear(3, 2), path)


def test_a_training_checkpoint_is_told_from_weights(tmp_path):
    def loss(model, x):
        return model(x).square().mean()

    path = tmp_path / "tiny.checkpoint.safetensors"
    train.fit(
        nn.Linear(3, 2),
        lambda model, x, draw: loss(model, x),
        lambda step: (torch.ones(2, 3),),
        steps=1,
        checkpoint=path,
        progress=False,
    )
    with pytest.raises(
        ValueError, match=r"is a training checkpoint, not weights: name the file of"
    ):
        load_weights(nn.Linear(3, 2), path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*: name weights"):
        load_weights(nn.Linear(3, 2), tmp_path / "absent.safetensors")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*: name one"):
        read_tensors(f"{tmp_path}/absent.safetensors")


def test_a_folder_is_no_file_and_what_it_holds_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=r" is a folder: .* `save_weights` wr"):
        load_weights(nn.Linear(3, 2), tmp_path)
    saved(tmp_path)
    for read in (read_tensors, lambda path: load_weights(nn.Linear(3, 2), path)):
        with pytest.raises(IsADirectoryError, match=r"such as tiny\.safetensors$"):
            read(f"{tmp_path}")


def test_a_path_may_be_a_text(tmp_path):
    path = f"{tmp_path}/text.safetensors"
    save_weights(model := nn.Linear(3, 2), path, {})
    loaded = load_weights(nn.Linear(3, 2), path)
    assert torch.equal(loaded.weight, model.weight.half().float())
    write_tensors(path, {"a": torch.ones(1)}, {})
    assert read_tensors(path)[1] == {}
    write_atomically(path, b"bytes")
    weights.require_writable(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "text.json",
        "text.safetensors",
    ]


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path, mend in (
        (tmp_path, r"it is a folder: name a file in it, such as .*NAME$"),
        (tmp_path / "file" / "a.png", r"file is a file: choose a folder$"),
        (tmp_path / ("a" * 300), r"shorten the name$"),
    ):
        with pytest.raises(OSError, match=f"cannot write .*changed; .*{mend}"):
            weights.require_writable(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_write_left_is_written_over(tmp_path):
    (tmp_path / ".file.part").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "model",
    [nn.Linear(3, 4), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))],
)
def test_weights_of_another_model_are_refused_and_named(tmp_path, model):
    path = saved(tmp_path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"does not fit this model, \d tensors differ: .*bias: "
    ):
        load_weights(model, path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ValueError,
        match=(
            r"no weights named 'ae_digit': there are .*ae_digits, ae_digits_2d, "
            r".*digit_classifier"
        ),
    ):
        load_pretrained(nn.Linear(1, 1), "ae_digit")


def test_meta_and_tensors_come_back(tmp_path):
    tensors = {"a": torch.arange(3), "b": torch.randn(2, 2).T}
    write_tensors(
        tmp_path / "t.safetensors", tensors, {"step": 3, "nested": {"x": [1.5]}}
    )
    back, meta = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert meta == {"step": 3, "nested": {"x": [1.5]}}


@given(cut=st.integers(0, 150))
@settings(max_examples=30, deadline=None)
def test_a_truncated_checkpoint_is_refused(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("c") / "t.safetensors"
    write_tensors(path, {"a": torch.arange(30)}, {})
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(CorruptFileError, match="truncated or not a minilib file"):
        read_tensors(path)


def test_a_safetensors_file_from_elsewhere_is_no_checkpoint(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "t.safetensors")
    with pytest.raises(CorruptFileError, match="not a minilib file"):
        read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize(
    ("code", "word"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")]
)
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_full_or_read_only_disk_leaves_what_was_there(
    tmp_path, monkeypatch, code, word, where
):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match=f"cannot write .*{word}.*Nothing was changed"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def shipped_files():
    """(name of the weights, their recipe, the steps they took)"""
    for name, recipe in recipes.RECIPES.items():
        for seed in trainings(recipe):
            yield (
                (name, recipe, recipe.full)
                if seed is None
                else (f"{name}_seed{seed}", recipe, recipe.quick)
            )


def test_every_shipped_file_has_a_whole_card():
    assert weights.names() == sorted(name for name, _, _ in shipped_files())
    facts = {
        "sha256",
        "recipe",
        "steps",
        "seed",
        "data",
        "seconds",
        "machine",
        "score",
        "limits",
        "parameters",
    }
    for name, recipe, steps in shipped_files():
        card = weights.card(name)
        assert facts <= card.keys()
        assert card["recipe"] == recipe.settings(), (
            f"{name} was trained by another recipe: make weights NAME={name}"
        )
        assert card["steps"] == steps
        assert card["bytes"] <= 4_000_000
        if recipes.draws_digits(recipe) and name == recipe.name:
            assert {len(values) for values in card["samples"].values()} == {5}
            assert {len(values) for values in card["quick"].values()} == {3}
            assert card["rated_by"] == weights.card("digit_classifier")["sha256"]


# Ten thousand digits take a diffusion model 8 core-minutes: test_recipes scores these
# on a tenth of them. What draws
# people and scenes takes several too: test_shipped asks these for a few pictures.
SLOW_TO_SCORE = {
    "ddpm_digits",
    "ddpm_digits_eps",
    "ddpm_digits_v",
    "adm_digits",
    "ddpm_scenes",
    "glide_people",
    "glide_portraits",
    "glide_scenes",
}


@pytest.mark.parametrize(
    "name",
    sorted(
        {name for name, _, _ in shipped_files()}
        & recipes.RECIPES.keys() - SLOW_TO_SCORE
    ),
)
def test_shipped_weights_score_what_their_card_says(name):
    recipe = recipes.get(name)
    score = recipe.score(load_pretrained(recipe.model(), name))
    for key, value in weights.card(name)["score"].items():
        assert score[key] == pytest.approx(value, rel=0.02)
