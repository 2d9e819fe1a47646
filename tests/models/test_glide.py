"""GLIDE: what reaches the picture of a caption, and what does not."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from minilib.diffusion.schedule import X_0, Schedule, linear_beta
from minilib.models.clip import TextConfig
from minilib.models.glide import (
    FLAWS,
    GLIDE,
    GLIDEConfig,
    TextAttention,
    drop_captions,
    inpainting_loss,
    masked_condition,
    null_captions,
    text_loss,
    upsampling_loss,
    with_condition,
)
from minilib.nets.unet_blocks import Context, SpatialAttention, UNetConfig, grow, shrink
from minilib.text.words import END, PADDING, START, WordTokenizer
from minilib.train import Draw

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
    layer, plain = (
        filled(TextAttention(UNET, 16, context=16)),
        SpatialAttention(UNET, 16),
    )
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
    conditional, other = model(x, t, tokens), null_captions(tokens)
    attention = [m for m in model.modules() if isinstance(m, TextAttention)]
    # one a level on the way down, one in the middle, two a level on the way up
    assert len(attention) == 7
    for layer in attention:
        layer.words.weight.data.zero_()
    assert not torch.allclose(model(x, t, tokens), conditional)
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
        null_captions(tokens), WordTokenizer(["a red hat"], 8).encode(["", ""])
    )


@pytest.mark.parametrize("p_uncond", [0.0, 0.1, 0.5, 1.0])
def test_captions_are_hidden_as_often_as_stated_and_whole(p_uncond):
    tokens = WordTokenizer(["a red hat"], 8).encode(["a red hat"] * 20_000)
    hidden = drop_captions(tokens, draw(len(tokens)), p_uncond)
    empty = (hidden == null_captions(tokens)).all(dim=1)
    assert float(empty.float().mean()) == pytest.approx(p_uncond, abs=0.01)
    assert torch.equal(hidden[~empty], tokens[~empty])


def test_the_loss_hides_what_it_should(model, batch):
    x, _, tokens = batch
    loss = partial(text_loss, model, x, schedule=CHAIN, prediction=X_0)
    always = [
        float(loss(t, draw=draw(4), p_uncond=1.0).detach())
        for t in (tokens, null_captions(tokens))
    ]
    never = [
        float(loss(t, draw=draw(4), p_uncond=0.0).detach())
        for t in (tokens, null_captions(tokens))
    ]
    assert always[0] == always[1] == pytest.approx(never[1])
    assert never[0] != never[1]


def test_a_step_reaches_every_parameter(model, batch):
    x, _, tokens = batch
    text_loss(
        model, x, tokens, draw=draw(4), p_uncond=0.0, schedule=CHAIN, prediction=X_0
    ).backward()
    unused = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    assert unused == []


# ---------- inpainting ----------


@pytest.fixture
def picture():
    g = torch.Generator().manual_seed(3)
    known = torch.rand(6, 1, 8, 8, generator=g) < 0.5
    return torch.rand(6, 3, 8, 8, generator=g) * 2 - 1, known


def test_the_clue_holds_what_is_known_and_no_more(picture):
    x_0, known = picture
    given = masked_condition(x_0, known)
    assert given.shape == (6, 4, 8, 8)
    assert torch.equal(given[:, 3:], known.float())
    assert torch.equal(given[:, :3], torch.where(known, x_0, 0.0))
    other = torch.where(known, x_0, -x_0)
    assert torch.equal(masked_condition(other, known), given)


def test_the_loss_shows_the_network_noise_clue_and_caption():
    seen = []

    def model(x, t, tokens):
        seen.append((x, tokens))
        return torch.zeros_like(x[:, :3])

    x_0 = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[1, 5, 2, 0]] * 5)
    chain = Schedule(linear_beta())
    inpainting_loss(
        model, x_0, tokens, draw=draw(5), p_uncond=0.0, schedule=chain, prediction=X_0
    )
    x, conditional = seen[0]
    known = x[:, 6:].bool()
    assert x.shape == (5, 7, 8, 8)
    assert torch.equal(x[:, 3:], masked_condition(x_0, known))
    assert not known.all(dim=(1, 2, 3)).any()
    assert not torch.equal(x[:, :3], x_0)
    assert torch.equal(conditional, tokens)
    assert torch.equal(
        with_condition(lambda x, t, y: x, masked_condition(x_0, known))(
            x_0, None, None
        )[:, :3],
        x_0,
    )


# ---------- upsampling ----------


TOKENS = torch.tensor([[1, 5, 2, 0]] * 200)


def seen_of(x_0, seed=0):
    """What the network sees of pictures, and the loss where it says 0."""
    seen = []

    def model(x, t, tokens):
        seen.append((x, tokens))
        return torch.zeros_like(x[:, :3])

    draw = Draw(torch.Generator().manual_seed(seed), slice(None), len(x_0))
    chain = Schedule(linear_beta())
    loss = upsampling_loss(
        model,
        x_0,
        TOKENS[: len(x_0)],
        draw=draw,
        p_uncond=0.0,
        schedule=chain,
        prediction=X_0,
    )
    return *seen[0], loss


def test_the_network_sees_noise_the_small_picture_and_the_caption():
    x_0 = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x, tokens, loss = seen_of(x_0)
    assert x.shape == (200, 6, 8, 8)
    assert torch.equal(tokens, TOKENS)
    assert float(loss) == pytest.approx(float(x_0.square().mean()))
    given = x[:, 3:]
    assert torch.equal(given, grow(shrink(given)))  # squares of 2 × 2
    flaws = (shrink(given) - shrink(x_0)).flatten(1).std(dim=1)
    assert flaws.max() < 1.6 * FLAWS
    assert float(flaws.mean()) == pytest.approx(FLAWS / 2, rel=0.15)
    assert flaws.min() < 0.1 * FLAWS


def test_details_that_the_small_picture_lacks_are_not_shown():
    x_0 = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    # its squares of 2 × 2 have the mean 0
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    assert torch.allclose(
        seen_of(x_0)[0][:, 3:], seen_of(x_0 + 0.2 * board)[0][:, 3:], atol=1e-6
    )


@pytest.fixture
def glide():
    torch.manual_seed(0)
    return GLIDE(GLIDEConfig(TEXT, UNET))


@pytest.mark.parametrize("shape", [(1, 3), (3, 3), (3,)])
def test_two_noises_want_two_captions(glide, shape):
    tokens = torch.tensor([START, 5, END]).expand(shape)
    with pytest.raises(
        ValueError, match=r"a caption for each of 2 pictures, tokens of shape \(2, L\)"
    ):
        glide(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), tokens)


def test_a_condition_is_of_the_pictures_size_and_number():
    see = with_condition(lambda x, t, tokens: x, torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"a condition of shape \(2, 3, 8, 8\), got"):
        see(torch.zeros(2, 3, 8, 8), torch.zeros(2), torch.zeros(2, 3))
    with pytest.raises(
        ValueError, match=r"known of shape \(2, 1, 8, 8\), got \(1, 1, "
    ):
        masked_condition(torch.zeros(2, 3, 8, 8), torch.ones(1, 1, 8, 8).bool())


def test_a_share_of_captions_is_no_percentage():
    with pytest.raises(ValueError, match="expected p_uncond from 0 to 1, got 20"):
        drop_captions(
            torch.zeros(2, 3).long(), Draw(torch.Generator(), slice(None), 2), 20
        )
