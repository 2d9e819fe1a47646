import math

import pytest
import torch
from torch.nn import functional as F

from minilib.models.clip import CLIP, CLIPConfig, TextConfig
from minilib.models.dalle import (
    DALLE,
    DALLEConfig,
    both_captions,
    column_mask,
    convolution_mask,
    dalle_loss,
    draw_tokens,
    guided_logits,
    image_log_likelihood,
    rerank,
    row_mask,
    similarity,
    sparse_masks,
    with_text,
)
from minilib.models.glide import null_captions
from minilib.nets.vit import ViTConfig
from minilib.text.words import END, START
from minilib.train import Draw

SIZES = {"words": 13, "length": 5, "width": 16, "heads": 2}
TEXT = torch.tensor(
    [[START, 4, END, 0, 0], [START, 9, 5, 12, END], [START, END, 0, 0, 0]]
)
KINDS = ["full", "sparse"]
both = pytest.mark.parametrize("attention", KINDS)


def tiny(attention="full"):
    """A DALL·E in float64 with weights large enough that every token tells."""
    torch.manual_seed(0)
    model = (
        DALLE(DALLEConfig(**SIZES, codes=7, side=3, depth=4, attention=attention))
        .double()
        .eval()
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def some_image(n=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 7, (len(TEXT), n), generator=g)


def a_draw(rows=3):
    return Draw(torch.Generator().manual_seed(0), slice(0, rows), rows)


def rows(picture):
    """A mask as it is drawn: x where a token looks."""
    return torch.tensor([[sign == "x" for sign in line] for line in picture.split()])


# ---------- what an image token sees ----------


def test_row_attention_ends_right_above_as_in_the_papers_figure():
    mask = row_mask(4)
    assert mask.sum(dim=1).tolist() == [1, 2, 3, 4, *[5] * 12]
    for token in range(4, 16):  # 5 in raster order, itself the last of them
        assert mask[token].nonzero()[:, 0].tolist() == [*range(token - 4, token + 1)]


def test_column_attention_as_in_the_papers_figure():
    mask = column_mask(4)
    assert mask[13].nonzero()[:, 0].tolist() == [1, 5, 9, 13]
    assert mask.sum(dim=1).tolist() == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4


def test_convolution_wraps_around_as_in_the_papers_figure():
    assert torch.equal(
        convolution_mask(3),
        rows("""
            x........
            xx.......
            xxx......
            xxxx.....
            xxxxx....
            .xxxxx...
            ..xxxxx..
            ...xxxxx.
            ....xxxxx
        """),
    )
    mask = convolution_mask(4)
    # row 2, column 1: three above, one to the left, itself
    assert mask[9].nonzero()[:, 0].tolist() == [4, 5, 6, 8, 9]
    # row 2, column 0: to its left is the last one of the row above, as in memory
    assert mask[8].nonzero()[:, 0].tolist() == [3, 4, 5, 7, 8]
    assert convolution_mask(8, 5)[36].nonzero()[:, 0].tolist() == [
        *range(18, 23), *range(26, 31), 34, 35, 36,
    ]  # fmt: skip


def test_text_sees_text_and_image_tokens_see_all_of_it():
    expected = rows("""
        x......
        xx.....
        xxx....
        xxxx...
        xxx.x..
        xxxx.x.
        xxx.x.x
    """)
    assert torch.equal(with_text(column_mask(2), 3), expected)


def test_layers_look_along_rows_columns_and_at_last_around():
    masks = sparse_masks(2, 3, 8)
    kinds = {"r": row_mask(3), "c": column_mask(3), "k": convolution_mask(3)}
    for mask, kind in zip(masks, "rcrrrcrk", strict=True):
        assert torch.equal(mask, with_text(kinds[kind], 2))


def later(model, text, image):
    with torch.no_grad():
        text_logits, image_logits = model(text, image)
    return [*text_logits.unbind(1), *image_logits.unbind(1)]  # of tokens 1 to 13


@both
@pytest.mark.parametrize("place", range(14))
def test_a_token_changes_what_comes_after_it_and_nothing_before(attention, place):
    model, text, image = tiny(attention), TEXT[1:2].clone(), some_image()[1:2]
    before = later(model, text, image)
    if place < 5:
        text[:, place] = 7
    else:
        image[:, place - 5] = (image[:, place - 5] + 1) % 7
    gaps = [
        float((a - b).abs().max())
        for a, b in zip(before, later(model, text, image), strict=True)
    ]
    assert gaps[:place] == [0] * len(
        gaps[:place]
    )  # token `place` is told by gaps[place - 1]
    assert all(gap > 1e-4 for gap in gaps[place:])


def test_image_tokens_know_their_row_and_column():
    model = tiny()
    h = model.embed_image(torch.full((1, 9), 3)).detach()[0]
    apart = torch.cdist(h, h) + torch.eye(9)
    assert apart.min() > 0.1
    rows_apart = h.view(3, 3, -1).diff(dim=0)  # the same from each column
    assert torch.allclose(
        rows_apart[:, :1].expand_as(rows_apart), rows_apart, atol=1e-12
    )


def test_padding_has_a_vector_for_each_place_which_no_word_shares():
    model = tiny()
    h = model.embed_text(TEXT).detach()
    expected = (model.padding + model.text_position).detach()
    assert torch.equal(h[2, 2:], expected[2:])
    words = (model.text_embed.weight[TEXT[1]] + model.text_position).detach()
    assert torch.equal(h[1], words)


# ---------- loss ----------


def test_the_loss_weighs_text_an_eighth_and_image_seven():
    model, image = tiny(), some_image()
    text_logits, image_logits = (out.detach() for out in model(TEXT, image))
    assert text_logits.shape == (3, 4, 13)
    assert image_logits.shape == (3, 9, 7)
    of_text = [
        -text_logits[b, i].log_softmax(0)[TEXT[b, i + 1]]
        for b in range(3)
        for i in range(4)
    ]
    of_image = [
        -image_logits[b, i].log_softmax(0)[image[b, i]]
        for b in range(3)
        for i in range(9)
    ]
    expected = sum(of_text) / 12 / 8 + sum(of_image) / 27 * 7 / 8
    loss = dalle_loss(model, TEXT, image, draw=a_draw(), p_uncond=0)
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-12)


