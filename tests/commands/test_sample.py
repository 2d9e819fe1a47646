"""What `sample` can be told, and what it refuses before it draws."""

import dataclasses
import re
from functools import partial

import pytest
import torch
from PIL import Image
from torch import nn

from minilib import recipes, weights
from minilib.__main__ import main
from minilib.commands import drawing

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def asked(monkeypatch):
    """What `sample` was told, by recipes that draw white pictures without a network."""
    told = []

    def digits(model, n, generator, y=None, *, steps=20, w=1.0):
        told.append({"n": n, "y": y, "steps": steps, "w": w})
        return torch.ones(n, 1, 28, 28)

    def people(model, n, generator, y=None, *, image=None, mask=None, steps=2, w=3.0):
        told.append({"n": n, "y": y, "image": image, "mask": mask})
        return torch.ones(n, 3, 16, 16)

    for name, draw in (("ddpm_digits", digits), ("glide_portraits_inpaint", people)):
        recipe = dataclasses.replace(
            recipes.get(name), sample=draw, model=lambda: nn.Linear(1, 1)
        )
        monkeypatch.setitem(recipes.RECIPES, name, recipe)
    monkeypatch.setattr(weights, "load_pretrained", lambda model, name: model)
    return told


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail before it draws, and gives what it says."""

    def run(*arguments):
        assert main(["sample", *map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "drawing" not in said.err
        return said.err.removeprefix("minilib: ").removesuffix("\n")

    return run


def files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_number_steps_and_guidance_are_passed_on(here, asked):
    told = ["--count", "3", "--steps", "7", "--guidance", "2.5", "--class", "4"]
    assert main(["sample", "ddpm-digits", *told]) == 0
    assert asked[0]["y"].tolist() == [4, 4, 4]
    assert {k: asked[0][k] for k in ("n", "steps", "w")} == {
        "n": 3,
        "steps": 7,
        "w": 2.5,
    }
    assert main(["sample", "ddpm-digits"]) == 0
    assert asked[1] == {"n": 64, "y": None, "steps": 20, "w": 1.0}


def test_what_draws_token_by_token_shows_its_own_bar(here, asked, monkeypatch):
    told = []

    def by_tokens(model, n, generator, y=None, *, w=1.0, progress=""):
        told.append(progress)
        return torch.ones(n, 3, 32, 32)

    recipe = dataclasses.replace(recipes.get("ddpm_digits"), sample=by_tokens)
    monkeypatch.setitem(recipes.RECIPES, "ddpm_digits", recipe)
    assert main(["sample", "ddpm-digits", "--count", "1"]) == 0
    assert told == ["drawing"]


def test_a_file_for_each_picture(here, asked, capsys):
    told = ["--count", "3", "--each", "--out", "deep/v.webp"]
    assert main(["sample", "ddpm-digits", *told]) == 0
    assert files(here) == ["v_000.webp", "v_001.webp", "v_002.webp"]
    with Image.open(here / "deep" / "v_001.webp") as picture:
        assert picture.size == (28, 28)
    assert re.search(r"wrote deep.v_000\.webp to v_002\.webp", capsys.readouterr().out)
    assert main(["sample", "ddpm-digits", "--count", "1", "--each"]) == 0
    assert "ddpm_digits_000.png" in files(here)


@pytest.mark.parametrize(
    ("name", "format"),
    [("v.jpg", "JPEG"), ("v.PNG", "PNG"), ("v.webp", "WEBP"), ("v.tif", "TIFF")],
)
def test_the_ending_says_the_format(here, asked, name, format):
    assert main(["sample", "ddpm-digits", "--count", "2", "--out", name]) == 0
    with Image.open(here / name) as picture:
        assert picture.format == format


@pytest.mark.parametrize("name", ["v", "v.txt", "v.psd", "v.png.zip"])
def test_an_ending_of_no_picture_is_refused(here, asked, refused, name):
    assert "is no ending of a picture that Pillow writes; use .png" in refused(
        "ddpm_digits", "--out", name
    )
    assert not asked
    assert not files(here)


def test_what_cannot_be_written_is_refused(here, asked, refused):
    (here / "folder.png").mkdir()
    (here / "file").write_text("in the way")
    for path in ("folder.png", "file/a.png"):
        assert "cannot write" in refused("ddpm_digits", "--out", path)
    assert not asked
    assert files(here) == ["file"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("ae_digits --steps 5", "'ae_digits' has no use for --steps; these have: ddpm"),
        ("cgan_digits --guidance 2", "'cgan_digits' has no use for --guidance; these"),
        ("ddpm_digits --image a.png", "--image and --mask belong together"),
        (
            "glide_portraits --image a.png --mask a.png",
            "has no use for --image; these have: glide_portraits_inpaint",
        ),
        (
            "glide_portraits_inpaint --image no.png --mask no.png",
            "no.png cannot be read as a picture",
        ),
        (
            "glide_portraits_inpaint --image black.png --mask black.png",
            "black all over",
        ),
    ],
)
def test_what_a_recipe_has_no_use_for_is_refused(here, asked, refused, told, says):
    Image.new("RGB", (16, 16)).save(here / "black.png")
    assert says in refused(*told.split())
    assert not asked


@pytest.mark.parametrize(
    "told", ["--guidance nan", "--guidance -1", "--count 0", "--steps 0"]
)
def test_numbers_out_of_range_are_refused(asked, capsys, told):
    with pytest.raises(SystemExit):
        main(["sample", "ddpm_digits", *told.split()])
    assert "expected a" in capsys.readouterr().err


def test_an_image_and_a_mask(here, asked):
    Image.new("RGB", (20, 20), "red").save(here / "x.png")
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 16, 8))
    mask.save(here / "hole.png")
    told = ["--image", "x.png", "--mask", "hole.png", "--count", "2"]
    assert main(["sample", "glide_portraits_inpaint", "a red hat.", *told]) == 0
    image, hole = asked[0]["image"], asked[0]["mask"]
    assert image.shape == (2, 3, 16, 16)
    assert image[0, :, 0, 0].tolist() == [1, -1, -1]
    assert hole.shape == (2, 1, 16, 16)
    assert hole[0, 0, :8].all()
    assert not hole[0, 0, 8:].any()


def test_the_inpainter_repaints_the_hole_and_leaves_the_rest():
    recipe = recipes.get("glide_portraits_inpaint")
    model = recipe.model().eval()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    hole = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    hole[..., :8, :] = True
    tokens = recipe.tokenizer().encode(["a red hat", "no hat"])
    drawn = [
        recipe.sample(
            model,
            2,
            torch.Generator().manual_seed(0),
            tokens,
            image=x,
            mask=hole,
            steps=2,
            w=w,
        )
        for w in (1.0, 3.0)
    ]
    for y in drawn:
        assert torch.equal(y[:, :, 8:], x[:, :, 8:])
        assert not torch.equal(y[:, :, :8], x[:, :, :8])
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(
    "name", ["ddpm_digits", "ddpm_scenes", "glide_portraits", "glide_portraits_inpaint"]
)
@pytest.mark.parametrize("w", [None, 0.0, 1.0, 2.0])
def test_the_bar_ends_where_the_drawing_does(name, w):
    recipe = recipes.get(name)
    model = recipe.model().eval()
    settings = {"steps": 1} | ({} if w is None else {"w": w})
    if not settings.keys() <= drawing.takes(recipe).keys():
        pytest.skip("no guidance")
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    recipe.sample(model, 1, torch.Generator().manual_seed(0), **settings)
    assert len(calls) == drawing.evaluations(recipe, 1, settings)


def test_a_shown_bar_changes_nothing_that_is_drawn(monkeypatch, capsys):
    # tqdm tells by its return value whether it just drew itself
    monkeypatch.setattr(drawing, "tqdm", partial(drawing.tqdm, mininterval=0))
    model = nn.Linear(1, 1)
    with drawing.counted(model, 2):
        shown = [model(torch.ones(1)) for _ in range(2)]
    assert all(torch.equal(y, model(torch.ones(1))) for y in shown)
    assert "2/2" in capsys.readouterr().err
    assert not model._forward_hooks


def test_a_sheet_of_the_shipped_digits(here, capsys):
    assert main(["sample", "ddpm-digits", "--count", "2", "--steps", "2"]) == 0
    assert "2/2" in capsys.readouterr().err
    with Image.open(here / "ddpm_digits.png") as sheet:
        assert sheet.size == (2 * 28 + 2, 28)


def test_guidance_of_digits_moves_away_from_the_unconditional():
    recipe = recipes.get("ddpm_digits")
    model = weights.load_pretrained(recipe.model(), "ddpm_digits")
    drawn = {
        w: recipe.sample(model, 2, torch.Generator().manual_seed(0), steps=2, w=w)
        for w in (0.0, 1.0, 3.0)
    }
    assert not torch.equal(drawn[0.0], drawn[1.0])
    assert not torch.equal(drawn[1.0], drawn[3.0])


def test_words_of_other_pictures_are_refused(refused):
    says = refused("glide-portraits", "a happy person left of a sad person")
    assert "unknown word 'left'" in says
    assert "did you mean 'two'?" in refused("glide-scenes", "2 red circles")
