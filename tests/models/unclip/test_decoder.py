"""unCLIP's decoder: how an embedding reaches the picture, and how it is hidden."""

from functools import partial

import pytest
import torch

from minilib.diffusion.schedule import X_0, Schedule, linear_beta
from minilib.models.clip import TextConfig
from minilib.models.glide import GLIDEConfig, TextAttention, null_captions
from minilib.models.unclip.decoder import (
    DecoderConfig,
    Given,
    UnCLIPDecoder,
    drop_embeddings,
    guided_decoder,
    unclip_loss,
)
from minilib.nets.unet_blocks import UNetConfig
from minilib.train import Draw

GLIDE = GLIDEConfig(
    TextConfig(words=20, length=8, width=16, depth=1, heads=2),
    UNetConfig(
        channels=3,
        channels_out=3,
        width=16,
        multipliers=(1, 1),
        blocks=1,
        attention=(0, 1),
        head_dim=8,
        attend=partial(TextAttention, context=16),
    ),
)
CHAIN = Schedule(linear_beta())
TOKENS = torch.tensor([[1, 5, 2, 0, 0], [1, 7, 8, 9, 2]])


@pytest.fixture
def model():
    g = torch.Generator().manual_seed(0)
    model = UnCLIPDecoder(DecoderConfig(GLIDE, dim=6)).double()
    for p in model.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64)
    return model.eval()


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    x, u = (
        torch.randn(2, *s, generator=g, dtype=torch.float64) for s in ((3, 8, 8), (6,))
    )
    u = u / u.norm(dim=1, keepdim=True)
    return x, torch.tensor([10, 500]), Given(TOKENS, u)


def a_draw(n=2, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


def test_without_its_own_weights_it_is_glide(model, batch):
    """The embedding adds nothing to the step, and its words have no value."""
    x, t, given = batch
    for layer in (model.u_to_emb, model.u_to_words):
        for p in layer.parameters():
            p.data.zero_()
    found = model(x, t, given)
    assert torch.equal(found, model(x, t, given._replace(u=-given.u)))
    alone = model.glide(x, t, TOKENS)
    # four words more, all 0, still take their share of the attention
    assert not torch.allclose(found, alone)
    for layer in model.modules():
        if isinstance(layer, TextAttention):
            layer.words.weight.data.zero_()
            layer.words.bias.data.zero_()
    padded = torch.cat([TOKENS, torch.tensor([[0, 0, 0]] * 2)], dim=1)
    assert torch.allclose(model(x, t, given), model(x, t, Given(padded, given.u)))


def test_an_embedding_reaches_the_picture_in_both_ways(model, batch):
    x, t, given = batch
    other = given._replace(u=-given.u)
    whole, turned = model(x, t, given), model(x, t, other)
    assert not torch.allclose(whole, turned)
    emb = model.u_to_emb.weight.data.clone()
    model.u_to_emb.weight.data.zero_()
    assert not torch.allclose(model(x, t, given), model(x, t, other))  # by its words
    model.u_to_emb.weight.data = emb
    model.u_to_words.weight.data.zero_()
    assert not torch.allclose(model(x, t, given), model(x, t, other))  # by the step
    model.u_to_emb.weight.data.zero_()
    assert torch.equal(model(x, t, given), model(x, t, other))


def test_it_becomes_four_words_which_every_layer_sees(model, batch):
    x, t, given = batch
    seen = []
    for layer in model.modules():
        if isinstance(layer, TextAttention):
            layer.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    model(x, t, given)
    assert len(seen) == 7
    for context in seen:
        assert context.vectors.shape == (2, 5 + 4, 16)
        assert context.seen.tolist() == [
            [True] * 3 + [False] * 2 + [True] * 4,
            [True] * 9,
        ]
    words = model.u_to_words(6**0.5 * given.u).view(2, 4, 16)
    assert torch.equal(seen[0].vectors[:, 5:], words)


def test_one_row_does_not_tell_in_another(model, batch):
    x, t, given = batch
    u = given.u.clone()
    u[0] = -u[0]
    apart = (model(x, t, given._replace(u=u)) - model(x, t, given)).abs()
    assert apart[0].max() > 1e-3
    assert apart[1].max() == 0


def test_a_step_reaches_every_parameter(model, batch):
    x, _, given = batch
    unclip_loss(
        model,
        x,
        *given,
        draw=a_draw(),
        p_caption=0.0,
        p_embedding=0.0,
        schedule=CHAIN,
        prediction=X_0,
    ).backward()
    unused = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    assert unused == []


@pytest.mark.parametrize("p", [0.0, 0.1, 1.0])
def test_embeddings_are_hidden_as_often_as_stated(p):
    u = torch.randn(20_000, 6)
    hidden = drop_embeddings(u, a_draw(len(u)), p)
    gone = (hidden == 0).all(dim=1)
    assert float(gone.float().mean()) == pytest.approx(p, abs=0.01)
    assert torch.equal(hidden[~gone], u[~gone])


def test_captions_and_embeddings_are_hidden_apart_from_each_other():
    """Half of the captions, a tenth of the embeddings, both of a twentieth."""
    seen = []

    def model(x, t, given):
        seen.append(given)
        return torch.zeros_like(x)

    n = 20_000
    unclip_loss(
        model,
        torch.zeros(n, 3, 2, 2),
        TOKENS[:1].expand(n, 5),
        torch.ones(n, 6),
        draw=a_draw(n),
        p_caption=0.5,
        p_embedding=0.1,
        schedule=CHAIN,
        prediction=X_0,
    )
    no_caption = (seen[0].tokens == null_captions(TOKENS[:1])).all(dim=1)
    no_embedding = (seen[0].u == 0).all(dim=1)
    for gone, share in (
        (no_caption, 0.5),
        (no_embedding, 0.1),
        (no_caption & no_embedding, 0.05),
    ):
        assert float(gone.float().mean()) == pytest.approx(share, abs=0.01)


def test_guidance_leads_away_from_no_caption_and_no_embedding(model, batch):
    x, t, given = batch
    small = lambda x, t, given: 0.01 * model(x, t, given)  # noqa: E731 - unclipped
    nothing = Given(null_captions(TOKENS), torch.zeros_like(given.u))
    conditional, unconditional = small(x, t, given), small(x, t, nothing)
    assert conditional.abs().max() < 0.3
    for w in (0.0, 1.0, 3.0):
        found = guided_decoder(small, CHAIN, X_0, given, w)(x, t).x_0
        expected = unconditional + w * (conditional - unconditional)
        assert torch.allclose(found, expected.clamp(-1, 1)), w


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(TOKENS[:1], torch.zeros(2, 6)), "a caption for each of 2 pictures"),
        (Given(TOKENS, torch.zeros(1, 6)), r"embeddings of shape \(2, 6\), got \(1, 6"),
        (Given(TOKENS, torch.zeros(2, 7)), r"embeddings of shape \(2, 6\), got \(2, 7"),
    ],
)
def test_what_does_not_fit_is_refused(model, batch, given, message):
    with pytest.raises(ValueError, match=message):
        model(*batch[:2], given)
