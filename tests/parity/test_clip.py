"""Our CLIP against transformers' CLIPModel: float64, every tensor random, outputs and
gradients.
"""

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import CLIPConfig as TheirConfig
from transformers import CLIPModel

from minilib.interop.clip import from_clip, from_clip_transformers
from minilib.models.clip import CLIP, CLIPConfig, TextConfig, contrastive_loss
from minilib.nets.vit import ViTConfig
from tests.parity.adm import KEYS
from tests.parity.reference import BAR, apart, in_float64, randomise

TINY = CLIPConfig(
    TextConfig(words=50, length=12, width=32, depth=2, heads=4, end=49),
    ViTConfig(size=16, patch=4, dim=48, depth=2, heads=3),
    dim=24,
)
# file: sizes of width, heads of the text; patch, width, depth, heads of the picture;
# shared; parameters
PUBLISHED = {
    "clip_vit_b32": (512, 8, 32, 768, 12, 12, 512, 151_277_313),
    "clip_vit_l14": (768, 12, 14, 1024, 24, 16, 768, 427_616_513),
}


def published(file: str) -> CLIPConfig:
    width, heads, patch, dim, depth, vision_heads, shared, _ = PUBLISHED[file]
    vision = ViTConfig(size=224, patch=patch, dim=dim, depth=depth, heads=vision_heads)
    text = TextConfig(49408, length=77, width=width, depth=12, heads=heads, end=49407)
    return CLIPConfig(text, vision, dim=shared)


@pytest.mark.parametrize("file", PUBLISHED)
@pytest.mark.parametrize(
    ("kind", "rename"), [("hf", from_clip_transformers), ("openai", from_clip)]
)
def test_every_key_and_shape_of_the_published_weights(file, kind, rename):
    shapes = json.loads((KEYS / f"{file}.{kind}.json").read_text())
    found = rename(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    with torch.device("meta"):
        model = CLIP(published(file))
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in found.items()} == ours
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[file][-1]


@pytest.mark.parametrize(
    ("key", "mine"),
    [("visual.proj", "to_image.weight"), ("text_projection", "to_text.weight")],
)
def test_openais_projections_multiply_from_the_other_side(key, mine):
    """Theirs is features @ projection; both are square in some models, so that their
    shapes do not tell.
    """
    projection, h = torch.randn(5, 5), torch.randn(2, 5)
    assert torch.allclose(
        torch.nn.functional.linear(h, from_clip({key: projection})[mine]),
        h @ projection,
        atol=1e-6,
    )


@pytest.mark.parametrize("rename", [from_clip, from_clip_transformers])
def test_an_unknown_key_is_named(rename):
    with pytest.raises(ValueError, match=r"unknown key 'visual_model\.conv1\.weight'"):
        rename({"visual_model.conv1.weight": torch.zeros(1)})


def theirs(c: CLIPConfig) -> CLIPModel:
    t = c.text
    text = {
        "vocab_size": t.words,
        "hidden_size": t.width,
        "intermediate_size": 4 * t.width,
        "num_hidden_layers": t.depth,
        "num_attention_heads": t.heads,
        "max_position_embeddings": t.length,
        "eos_token_id": t.end,
        "bos_token_id": t.end - 1,
        "pad_token_id": 0,
        "projection_dim": c.dim,
    }
    v = c.vision
    vision = {
        "hidden_size": v.dim,
        "intermediate_size": 4 * v.dim,
        "num_hidden_layers": v.depth,
        "num_attention_heads": v.heads,
        "image_size": v.size,
        "patch_size": v.patch,
        "projection_dim": c.dim,
    }
    config = TheirConfig(text_config=text, vision_config=vision, projection_dim=c.dim)
    config._attn_implementation = "sdpa"  # "eager" takes its softmax in float32
    return randomise(CLIPModel(config))


def captions(c: CLIPConfig, n: int, g: torch.Generator) -> torch.Tensor:
    """Captions of 2 to all places, closed by the end token, with padding (here the end
    token too, as CLIP's) behind.
    """
    tokens = torch.randint(1, c.text.end - 1, (n, c.text.length), generator=g)
    for row, length in enumerate(torch.linspace(2, c.text.length, n).long().tolist()):
        tokens[row, length - 1 :] = c.text.end
    return tokens


def errors(c: CLIPConfig = TINY) -> dict[str, float]:
    """How far our CLIP is from theirs: embeddings, logits, loss, gradients; on normal
    input and a hundredth of it.
    """
    reference, model = theirs(c), CLIP(c).double()
    model.load_state_dict(from_clip_transformers(dict(reference.state_dict())))
    g, found = torch.Generator().manual_seed(1), {}
    tokens = captions(c, 4, g)
    for scale in (1.0, 0.01):
        x = scale * torch.randn(
            4, 3, c.vision.size, c.vision.size, generator=g, dtype=torch.float64
        )
        mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        with in_float64():
            out = reference(pixel_values=other, input_ids=tokens, return_loss=True)
        found[f"pictures × {scale}"] = apart(model.embed_image(mine), out.image_embeds)
        found[f"captions × {scale}"] = apart(model.embed_text(tokens), out.text_embeds)
        found[f"logits × {scale}"] = apart(model(mine, tokens), out.logits_per_image)
        loss = contrastive_loss(model, mine, tokens)
        found[f"loss × {scale}"] = apart(loss, out.loss)
        loss.backward()
        out.loss.backward()
        found[f"gradient of x × {scale}"] = apart(mine.grad, other.grad)
        expected = from_clip_transformers(
            {name: p.grad for name, p in reference.named_parameters()}
        )
        by_weight = {
            name: apart(p.grad, expected[name]) for name, p in model.named_parameters()
        }
        found[f"gradients × {scale}"] = max(by_weight.values())
        model.zero_grad()
        reference.zero_grad()
    return found


def clip_error() -> float:
    return max(errors().values())


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, text=replace(TINY.text, depth=1, heads=2)),
        replace(TINY, vision=replace(TINY.vision, size=12, patch=2, heads=4)),
    ],
    ids=["tiny", "one block, two heads", "small patches"],
)
def test_outputs_loss_and_gradients(config):
    found = errors(config)
    assert max(found.values()) < BAR, found


def test_the_temperature_stops_at_a_hundredth_as_in_their_training():
    model = CLIP(TINY)
    torch.nn.init.constant_(model.logit_scale, math.log(1000))
    x, tokens = (
        torch.zeros(1, 3, 16, 16),
        captions(TINY, 1, torch.Generator().manual_seed(0)),
    )
    cosine = model.embed_image(x) @ model.embed_text(tokens).T
    assert torch.allclose(model(x, tokens), 100 * cosine, atol=1e-4)
