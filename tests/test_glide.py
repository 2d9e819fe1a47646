"""GLIDE: what reaches the picture of a caption, and what does not."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from minilib.clip import TextConfig
from minilib.diffusion.schedule import X_0, Schedule, linear_beta
from minilib.glide import (
    GLIDE,
    GLIDEConfig,
    TextAttention,
    hide_captions,
    nothing_said,
    text_loss,
)
from minilib.tokens import END, PADDING, START, WordTokenizer
from minilib.train import Draw
from minilib.unet import Context, PlaceAttention, UNetConfig

TEXT = TextConfig(words=20, length=8, width=16, depth=1, heads=2)
UNET = UNetConfig(
    channels=3,
    channels_out=3,
    width=16,
    multipliers=(1, 1),
    blocks=1,
    attention=(0, 1),
    head_dim=8,
    attend=partial(TextAttention, context=16),
)
CHAIN = Schedule(linear_beta())


def filled(module, seed=0):
    """The module with every parameter random: zeroed layers hide what is before
    them.
    """
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=g)
    return module.eval()


@pytest.fixture
def model():
    return filled(GLIDE(GLIDEConfig(TEXT, UNET)))


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    tokens = torch.full((4, 8), PADDING)
    tokens[:, 0] = START
    for row, words in enumerate([1, 2, 3, 6]):
        tokens[row, 1 : 1 + words] = torch.randint(END + 1, 20, (words,), generator=g)
        tokens[row, 1 + words] = END
    return torch.randn(4, 3, 8, 8, generator=g), torch.tensor([0, 10, 500, 999]), tokens


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


def test_places_look_at_places_and_words_by_one_softmax():
    layer = filled(TextAttention(UNET, 16, context=16))
    g = torch.Generator().manual_seed(2)
    h, words = torch.randn(2, 16, 4, 4, generator=g), torch.randn(2, 5, 16, generator=g)
    seen = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    q, k, v = layer.attention.qkv(layer.norm(h).flatten(2).transpose(1, 2)).chunk(
        3, dim=2
    )
    more_k, more_v = layer.words(words).chunk(2, dim=2)
    rows = []
    # one picture at a time, its padding cut off, and torch's own attention
    for b in range(2):
        count = int(seen[b].sum())
        keys = torch.cat([k[b], more_k[b, :count]]).view(-1, 2, 8).transpose(0, 1)
        values = torch.cat([v[b], more_v[b, :count]]).view(-1, 2, 8).transpose(0, 1)
        queries = q[b].view(-1, 2, 8).transpose(0, 1)
        rows.append(
            F.scaled_dot_product_attention(queries, keys, values)
            .transpose(0, 1)
            .reshape(16, 16)
        )
    expected = h + layer.attention.out(torch.stack(rows)).transpose(1, 2).view(
        2, 16, 4, 4
    )
    assert torch.allclose(layer(h, Context(words, seen)), expected, atol=1e-5)


def test_without_a_caption_it_is_the_attention_of_places():
    layer, plain = filled(TextAttention(UNET, 16, context=16)), PlaceAttention(UNET, 16)
    plain.load_state_dict(
        {k: v for k, v in layer.state_dict().items() if not k.startswith("words")}
    )
    h = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(h), plain(h))


def test_padding_is_not_looked_at(model, batch):
    x, t, tokens = batch
    cut = [
        model(
            x[i : i + 1],
            t[i : i + 1],
            tokens[i : i + 1, : int((tokens[i] != PADDING).sum())],
        )
        for i in range(4)
    ]
    assert torch.allclose(model(x, t, tokens), torch.cat(cut), atol=1e-4)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_every_word_matters(model, batch, place):
    x, t, tokens = batch
    changed = tokens.clone()
    changed[3, place] = (tokens[3, place] - 2) % 17 + END + 1
    apart = (model(x, t, tokens) - model(x, t, changed)).abs().flatten(1).amax(dim=1)
    assert apart[3] > 1e-3
    assert apart[:3].max() == 0


def test_words_reach_the_picture_through_attention_and_through_the_blocks(model, batch):
    """Each way alone lets a caption through; with both shut there is none."""
    x, t, tokens = batch
    told, other = model(x, t, tokens), nothing_said(tokens)
    attention = [m for m in model.modules() if isinstance(m, TextAttention)]
    # one a level on the way down, one in the middle, two a level on the way up
    assert len(attention) == 7
    for layer in attention:
        layer.words.weight.data.zero_()
    assert not torch.allclose(model(x, t, tokens), told)
    assert not torch.allclose(model(x, t, tokens), model(x, t, other))
    model.to_emb.weight.data.zero_()
    only_padding = tokens.clone()
    # other words, as many of them: the biases of `words` count them
    only_padding[tokens > END] = END + 1
    assert torch.allclose(model(x, t, tokens), model(x, t, only_padding), atol=1e-4)


def test_a_network_without_room_for_text_is_refused(batch):
    with pytest.raises(RuntimeError):
        GLIDE(GLIDEConfig(replace(TEXT, width=8), UNET))(*batch)


# ---------- hiding captions ----------


def test_the_empty_caption_is_the_tokenizers():
    tokens = WordTokenizer(["a red hat"], 8).encode(["a red hat", "red"])
    assert torch.equal(
        nothing_said(tokens), WordTokenizer(["a red hat"], 8).encode(["", ""])
    )


@pytest.mark.parametrize("untold", [0.0, 0.1, 0.5, 1.0])
def test_captions_are_hidden_as_often_as_stated_and_whole(untold):
    tokens = WordTokenizer(["a red hat"], 8).encode(["a red hat"] * 20_000)
    hidden = hide_captions(tokens, draw(len(tokens)), untold)
    empty = (hidden == nothing_said(tokens)).all(dim=1)
    assert float(empty.float().mean()) == pytest.approx(untold, abs=0.01)
    assert torch.equal(hidden[~empty], tokens[~empty])


def test_the_loss_hides_what_it_should(model, batch):
    x, _, tokens = batch
    loss = partial(text_loss, model, x, schedule=CHAIN, prediction=X_0)
    always = [
        float(loss(t, draw=draw(4), untold=1.0).detach())
        for t in (tokens, nothing_said(tokens))
    ]
    never = [
        float(loss(t, draw=draw(4), untold=0.0).detach())
        for t in (tokens, nothing_said(tokens))
    ]
    assert always[0] == always[1] == pytest.approx(never[1])
    assert never[0] != never[1]


def test_a_step_reaches_every_parameter(model, batch):
    x, _, tokens = batch
    text_loss(
        model, x, tokens, draw=draw(4), untold=0.0, schedule=CHAIN, prediction=X_0
    ).backward()
    unused = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    assert unused == []