def test_some_captions_are_dropped_by_the_draw():
    seen = []

    def spy(text, image):
        seen.append(text)
        return torch.zeros(len(text), 4, 13), torch.zeros(len(text), 9, 7)

    text, image = TEXT[1:2].expand(1000, -1), torch.zeros(1000, 9, dtype=torch.int64)
    loss = dalle_loss(spy, text, image, draw=a_draw(rows=1000), p_uncond=0.1)
    assert float(loss) == pytest.approx(math.log(13) / 8 + math.log(7) * 7 / 8)
    dropped = (seen[0] == TEXT[2]).all(dim=1)
    assert (seen[0][~dropped] == TEXT[1]).all()
    assert int(dropped.sum()) == int((a_draw(rows=1000).uniform(1) < 0.1).sum()) > 70


def test_log_likelihood_of_all_pictures_together_is_one():
    torch.manual_seed(0)
    config = DALLEConfig(**SIZES, codes=2, side=2, depth=2)
    model = DALLE(config).double()
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)  # (16, 4)
    for text in TEXT:
        found = image_log_likelihood(model, text.expand(16, -1), every)
        assert float(found.exp().sum().detach()) == pytest.approx(1, abs=1e-12)


# ---------- drawing ----------


@both
@pytest.mark.parametrize("start", [0, 1, 6])
def test_logits_with_the_cache_are_those_without(attention, start):
    model, image = tiny(attention), some_image()
    with torch.no_grad():
        _, whole = model(TEXT, image)
        cache = model.new_cache(len(TEXT))
        cached = [model.read(TEXT, image[:, :start], cache)]
        cached += [model.read_on(image[:, n : n + 1], cache) for n in range(start, 8)]
        plain = [model.read(TEXT, image[:, :n]) for n in range(start, 9)]
    expected = whole[:, start:]
    for found in (cached, plain):
        gap = (torch.stack(found, dim=1) - expected).abs().max()
        assert gap < 1e-10 * expected.abs().max()


def likeliest(model, text, image):
    """Image tokens, each the likeliest, from the model as it is trained."""
    for n in range(image.shape[1], 9):
        _, logits = model(text, F.pad(image, (0, 9 - n)))
        image = torch.cat([image, logits[:, n : n + 1].argmax(dim=2)], dim=1)
    return image


