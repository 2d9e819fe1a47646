"""What `sample` can be told, and what it refuses before it draws."""

import dataclasses
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from minilib import recipes, weights
from minilib.__main__ import main
from minilib.commands import drawing, progress
from minilib.models.glide import null_captions
from minilib.plot import tile
from minilib.recipes.captioned import captioned_scenes, scene_tokens
from minilib.recipes.glide import draw_scenes

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
    (here / "folder").mkdir()
    (here / "file").write_text("in the way")
    for more in ([], ["--each"]):
        assert refused("ddpm_digits", "--out", "folder", *more) == (
            "cannot write folder: Is a directory. Nothing was changed; it is a folder: "
            f"name a file in it, such as {Path('folder', 'NAME')}"
        )
    assert "Nothing was changed; file is a file: choose a folder" in refused(
        "ddpm_digits", "--out", "file/a.png"
    )
    assert not asked
    assert files(here) == ["file"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (
            "ae_digits --steps 5",
            "'ae_digits' has no use for --steps: beside --count, --seed and where to "
            "write it takes nothing. These take --steps: dae_digits, ddpm_digits, ",
        ),
        (
            "gan_digits --steps 5",
            "'gan_digits' has no use for --steps",
        ),
        (
            "cgan_digits --guidance 2",
            "'cgan_digits' has no use for --guidance: beside --count, --seed and where "
            "to write it takes --class. These take --guidance: ",
        ),
        (
            "ddpm_digits --image a.png",
            "takes --class, --steps, --guidance. These take --image: "
            "glide_portraits_inpaint, upsample_scenes\n",
        ),
        (
            "upsample_scenes --image black.png --mask black.png",
            "it takes PROMPT, --image. These take --mask: glide_portraits_inpaint\n",
        ),
        (
            "ae_digits 'a red hat'",
            "no use for PROMPT: beside --count, --seed and where to write it takes "
            "nothing. These take PROMPT: glide_portraits, ",
        ),
        (
            "glide_portraits_inpaint --image black.png",
            "--image and --mask belong together",
        ),
        (
            "glide_portraits_inpaint --mask black.png",
            "--image and --mask belong together",
        ),
        (
            "glide_portraits_inpaint --image no.png --mask no.png",
            "no.png is not there: name the file of a picture",
        ),
        (
            "upsample_scenes --image folder",
            "folder is a folder: name the file of a picture",
        ),
        (
            "upsample_scenes --image words.txt",
            "words.txt cannot be read as a picture",
        ),
        (
            "glide_portraits_inpaint --image black.png --mask black.png",
            "black all over",
        ),
    ],
)
def test_what_a_recipe_has_no_use_for_is_refused(here, asked, refused, told, says):
    Image.new("RGB", (16, 16)).save(here / "black.png")
    (here / "folder").mkdir()
    (here / "words.txt").write_text("a red hat")
    assert says in f"{refused(*shlex.split(told))}\n"
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


@pytest.fixture(scope="module")
def upsampler():
    return weights.load_pretrained(
        recipes.get("upsample_scenes").model(), "upsample_scenes"
    )


def enlarged(model, n, y=None, seed=0, **options):
    draw = torch.Generator().manual_seed(seed)
    return recipes.get("upsample_scenes").sample(model, n, draw, y, **options)


def test_a_picture_is_enlarged_with_and_without_its_caption(upsampler):
    x, texts = captioned_scenes(8, 3, "test", "long")
    small, tokens = F.avg_pool2d(x, 2), scene_tokens().encode(texts)
    told, untold = (enlarged(upsampler, 8, y, image=small) for y in (tokens, None))
    assert torch.equal(told, enlarged(upsampler, 8, tokens, image=small))
    assert not torch.equal(told, enlarged(upsampler, 8, tokens, seed=1, image=small))
    null = null_captions(tokens)
    assert torch.equal(untold, enlarged(upsampler, 8, null, image=small))
    assert not torch.equal(told, untold)
    bilinear = F.interpolate(small, scale_factor=2, mode="bilinear")
    for y in (told, untold):
        assert y.shape == x.shape
        assert (y - x).square().mean() < (bilinear - x).square().mean() * 0.8


