import math

import pytest
import torch

from minilib.data.emoji64.pictures import pictures
from minilib.data.emoji64.splits import split
from minilib.data.emoji64.styles import STYLES
from minilib.models.dalle import DALLE, DALLEConfig
from minilib.models.dvae import DVAE, DVAEConfig
from minilib.recipes import dalle_grid
from minilib.recipes.dalle_grid import (
    LENGTH,
    captions_of,
    common_tokens,
    emoji_in_tokens,
    emoji_tokens,
    first,
    held_out,
    loss_of_emoji,
    names,
    sample_emoji,
    score_emoji,
    styles,
    validation,
)
from minilib.text.words import END, PADDING, START
from minilib.train import Draw


@pytest.fixture
def dvae(monkeypatch):
    """A small discrete VAE without training in the place of the shipped one."""
    torch.manual_seed(0)
    model = DVAE(DVAEConfig(codes=9, width=16, blocks=1)).eval()
    monkeypatch.setattr(dalle_grid, "emoji_dvae", lambda: model)
    return model


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = DALLEConfig(
        len(emoji_tokens()), LENGTH, codes=9, width=16, depth=1, heads=2
    )
    return DALLE(sizes).eval()


def true(cells):
    """The pictures of cells (N, 2)."""
    grid = torch.stack([pictures(style, 32) for style in STYLES], dim=1)
    return grid[cells[:, 0], cells[:, 1]]


# ---------- captions ----------


def test_the_caption_of_each_cell_comes_back_and_the_longest_just_fits():
    texts = captions_of(torch.ones(935, 5).nonzero())
    tokens = emoji_tokens().encode(texts)
    assert tokens.shape == (4_675, LENGTH)
    assert (tokens[:, -1] == END).any()
    assert (tokens[:, 0] == START).all()
    assert emoji_tokens().decode(tokens) == [text.lower() for text in texts]
    assert len({tuple(row) for row in tokens.tolist()}) == 4_675


def test_the_vocabulary_is_that_of_the_shipped_weights():
    tokens = emoji_tokens()
    assert len(tokens) == 1024
    found = tokens.encode(["red apple, noto style"])[0]
    parts = [tokens.decode(token[None, None])[0] for token in found]
    assert parts[:7] == ["", "red", " apple", ",", " noto", " style", ""]
    assert tokens.encode([""])[0, :3].tolist() == [START, END, PADDING]


def test_case_spaces_and_a_full_stop_do_not_matter():
    texts = ["red apple, old noto style", " Red  apple, Old Noto style. "]
    one, other = emoji_tokens().encode(texts)
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red apple", "ends with no style that training showed: .* 'noto style', 'old"),
        ("red apple, shaded fluent style", "and then one of 'noto style'"),
        ("red apple, noto", "put a comma after the name"),
        ("a red apple, noto style", "called 'a red apple': did you mean 'red apple'"),
        ("qqq, noto style", "called 'qqq': names are Unicode's"),
        ("noto style", "ends with no style"),
    ],
)
def test_captions_that_training_never_told_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        emoji_tokens().encode(["red apple, noto style", text])


def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match="put it into a list"):
        emoji_tokens().encode("red apple, noto style")


def test_the_words_are_those_of_names_and_styles():
    heard = emoji_tokens().heard()
    assert {"apple", "noto", "style", "twemoji", "flat", "eight-spoked"} <= set(heard)
    assert "shaded" not in heard
    assert (len(names()), len(styles())) == (935, 5)


# ---------- pictures in tokens ----------


def test_of_codes_that_fit_as_well_the_common_one_is_taken():
    logits = torch.full((50, 3, 2, 2), -9.0)
    logits[:40, 0] = 0  # most places are sure
    logits[40:, 1] = 0.5  # these like code 1 a little more than code 0
    logits[40:, 0] = 0.0
    assert (common_tokens(logits) == 0).all()
    logits[40:, 1] = 8.0  # and now a great deal
    tokens = common_tokens(logits)
    assert (tokens[40:] == 1).all()
    assert (tokens[:40] == 0).all()


def trained():
    """The cells that are trained on."""
    cells = split()
    cells[validation()[:, 0], validation()[:, 1]] = False
    return cells.nonzero()


def test_training_sees_captions_beside_their_pictures_in_tokens(dvae):
    text, image = emoji_in_tokens.__wrapped__()
    cells = trained()
    assert text.shape == (3_603, LENGTH)
    assert emoji_tokens().decode(text) == [
        caption.lower() for caption in captions_of(cells)
    ]
    with torch.no_grad():
        logits = dvae.logits(true(cells))
    assert torch.equal(image, common_tokens(logits))