@both
@pytest.mark.parametrize("start", [0, 4, 9])
def test_at_temperature_0_the_likeliest_tokens_are_drawn(attention, start):
    model, given = tiny(attention), some_image(start)
    found = draw_tokens(model, TEXT, torch.Generator(), temperature=0, given=given)
    assert torch.equal(found, likeliest(model, TEXT, given))


def test_guidance_between_and_beyond_the_two_captions():
    given, g = some_image(4), torch.Generator
    for attention in KINDS:
        model = tiny(attention)
        plain = draw_tokens(model, null_captions(TEXT), g(), temperature=0, given=given)
        free = draw_tokens(model, TEXT, g(), temperature=0, w=0, given=given)
        assert torch.equal(free, plain)
        image = given
        for _ in range(5):
            logits = [
                model.read(text, image).detach() for text in (TEXT, null_captions(TEXT))
            ]
            token = (3 * logits[0] - 2 * logits[1]).argmax(dim=1, keepdim=True)
            image = torch.cat([image, token], dim=1)
        found = draw_tokens(model, TEXT, g(), temperature=0, w=3, given=given)
        assert torch.equal(found, image)
        assert not torch.equal(found, plain)


def test_guided_logits():
    both_logits = torch.tensor([[1.0, 5.0], [0.0, 2.0]])  # conditional, unconditional
    assert guided_logits(both_logits, 3).tolist() == [[3, 11]]
    assert guided_logits(both_logits, 0.5).tolist() == [[0.5, 3.5]]
    for w in (0, 1):
        assert guided_logits(both_logits, w) is both_logits
    assert torch.equal(both_captions(TEXT, 1), TEXT)
    assert torch.equal(both_captions(TEXT, 0), null_captions(TEXT))
    assert torch.equal(both_captions(TEXT, 2), torch.cat([TEXT, null_captions(TEXT)]))


def test_pictures_come_as_often_as_the_model_says():
    torch.manual_seed(0)
    config = DALLEConfig(**SIZES, codes=2, side=2, depth=2)
    model, n = DALLE(config), 20_000
    with torch.no_grad():
        model.image_embed.weight.mul_(40)
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)
    text = TEXT[1].expand(n, -1)
    found = draw_tokens(model, text, torch.Generator().manual_seed(0))
    shares = torch.bincount(found @ torch.tensor([8, 4, 2, 1]), minlength=16) / n
    expected = image_log_likelihood(model, text[:16], every).exp().detach()
    assert expected.max() > 3 * expected.min()
    assert shares.tolist() == pytest.approx(expected.tolist(), abs=0.012)


def test_the_generator_and_the_settings_decide():
    model = tiny()

    def drawn(seed, **options):
        g = torch.Generator().manual_seed(seed)
        return draw_tokens(model, TEXT, g, **options).tolist()

    assert drawn(0) == drawn(0) != drawn(1)
    coldest = drawn(0, temperature=0)
    assert drawn(0, top_k=1) == drawn(1, top_p=1e-9) == coldest != drawn(0)


def test_a_bar_shows_how_many_tokens_are_drawn(capsys):
    draw_tokens(tiny(), TEXT, torch.Generator(), given=some_image(3), progress="tokens")
    shown = capsys.readouterr().err
    assert "tokens: 100%" in shown
    assert "6/6" in shown
    draw_tokens(tiny(), TEXT, torch.Generator())
    assert not capsys.readouterr().err


# ---------- re-ranking ----------


def test_the_best_of_each_captions_pictures_come_first():
    x = torch.tensor([[3, 1, 2], [7, 9, 8]])[..., None] * torch.ones(4)  # (B, K, …)
    captions = torch.tensor([[1], [-1]])

    def fit(pictures, tokens):
        assert pictures.shape == (6, 4)
        return pictures[:, 0] * tokens[:, 0]

    assert rerank(fit, x, captions)[..., 0].tolist() == [[3, 2, 1], [7, 8, 9]]
    assert torch.equal(rerank(lambda x, _: 0 * x[:, 0], x, captions), x)


