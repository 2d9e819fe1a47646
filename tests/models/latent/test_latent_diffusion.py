from dataclasses import replace
from functools import partial

import pytest
import torch

from minilib.diffusion.sampling import ddim, last
from minilib.diffusion.schedule import EPS, Schedule, scaled_linear_beta, trailing
from minilib.diffusion.solvers import euler_ancestral, from_picture
from minilib.models.clip import TextConfig
from minilib.models.glide import null_captions, text_loss
from minilib.models.latent.kl_autoencoder import KLAutoencoder, KLConfig
from minilib.models.latent.latent_diffusion import (
    Drawing,
    LatentDiffusion,
    LatentDiffusionConfig,
    attention_maps,
    encoded,
    guided_network,
    repaint,
)
from minilib.nets.spatial_transformer import (
    ConditionalTransformerBlock,
    SpatialTransformer,
)
from minilib.nets.unet_blocks import UNetConfig
from minilib.text.words import END, START
from minilib.train import fit, shuffled

TEXT = TextConfig(words=9, length=8, width=16, depth=1, heads=2)
SIZES = LatentDiffusionConfig(
    TEXT,
    UNetConfig(
        channels=4,
        patch=1,
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(0, 1),
        attend=partial(SpatialTransformer, context=16, heads=2),
    ),
)
TOKENS = torch.tensor([[START, 5, 6, END, 0, 0, 0, 0], [START, 7, END, 0, 0, 0, 0, 0]])
CHAIN = Schedule(scaled_linear_beta())
DRAWING = Drawing(CHAIN, EPS, trailing(1000, 4), w=3.0)


def system(seed: int = 0) -> LatentDiffusion:
    """A model in which nothing is 0."""
    torch.manual_seed(seed)
    model = LatentDiffusion(SIZES)
    for p in model.unet.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return model.eval()


def autoencoder() -> KLAutoencoder:
    torch.manual_seed(1)
    model = KLAutoencoder(KLConfig(width=8, multipliers=(1, 2, 2)))
    model.std = torch.full_like(model.std, 0.5)
    return model.eval()


def noise(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


T_ = torch.tensor([10, 900])


def test_it_reads_the_caption_and_no_padding():
    model, z = system(), noise()
    out = model(z, T_, TOKENS)
    assert out.shape == z.shape
    assert torch.allclose(model(z, T_, TOKENS[:, :4]), out, atol=1e-6)
    other = TOKENS.clone()
    other[0, 1] = 8
    changed = model(z, T_, other)
    assert not torch.allclose(changed[0], out[0], atol=1e-3)
    assert torch.allclose(changed[1], out[1], atol=1e-6)


def test_it_needs_a_caption_for_each():
    with pytest.raises(ValueError, match="a caption for each of 2 pictures"):
        system()(noise(), T_, TOKENS[:1])


def test_it_learns_and_its_reader_does_not():
    torch.manual_seed(0)
    model = LatentDiffusion(SIZES)
    text = {key: value.clone() for key, value in model.text.state_dict().items()}
    z, tokens = noise(32), TOKENS.repeat(16, 1)
    loss = partial(text_loss, schedule=CHAIN, prediction=EPS, p_uncond=0.1)
    batches = shuffled(z, tokens, batch_size=8)
    fitted = fit(model, loss, batches, steps=40, lr=3e-3, warmup=5, progress=False)
    assert fitted.loss[-10:].mean() < fitted.loss[:5].mean()
    for key, value in fitted.model.text.state_dict().items():
        assert torch.equal(value.cpu(), text[key])
    assert all(p.grad is None for p in fitted.model.text.parameters())


def test_latents_are_encoded_once_for_all():
    net, x = autoencoder(), torch.rand(130, 3, 16, 16)
    z = encoded(net, x)
    assert z.shape == (130, 4, 4, 4)
    assert torch.allclose(z[101:104], net.latents(x[101:104]), atol=1e-5)
    assert not z.requires_grad


# ---------- guidance ----------


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 7.5])
def test_guidance_goes_from_the_null_caption_to_the_caption(w):
    model, z = system(), noise()
    to, away = model(z, T_, TOKENS), model(z, T_, null_captions(TOKENS))
    found = guided_network(model, TOKENS, w)(z, T_)
    assert torch.allclose(found, away + w * (to - away), atol=1e-5)


def test_a_negative_caption_takes_the_place_of_none():
    model, z = system(), noise()
    negative = TOKENS.flip(0)
    to, away = model(z, T_, TOKENS), model(z, T_, negative)
    found = guided_network(model, TOKENS, 2.0, negative)(z, T_)
    assert torch.allclose(found, 2 * to - away, atol=1e-5)


def test_the_caption_is_read_once_for_all_steps():
    model, read = system(), []
    hook = model.text.register_forward_hook(lambda *_: read.append(1))
    last(DRAWING.latents(model, noise(), TOKENS))
    hook.remove()
    assert len(read) == 1