def test_choices_are_made_on_cells_of_concepts_that_three_others_show():
    cells = validation()
    assert split()[cells[:, 0], cells[:, 1]].all()
    assert len(cells) == len(cells[:, 0].unique()) == 342
    left = torch.bincount(trained()[:, 0], minlength=935)
    assert left.min() >= 3
    assert cells[:, 1].bincount().min() > 50  # of each style


def test_the_commoner_tokens_of_the_shipped_vae_draw_nearly_the_same():
    with torch.no_grad():
        dvae, x = dalle_grid.emoji_dvae(), true(held_out()[:300])
        logits = dvae.logits(x)
        plain, common = logits.argmax(dim=1).flatten(1), common_tokens(logits)
        error = [
            float((dvae.decode_tokens(tokens) - x).square().mean())
            for tokens in (plain, common)
        ]
    assert error[1] < 1.15 * error[0]
    white = (x[:, :, :4, :4].amin(dim=(1, 2, 3)) == 1).nonzero()[:, 0]
    assert len(common[white, 0].unique()) < len(plain[white, 0].unique())


# ---------- training, drawing, scoring ----------


def draw_of(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(0, n), n)


def test_the_model_reads_spoilt_pictures_and_tells_the_true_ones():
    n, read = 3_000, []
    text = emoji_tokens().encode(["red apple, noto style"]).expand(n, -1)
    image = torch.zeros(n, 64, dtype=torch.long)

    class Sure:
        """Tells token 0 everywhere, with probability 1 nearly."""

        config = DALLEConfig(len(emoji_tokens()), LENGTH, codes=9)

        def __call__(self, words, picture):
            read.append((words, picture))
            logits = torch.zeros(n, 64, 9)
            logits[..., 0] = 50
            return torch.zeros(n, LENGTH - 1, len(emoji_tokens())), logits

    loss = loss_of_emoji(Sure(), text, image, draw=draw_of(n))
    words, picture = read[0]
    assert float(loss) == pytest.approx(math.log(1024) / 8)  # of the text alone
    share = (picture != 0).double().mean(dim=1) * 9 / 8  # one in nine is the same
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float((share < 0.25).double().mean()) == pytest.approx(0.25, abs=0.04)
    assert picture.min() == 0
    assert picture.max() == 8
    hidden = (words[:, 1] == END).double().mean()
    assert float(hidden) == pytest.approx(0.1, abs=0.02)


def test_pictures_are_what_the_tokens_stand_for(dvae, model, monkeypatch):
    told = {}

    def drawn(model, text, generator, **settings):
        told.update(settings, text=text, generator=generator)
        return torch.arange(len(text))[:, None].expand(-1, 64)

    monkeypatch.setattr(dalle_grid, "draw_tokens", drawn)
    g, y = torch.Generator(), emoji_tokens().encode(captions_of(held_out()[:2]))
    x = sample_emoji(model, 2, g, y, w=3.0, top_p=0.9, progress="tokens")
    assert torch.equal(x, dvae.decode_tokens(torch.tensor([[0] * 64, [1] * 64])))
    assert torch.equal(told.pop("text"), y)
    assert told == {"generator": g, "w": 3.0, "top_p": 0.9, "progress": "tokens"}


def test_without_a_prompt_held_out_cells_are_drawn(dvae, model):
    x = sample_emoji(model, 3, torch.Generator().manual_seed(0))
    y = emoji_tokens().encode(captions_of(held_out()[:3]))
    again = sample_emoji(model, 3, torch.Generator().manual_seed(0), y)
    assert x.shape == (3, 3, 32, 32)
    assert torch.equal(x, again)
    assert len(sample_emoji(model, 731, torch.Generator())) == 731


def test_held_out_cells_are_all_that_training_never_shows():
    cells = held_out()
    assert len({tuple(cell) for cell in cells.tolist()}) == len(cells) == 730
    assert not split()[cells[:, 0], cells[:, 1]].any()
    assert len(cells[:20, 0].unique()) > 15  # of many concepts


def test_emoji_drawn_as_told_score_one(model, monkeypatch):
    x = true(held_out())

    def drawn(model, n, generator):
        assert n == 730
        return x

    monkeypatch.setattr(dalle_grid, "sample_emoji", drawn)
    assert score_emoji(model) == {"cell": 1, "row": 1, "column": 1}


def test_another_style_is_wrong_in_the_row_and_another_concept_in_the_column():
    cells = held_out()[:50]
    style = cells.clone()
    style[:, 1] = (style[:, 1] + 1) % 5
    concept = cells.clone()
    concept[:, 0] = (concept[:, 0] + 1) % 935
    assert first(true(style), cells)["row"] == 0
    assert first(true(concept), cells)["column"] == 0
    assert first(true(style), cells)["cell"] == 0
    half = torch.cat([true(cells[:25]), true(style[25:])])
    assert first(half, cells)["cell"] == 0.5
