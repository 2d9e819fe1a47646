import math

import pytest
import torch
from torch.nn import functional as F

from minilib.models.vision_language.captioner import (
    Captioner,
    CaptionerConfig,
    caption_loss,
    draw_captions,
)
from minilib.text.words import END, PADDING, START
from minilib.train import fit, shuffled

SIZES = {"words": 11, "dim": 4, "prefix": 3, "length": 7, "width": 16, "heads": 2}
TOKENS = torch.tensor(
    [[START, 4, 7, END, 0, 0], [START, 9, 5, 10, 3, END], [START, END, 0, 0, 0, 0]]
)


def tiny():
    """A captioner in float64 with weights large enough that every vector tells."""
    torch.manual_seed(0)
    model = Captioner(CaptionerConfig(**SIZES, depth=2)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def embeddings(n=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, 4, generator=g, dtype=torch.float64), dim=1)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------- the model ----------


@pytest.mark.parametrize("place", range(5))
def test_a_word_changes_what_is_said_after_it_and_nothing_before(place):
    model, u, tokens = tiny(), embeddings(), TOKENS.clone()
    before = model(u, tokens).detach()
    tokens[:, place] = 6
    gap = (model(u, tokens).detach() - before).abs().amax(dim=2)  # (B, L - 1)
    assert (gap[:, :place] == 0).all()
    assert (gap[:, place:] > 1e-6).all()


def test_each_number_of_the_embedding_changes_every_word():
    model, u = tiny(), embeddings()
    before = model(u, TOKENS).detach()
    assert before.shape == (3, 5, 11)
    for i in range(4):
        moved = u.clone()
        moved[1, i] += 0.5
        gap = (model(moved, TOKENS).detach() - before).abs().amax(dim=2)
        assert (gap[1] > 1e-6).all()
        assert (gap[[0, 2]] == 0).all()


def test_the_picture_stands_before_the_words_in_vectors_of_their_kind():
    """By the plain way: one sequence of vectors, each with its position, through the
    transformer.
    """
    model, u = tiny(), embeddings()
    first = model.project(u).view(3, 3, 16)
    words = model.gpt.embed.weight[TOKENS[:, :-1]]
    h = torch.cat([first, words], dim=1) + model.gpt.position[:8]
    expected = (model.gpt.transformer(h) @ model.gpt.embed.weight.T)[:, 3:]
    assert torch.equal(model(u, TOKENS), expected)


# ---------- loss ----------


def test_the_loss_is_the_mean_over_words_and_ends_without_padding():
    model, u = tiny(), embeddings()
    log_p = model(u, TOKENS).detach().log_softmax(dim=2)
    told = [
        -log_p[b, i, TOKENS[b, i + 1]]
        for b in range(3)
        for i in range(5)
        if TOKENS[b, i + 1] != PADDING
    ]
    assert len(told) == 3 + 5 + 1
    loss = float(caption_loss(model, u, TOKENS).detach())
    assert loss == pytest.approx(float(sum(told)) / 9, rel=1e-12)


def test_more_padding_changes_nothing():
    model, u = tiny(), embeddings()
    loss = caption_loss(model, u, TOKENS)
    assert torch.equal(caption_loss(model, u, F.pad(TOKENS, (0, 30))), loss)
    assert torch.equal(caption_loss(model, u[[0, 2]], TOKENS[[0, 2]]), caption_loss(
        model, u[[0, 2]], TOKENS[[0, 2], :4]
    ))  # fmt: skip


