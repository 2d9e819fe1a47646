import math

import pytest
import torch

from minilib.metrics import clip_score
from minilib.models.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    contrastive_loss,
    information,
    retrieval,
)
from minilib.nets.vit import ViTConfig
from minilib.text.words import END, PADDING, WordTokenizer
from minilib.train import fit, shuffled

COLOURS = {
    "red": (1, -1, -1),
    "green": (-1, 1, -1),
    "blue": (-1, -1, 1),
    "white": (1, 1, 1),
    "black": (-1, -1, -1),
}
CONFIG = CLIPConfig(
    TextConfig(words=20, length=8, width=16, depth=1, heads=2),
    ViTConfig(size=4, patch=2, dim=16, depth=1, heads=2),
    dim=8,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CLIP(CONFIG).eval()


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    tokens = torch.randint(END + 1, 20, (6, 8), generator=g)
    tokens[:, 5] = END
    tokens[:, 6:] = PADDING
    return torch.randn(6, 3, 4, 4, generator=g), tokens


def test_embeddings_have_length_one_and_logits_are_their_cosines_over_the_temperature(
    model, batch
):
    x, tokens = batch
    a, b = model.embed_image(x), model.embed_text(tokens)
    assert a.shape == b.shape == (6, 8)
    assert torch.allclose(a.norm(dim=1), torch.ones(6))
    assert torch.allclose(b.norm(dim=1), torch.ones(6))
    assert torch.allclose(model(x, tokens), a @ b.T / 0.07, atol=1e-4)


def test_a_new_order_of_the_captions_is_a_new_order_of_the_logits(model, batch):
    x, tokens = batch
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    assert torch.allclose(
        model(x, tokens[order]), model(x, tokens)[:, order], atol=1e-4
    )


def test_what_stands_behind_the_end_token_is_not_read(model, batch):
    _, tokens = batch
    changed = tokens.clone()
    changed[:, 6:] = 7
    assert torch.equal(model.embed_text(tokens), model.embed_text(changed))
    assert torch.allclose(
        model.embed_text(tokens), model.embed_text(tokens[:, :6]), atol=1e-6
    )
    changed = tokens.clone()
    changed[:, 0] = (tokens[:, 0] - 2) % 17 + 3
    assert (model.embed_text(tokens) - model.embed_text(changed)).abs().amax(
        dim=1
    ).min() > 1e-5


def test_a_word_sees_those_before_it_only(model, batch):
    _, tokens = batch
    seen = {}
    model.text.blocks[0].register_forward_hook(
        lambda module, inputs, out: seen.setdefault(len(seen), out)
    )
    changed = tokens.clone()
    changed[:, 3] = (tokens[:, 3] - 2) % 17 + 3
    model.embed_text(tokens)
    model.embed_text(changed)
    assert torch.equal(seen[0][:, :3], seen[1][:, :3])
    assert not torch.equal(seen[0][:, 4], seen[1][:, 4])


def test_a_loss_of_guessing_is_log_n_and_proves_nothing(model, batch):
    x, tokens = batch
    torch.nn.init.zeros_(model.to_image.weight)
    loss = float(contrastive_loss(model, x, tokens).detach())
    assert loss == pytest.approx(math.log(6), abs=1e-5)
    assert information(loss, 6) == pytest.approx(0, abs=1e-5)
    assert information(0.0, 64) == pytest.approx(math.log(64))


def test_the_loss_against_its_definition(model, batch):
    logits = model(*batch).detach().double()
    rows = sum(-float(logits[i, i] - logits[i].logsumexp(0)) for i in range(6)) / 6
    columns = (
        sum(-float(logits[i, i] - logits[:, i].logsumexp(0)) for i in range(6)) / 6
    )
    assert float(contrastive_loss(model, *batch).detach()) == pytest.approx(
        (rows + columns) / 2, rel=1e-5
    )


def test_the_temperature_that_met_its_limit_finds_back(model, batch):
    torch.nn.init.constant_(model.logit_scale, math.log(200))
    optimizer = torch.optim.SGD([model.logit_scale], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        contrastive_loss(model, *batch).backward()
        optimizer.step()
    assert float(model.logit_scale.detach()) < math.log(100) - 0.01


def test_bad_captions_are_refused(model):
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(
        ValueError, match="captions of up to 8 tokens from 0 to 19, got 9"
    ):
        model(x, torch.full((1, 9), END))
    with pytest.raises(ValueError, match="from 0 to 19, got 3 from 1 to 20"):
        model(x, torch.tensor([[1, 20, 2]]))
    with pytest.raises(ValueError, match="a caption for each of 2 pictures, got 1"):
        contrastive_loss(model, torch.zeros(2, 3, 4, 4), torch.tensor([[1, 5, 2]]))
    with pytest.raises(ValueError, match="the end token 2 in every caption"):
        model(x, torch.tensor([[1, 5, 2], [1, 5, 5]]))


def test_it_learns_which_colour_has_which_name():
    torch.manual_seed(0)
    tokenizer = WordTokenizer(list(COLOURS), 8)
    x = torch.tensor([COLOURS[name] for name in COLOURS], dtype=torch.float32)[
        :, :, None, None
    ].expand(-1, 3, 4, 4)
    tokens = tokenizer.encode(list(COLOURS))
    fitted = fit(
        CLIP(CONFIG),
        contrastive_loss,
        shuffled(x.clone(), tokens, batch_size=5),
        steps=80,
        lr=5e-3,
        progress=False,
    )
    model = fitted.model.eval()
    assert fitted.loss[-1] < 0.2 < 1.2 < fitted.loss[0]
    assert (model(x, tokens).argmax(dim=1) == torch.arange(5)).all()
    assert (
        clip_score(model, x, tokens)
        > 1.5
        > clip_score(model, x, tokens.roll(1, dims=0))
    )
    with pytest.raises(ValueError, match="a caption for each of 5 pictures, got 4"):
        clip_score(model, x, tokens[:4])


def test_a_last_smaller_block_would_be_easier_and_is_refused(model, batch):
    x, tokens = batch
    with pytest.raises(ValueError, match="expected a multiple of 4 pictures, got 6"):
        retrieval(model, x, tokens, among=4)
    with pytest.raises(
        ValueError, match="expected a caption for each of 6 pictures, got 5"
    ):
        retrieval(model, x, tokens[:5], among=3)


def test_sizes_that_make_no_text_transformer_are_refused():
    with pytest.raises(ValueError, match="expected an end token from 0 to 1, got 2"):
        TextConfig(words=2)
    with pytest.raises(
        ValueError, match="expected length to be a whole number from 1 up"
    ):
        TextConfig(words=9, length=0)