def test_reranking_by_clip():
    torch.manual_seed(0)
    text = TextConfig(words=13, length=5, width=16, depth=1)
    clip = CLIP(CLIPConfig(text, ViTConfig(size=8, patch=4, dim=16, depth=1, heads=2)))
    x = torch.randn(3, 4, 3, 8, 8)
    with torch.no_grad():
        score = similarity(clip)
        ordered = rerank(score, x, TEXT)
        logits = clip(ordered.flatten(0, 1), TEXT).view(3, 4, 3)
        fit = score(x[:, 0], TEXT)
    assert fit.shape == (3,)
    assert fit.abs().max() <= 1
    for b in range(3):
        assert (logits[b, :, b].diff() < 0).all()
        assert torch.equal(
            ordered[b].flatten(1).sum(1).sort().values,
            x[b].flatten(1).sum(1).sort().values,
        )


# ---------- what is refused ----------


def test_tokens_out_of_range_are_refused():
    model, image = tiny(), some_image()
    with pytest.raises(ValueError, match="text tokens from 0 to 12, got 0 to 13"):
        model(TEXT + (TEXT == 12).long(), image)
    with pytest.raises(ValueError, match="image tokens from 0 to 6, got 0 to 7"):
        model(TEXT, image.clamp(max=6).index_fill(1, torch.tensor([0]), 7))
    with pytest.raises(ValueError, match="given tokens from 0 to 6, got -1 to 5"):
        draw_tokens(model, TEXT, torch.Generator(), given=torch.tensor([[-1, 5]] * 3))


def test_a_text_or_picture_of_another_length_is_refused():
    model, image = tiny(), some_image()
    with pytest.raises(
        ValueError, match=r"text tokens of shape \(3, 5\), got \(3, 6\)"
    ):
        model(F.pad(TEXT, (0, 1)), image)
    with pytest.raises(
        ValueError, match=r"image tokens of shape \(3, 9\), got \(3, 10\)"
    ):
        model(TEXT, some_image(10))
    with pytest.raises(
        ValueError, match=r"image tokens of shape \(3, 9\), got \(2, 9\)"
    ):
        model(TEXT, image[:2])
    with pytest.raises(
        ValueError, match=r"given tokens of shape \(3, 9\), got \(3, 10\)"
    ):
        draw_tokens(model, TEXT, torch.Generator(), given=some_image(10))
    with pytest.raises(
        ValueError, match=r"given tokens of shape \(3, 2\), got \(2, 2\)"
    ):
        draw_tokens(model, TEXT, torch.Generator(), given=some_image(2)[:2])
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="at most 9 image tokens, got 10"),
    ):
        model.embed_image(some_image(2), start=8)


def test_a_cache_without_a_caption_or_of_another_batch_is_refused():
    model = tiny()
    with torch.no_grad():
        with pytest.raises(ValueError, match="holds a caption: `read` comes first"):
            model.read_on(some_image(1), model.new_cache(3))
        with pytest.raises(ValueError, match=r"make one with new_cache\(3\)"):
            model.read(TEXT, some_image(1), model.new_cache(6))
        cache = model.new_cache(len(TEXT))
        model.read(TEXT, some_image(0), cache)
        with pytest.raises(ValueError, match="an empty cache, got one that has read"):
            model.read(TEXT, some_image(0), cache)
        with pytest.raises(ValueError, match="image tokens of shape"):
            model.read(TEXT, some_image(1)[:1])


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="attention 'full' or 'sparse', got 'rows'"):
        DALLEConfig(words=5, attention="rows")
    with pytest.raises(
        ValueError, match="length to be a whole number from 2 up, got 1"
    ):
        DALLEConfig(words=5, length=1)
    with pytest.raises(ValueError, match="side to be a whole number from 1 up, got 0"):
        DALLEConfig(words=5, side=0)
    with pytest.raises(ValueError, match="expected a generator"):
        draw_tokens(tiny(), TEXT, 0)
    with pytest.raises(ValueError, match="p_uncond from 0 to 1, got 2"):
        dalle_loss(tiny(), TEXT, some_image(), draw=a_draw(), p_uncond=2)


def test_a_score_or_captions_of_another_number_are_refused():
    x = torch.zeros(3, 4, 3, 8, 8)
    with pytest.raises(ValueError, match=r"captions of shape \(3, 5\), got \(2, 5\)"):
        rerank(lambda x, _: x[:, 0, 0, 0], x, TEXT[:2])
    with pytest.raises(ValueError, match=r"a score of shape \(12,\), got \(12, 3\)"):
        rerank(lambda x, _: x[:, :, 0, 0], x, TEXT)