def test_a_captioner_learns_what_the_embedding_says_and_words_that_it_does_not():
    """The first word follows from the picture; the second is one of two."""
    torch.manual_seed(0)
    n = 400
    kind = torch.arange(n) % 4
    u = F.one_hot(kind).float()
    second = 7 + torch.arange(n) // 4 % 2
    start, end = torch.full((n,), START), torch.full((n,), END)
    tokens = torch.stack([start, 3 + kind, second, end], dim=1)
    model = Captioner(CaptionerConfig(**SIZES, depth=1))
    batches = shuffled(u, tokens, batch_size=50)
    fitted = fit(model, caption_loss, batches, steps=150, lr=1e-2, progress=False)
    model = fitted.model
    assert float(caption_loss(model, u, tokens).detach()) == pytest.approx(
        math.log(2) / 3, abs=0.02
    )
    greedy = draw_captions(model, u[:8], g(), temperature=0)
    assert torch.equal(greedy[:, 1], 3 + kind[:8])
    drawn = draw_captions(model, u, g())
    assert (drawn[:, 1] == 3 + kind).float().mean() > 0.97
    assert (drawn[:, 3] == END).float().mean() > 0.97
    assert 0.4 < (drawn[:, 2] == 7).float().mean() < 0.6


# ---------- drawing ----------


def likeliest(model, u):
    """Captions by the likeliest token each, without a cache; without PADDING, START."""
    tokens = torch.full((len(u), 1), START)
    for _ in range(5):
        room = F.pad(tokens, (0, 1))
        logits = model(u, room)[:, -1].detach()
        logits[:, :2] = -torch.inf
        tokens = torch.cat([tokens, logits.argmax(dim=1, keepdim=True)], dim=1)
    return tokens


def test_greedy_captions_are_of_the_likeliest_words():
    model, u = tiny(), embeddings(20)
    found = draw_captions(model, u, g(), temperature=0)
    plain = likeliest(model, u)
    ends = 0
    for row, expected in zip(found.tolist(), plain.tolist(), strict=True):
        if END in expected:
            expected = expected[: expected.index(END) + 1]
            ends += 1
        else:
            expected = [*expected, END]
        assert row == expected + [PADDING] * (7 - len(expected))
    assert 0 < ends < 20  # some are cut


def test_every_caption_starts_once_and_ends_once():
    found = draw_captions(tiny(), embeddings(300), g())
    assert found.shape == (300, 7)
    assert (found[:, 0] == START).all()
    assert ((found == START).sum(dim=1) == 1).all()
    assert ((found == END).sum(dim=1) == 1).all()
    after = (found == END).cumsum(dim=1).bool() & (found != END)
    assert torch.equal(found == PADDING, after)


def test_captions_come_as_often_as_the_model_says():
    model, n = tiny(), 20_000
    u = embeddings(1)
    found = draw_captions(model, u.expand(n, -1), g())
    logits = model(u, torch.tensor([[START, 0, 0]])).detach()[0, 0]
    logits[:2] = -torch.inf
    shares = torch.bincount(found[:, 1], minlength=11) / n
    assert shares.tolist() == pytest.approx(logits.softmax(0).tolist(), abs=0.012)


def test_the_generator_and_the_settings_decide():
    model, u = tiny(), embeddings()

    def drawn(seed, **options):
        return draw_captions(model, u, g(seed), **options).tolist()

    assert drawn(0) == drawn(0) != drawn(1)
    coldest = drawn(0, temperature=0)
    assert drawn(0, top_k=1) == drawn(1, top_p=1e-9) == coldest != drawn(0)


# ---------- what is refused ----------


def test_embeddings_and_captions_of_another_form_are_refused():
    model, u = tiny(), embeddings()
    with pytest.raises(ValueError, match=r"embeddings of shape \(3, 4\), got \(3, 3\)"):
        model(u[:, :3], TOKENS)
    with pytest.raises(ValueError, match=r"each of 2 embeddings, got .* \(3, 6\)"):
        model(u[:2], TOKENS)
    with pytest.raises(ValueError, match=r"2 to 7 tokens for each .* got .* \(3, 8\)"):
        model(u, F.pad(TOKENS, (0, 2)))
    with pytest.raises(ValueError, match="tokens from 0 to 10, got 0 to 11"):
        model(u, TOKENS + (TOKENS == 10).long())
    with pytest.raises(ValueError, match="expected a generator"):
        draw_captions(model, u, 0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("prefix", 0, "prefix to be a whole"), ("length", 1, "length to be .* from 2 up")],
)
def test_sizes_that_mean_nothing_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        CaptionerConfig(**(SIZES | {field: value}))
