import pytest
import torch

from minilib.models.clip import CLIP, CLIPConfig, TextConfig
from minilib.models.unclip.captions import (
    drop_caption,
    hide,
    null_caption,
    read_captions,
    repeated,
    require_caption,
)
from minilib.nets.vit import ViTConfig
from minilib.train import Draw

TOKENS = torch.tensor([[1, 5, 2, 0, 0], [1, 6, 7, 4, 2], [1, 2, 0, 0, 0]])


@pytest.fixture
def clip():
    torch.manual_seed(0)
    text = TextConfig(words=9, length=5, width=16, depth=1, heads=2)
    return CLIP(CLIPConfig(text, ViTConfig(size=8, patch=4, dim=16, depth=1), dim=12))


@pytest.fixture
def caption(clip):
    return read_captions(clip, TOKENS)


def test_it_reads_features_of_tokens_and_the_embedding(clip, caption):
    assert torch.equal(caption.features, clip.text(TOKENS).detach())
    assert torch.equal(caption.embedding, clip.embed_text(TOKENS).detach())
    assert caption.seen.sum(dim=1).tolist() == [3, 5, 2]
    assert not caption.features.requires_grad
    require_caption(caption, 3, 16, 5, 12)


def test_nothing_is_left_of_a_hidden_caption(caption):
    hidden = hide(caption, torch.tensor([True, False, True]))
    assert hidden.seen.sum(dim=1).tolist() == [0, 5, 0]
    assert torch.equal(hidden.embedding[1], caption.embedding[1])
    assert hidden.embedding[::2].abs().max() == 0
    nothing = null_caption(caption)
    assert not nothing.seen.any()
    assert not nothing.embedding.any()
    assert caption.seen.any()  # the one that was given stays as it is


@pytest.mark.parametrize("p_uncond", [0.0, 0.1, 1.0])
def test_captions_are_hidden_as_often_as_stated_and_whole(caption, p_uncond):
    many = repeated(caption, 4000)
    draw = Draw(torch.Generator().manual_seed(0), slice(None), 12_000)
    dropped = drop_caption(many, draw, p_uncond)
    gone = ~dropped.seen.any(dim=1)
    assert float(gone.float().mean()) == pytest.approx(p_uncond, abs=0.01)
    assert torch.equal(gone, dropped.embedding.abs().sum(dim=1) == 0)
    assert torch.equal(dropped.seen[~gone], many.seen[~gone])


def test_each_is_repeated_in_a_row(caption):
    twice = repeated(caption, 2)
    assert [len(part) for part in twice] == [6, 6, 6]
    assert torch.equal(twice.seen[0], twice.seen[1])
    assert torch.equal(twice.embedding[::2], caption.embedding)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 16, 5, 12), r"features of captions of shape \(2, 5, 16\), got \(3, 5, 16"),
        ((3, 8, 5, 12), r"features of captions of shape \(3, 5, 8\)"),
        ((3, 16, 4, 12), "captions of up to 4 tokens, got 5"),
        ((3, 16, 5, 64), r"embeddings of captions of shape \(3, 64\), got \(3, 12\)"),
    ],
)
def test_captions_of_other_sizes_are_refused(caption, sizes, message):
    with pytest.raises(ValueError, match=message):
        require_caption(caption, *sizes)


def test_a_share_is_no_percentage(caption):
    draw = Draw(torch.Generator(), slice(None), 3)
    with pytest.raises(ValueError, match="expected p_uncond from 0 to 1, got 10"):
        drop_caption(caption, draw, 10)