@pytest.mark.parametrize("w", [-0.1, float("nan")])
def test_a_guidance_scale_below_0_is_refused(w):
    with pytest.raises(ValueError, match="guidance scale of 0 or more, got"):
        guided_network(system(), TOKENS, w)


def test_negative_captions_are_as_many():
    with pytest.raises(ValueError, match="negative captions of shape"):
        guided_network(system(), TOKENS, 2.0, TOKENS[:1])


# ---------- drawing ----------


def test_a_latent_a_step_by_any_sampler():
    model = system()
    for sampler in (ddim, partial(euler_ancestral, generator=generator())):
        steps = [*replace(DRAWING, sampler=sampler).latents(model, noise(), TOKENS)]
        assert len(steps) == 4
        assert all(z.isfinite().all() for z in steps)


def test_latents_are_not_clipped():
    """Guidance of pixels ends at [-1, 1]; a latent has no such limits."""
    model = system()
    torch.nn.init.constant_(model.unet.decoder.out.bias, -5.0)
    z = last(replace(DRAWING, w=3.0).latents(model, noise(), TOKENS))
    assert float(z.abs().max()) > 2


def test_from_a_picture_it_draws_on():
    model, net, x = system(), autoencoder(), torch.rand(2, 3, 32, 32)
    kept = []
    for strength in (0.25, 1.0):
        z, left = from_picture(
            CHAIN, net.latents(x), DRAWING.steps, strength, generator()
        )
        drawing = replace(DRAWING, steps=left)
        drawn = last(drawing.latents(model, z, TOKENS))
        kept.append(float((drawn - net.latents(x)).square().mean().detach()))
    assert kept[0] < kept[1]


def test_what_is_known_stays_and_the_hole_is_drawn():
    model, net = system(), autoencoder()
    x = torch.rand(2, 3, 32, 32, generator=generator()) * 2 - 1
    known = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    known[:, :, 8:20, 8:20] = False
    out = repaint(model, net, DRAWING, x, known, noise(), TOKENS)
    where = known.expand_as(x)
    assert torch.equal(out[where], x[where])
    assert not torch.allclose(out[~where], x[~where], atol=0.1)
    other = repaint(model, net, DRAWING, x, known, noise(), TOKENS.flip(0))
    assert not torch.equal(other, out)
    with pytest.raises(ValueError, match="expected known of shape"):
        repaint(model, net, DRAWING, x, known[:, :, ::2], noise(), TOKENS)


# ---------- where it looks ----------


def test_maps_are_shares_of_attention_at_each_place():
    model, z = system(), noise()
    maps = attention_maps(model, z, T_, TOKENS)
    assert maps.shape == (2, 4, 8, 8)  # of the four tokens of the longest caption
    assert torch.allclose(maps.sum(dim=1), torch.ones(2, 8, 8), atol=1e-5)
    assert (maps[1, 3] == 0).all()  # padding
    assert not any(m._forward_hooks for m in model.modules())


@torch.no_grad()
def test_maps_are_means_over_heads_and_layers():
    """All layers look at all words alike, but the middle, which looks from everywhere
    with one query.
    """
    model, z = system(), noise()
    blocks = [m for m in model.modules() if isinstance(m, ConditionalTransformerBlock)]
    assert len(blocks) == 7  # one a level down, the middle, two a level up
    for block in blocks:
        block.cross_attention.to_q.weight.zero_()
    context = model.context(TOKENS)
    even = context.seen / context.seen.sum(dim=1, keepdim=True)  # (B, L)
    maps = attention_maps(model, z, T_, TOKENS)
    assert torch.allclose(maps, even[:, :, None, None].expand_as(maps), atol=1e-6)
    middle = model.unet.encoder.middle[1].block
    middle.norm2.weight.zero_()
    middle.norm2.bias.fill_(1.0)
    middle.cross_attention.to_q.weight.normal_()
    q = middle.cross_attention.to_q(torch.ones(32)).view(2, 16)  # two heads
    k = middle.cross_attention.to_k(context.vectors).unflatten(2, (2, 16))
    fit = torch.einsum("hd,blhd->bhl", q, k) / 16**0.5
    share = fit.masked_fill(~context.seen[:, None], -torch.inf).softmax(dim=2).mean(1)
    expected = (6 * even + share) / 7
    maps = attention_maps(model, z, T_, TOKENS)
    assert torch.allclose(maps, expected[:, :, None, None].expand_as(maps), atol=1e-5)
    assert not torch.allclose(share, even, atol=0.01)


def test_maps_of_other_shapes():
    maps = attention_maps(system(), torch.randn(2, 4, 4, 8), T_, TOKENS)
    assert maps.shape == (2, 4, 4, 8)
