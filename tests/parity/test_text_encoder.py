"""The text encoder of Stable Diffusion, transformers' CLIPTextModel, in our
`TextTransformer`; and a whole checkpoint in one file.
"""

import json

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from minilib.interop.stable_diffusion import (
    TEXT,
    from_single_file,
    from_text_encoder,
)
from minilib.models.clip import TextConfig, TextTransformer
from tests.parity.adm import KEYS
from tests.parity.reference import BAR, apart, in_float64, randomise

TINY = TextConfig(words=50, length=12, width=32, depth=2, heads=4, end=49)


def empty(file: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((KEYS / f"{file}.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def theirs(c: TextConfig) -> CLIPTextModel:
    """transformers' network of the same form, with random weights."""
    config = CLIPTextConfig(
        vocab_size=c.words,
        hidden_size=c.width,
        intermediate_size=4 * c.width,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        max_position_embeddings=c.length,
        eos_token_id=c.end,
        bos_token_id=c.end - 1,
        pad_token_id=c.end,
    )
    config._attn_implementation = "sdpa"  # "eager" takes its softmax in float32
    return randomise(CLIPTextModel(config))


def text_error() -> float:
    """How far the vectors of all tokens are apart, padding, which is the end token
    again, included; and the gradients of the weights.
    """
    reference, model = theirs(TINY), TextTransformer(TINY).double()
    model.load_state_dict(from_text_encoder(reference.state_dict()))
    g = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 48, (3, 12), generator=g)
    for row, length in enumerate((2, 7, 12)):
        tokens[row, length - 1 :] = TINY.end
    with in_float64():
        out = reference(input_ids=tokens).last_hidden_state
    ours = model(tokens)
    weight = torch.randn(out.shape, generator=g, dtype=torch.float64)
    (out * weight).sum().backward()
    (ours * weight).sum().backward()
    expected = from_text_encoder({k: p.grad for k, p in reference.named_parameters()})
    slopes = [apart(p.grad, expected[name]) for name, p in model.named_parameters()]
    return max(apart(ours, out), *slopes)


def test_vectors_and_gradients():
    assert text_error() < BAR


@pytest.mark.parametrize(
    "file", ["sd15_text_encoder.hf_published", "sd15_text_encoder.ldm"]
)
def test_every_key_and_shape_of_the_published_weights(file):
    state = empty(file)
    assert len(state) == 196
    with torch.device("meta"):
        model = TextTransformer(TEXT)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in from_text_encoder(state).items()}
    assert found == ours
    assert sum(p.numel() for p in model.parameters()) == 123_060_480


@pytest.mark.parametrize("prefix", ["", "text_model.", "cond_stage_model.transformer."])
def test_prefixes_and_numbered_positions_do_not_matter(prefix):
    plain = {
        key.removeprefix("text_model."): value
        for key, value in theirs(TINY).state_dict().items()
    }
    state = {prefix + key: value for key, value in plain.items()}
    state[f"{prefix}embeddings.position_ids"] = torch.arange(12)[None]
    expected, found = from_text_encoder(plain), from_text_encoder(state)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match=r"unknown key .*text_projection"):
        from_text_encoder({"text_projection.weight": torch.zeros(1)})


def test_a_single_file_holds_three_networks():
    files = ("sd15_unet", "sd15_vae", "sd15_text_encoder")
    state = {
        key: value for name in files for key, value in empty(f"{name}.ldm").items()
    }
    state |= {"betas": torch.zeros(1000), "model_ema.decay": torch.zeros(1)}
    parts = from_single_file(state)
    assert {k: len(v) for k, v in parts.items()} == {
        "unet": 686,
        "autoencoder": 248 - 8 + 2,  # two attentions of one qkv; two numbers of scale
        "text": 196 - 48,  # twelve blocks of one qkv
    }
    without = {key: v for key, v in state.items() if not key.startswith("first_stage")}
    with pytest.raises(ValueError, match=r"begin with 'first_stage_model\.', got none"):
        from_single_file(without)