def test_without_a_picture_what_glide_scenes_draws_is_enlarged(upsampler):
    texts = captioned_scenes(2, 1, "test")[1]
    tokens = scene_tokens().encode(texts)
    base = weights.load_pretrained(recipes.get("glide_scenes").model(), "glide_scenes")
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = draw_scenes(base, upsampler, noise, tokens)
    assert torch.equal(enlarged(upsampler, 2, tokens), expected)
    assert torch.equal(enlarged(upsampler, 2), expected)  # by default the test captions


def test_enlarging_from_the_command_line(here, capsys):
    scene = captioned_scenes(1, 3, "test", "long")[0]
    Image.fromarray(tile(F.avg_pool2d(scene, 2), columns=1)).save(here / "small.png")
    told = ["--image", "small.png", "--count", "1"]
    assert main(["sample", "upsample-scenes", *told]) == 0
    assert "drawing 1 pictures" in capsys.readouterr().err
    with Image.open(here / "upsample_scenes.png") as drawn:
        large = torch.from_numpy(np.array(drawn)) / 127.5 - 1
    assert large.shape == (32, 32, 3)
    assert (large.permute(2, 0, 1) - scene[0]).square().mean() < 0.05


@pytest.mark.parametrize(
    "name",
    [
        "ddpm_digits",
        "ddpm_scenes",
        "glide_portraits",
        "glide_portraits_inpaint",
        "glide_people",
    ],
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
    monkeypatch.setattr(progress, "tqdm", partial(progress.tqdm, mininterval=0))
    model = nn.Linear(1, 1)
    with progress.counted(model, 2, "drawing"):
        shown = [model(torch.ones(1)) for _ in range(2)]
    assert all(torch.equal(y, model(torch.ones(1))) for y in shown)
    assert "2/2" in capsys.readouterr().err
    assert not model._forward_hooks


def test_a_sheet_of_the_shipped_digits(here, capsys):
    assert main(["sample", "ddpm-digits", "--count", "2", "--steps", "2"]) == 0
    assert "2/2" in capsys.readouterr().err
    with Image.open(here / "ddpm_digits.png") as sheet:
        assert sheet.size == (2 * 28 + 2, 28)


def test_the_denoiser_walks_the_levels_that_are_asked_for():
    recipe, calls = recipes.get("dae_digits"), []
    model = weights.load_pretrained(recipe.model(), "dae_digits")
    model.register_forward_hook(lambda *_: calls.append(1))
    drawn = {}
    for steps in (2, 5, 20, 60):
        told = {} if steps == 20 else {"steps": steps}
        drawn[steps] = recipe.sample(model, 4, torch.Generator().manual_seed(0), **told)
        assert len(calls) == steps == drawing.evaluations(recipe, 4, told)
        calls.clear()
    # a digit is paper and ink: after two levels the strokes are still grey
    grey = {steps: float((x.abs() < 0.8).float().mean()) for steps, x in drawn.items()}
    assert grey[2] > 1.3 * max(grey[20], grey[60])


def test_one_level_is_no_walk(here, capsys):
    assert main(["sample", "dae-digits", "--count", "1", "--steps", "1"]) == 2
    assert "minilib: expected 2 steps or more, got 1" in capsys.readouterr().err
    assert not files(here)


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
    says = refused("glide-portraits", "a happy persen left of a sad person")
    assert "'persen' (did you mean 'person' or 'green' or 'purple'?)" in says
    assert "'left' (" in says
    assert says.endswith(" – all words: python -m minilib list glide_portraits")
    says = refused("glide-portraits", "a blu hat, " * 20)  # it is too long, too
    assert "unknown word 'blu' in" in says
    assert "did you mean 'two'?" in refused("glide-scenes", "2 red circles")
    says = refused("dalle-people", "a smilng person with a yelow cap")
    assert "did you mean 'smiling' or 'skin' for 'smilng' and 'yellow' for" in says
    assert says.endswith(" – all words: python -m minilib list dalle_people")
