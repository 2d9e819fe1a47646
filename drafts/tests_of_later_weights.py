# to join tests/test_shipped.py when glide_portraits_inpaint, glide_pairs, upsample_scenes and glide_scenes ship
from minilib.diffusion.inpainting import clue, keep_known, with_clue
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import V, trailing
from minilib.recipes.diffusion import LINEAR
from minilib.recipes.glide import draw_scenes, enlarge, widened
from minilib.scene_checker import scene_accuracy
from minilib.data import portraits


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

# glide_pairs: as the test of glide_portraits, with captioned_pairs(24, 7, "held_out"), claims >= 0.8

def test_the_shipped_inpainter_gives_them_a_red_hat_and_leaves_the_rest():
    people = [p for p in portraits.draw(60, 8, "test") if p.hat == "no hat" and p.hair != "green"][:16]
    x_0, tokens = portraits.render(people), captioned.portrait_tokens().encode(["a person with a red hat"] * 16)
    known = torch.ones(16, 1, 16, 16, dtype=torch.bool)
    known[:, :, :8] = False
    model = with_clue(shipped("glide_portraits_inpaint"), clue(x_0, known))
    denoise = keep_known(denoiser(model, LINEAR, V, tokens), x_0, known)
    x = last(ddim(denoise, LINEAR, noise(16, 3, 16, 16), trailing(1000, 20)))
    assert torch.equal(x[:, :, 8:], x_0[:, :, 8:])
    assert accuracy(x, ["a person with a red hat"] * 16)["hat"] >= 0.8


def test_the_shipped_painters_of_scenes_obey_and_the_larger_is_the_smaller():
    texts = captioned.captioned_scenes(20, 7, "test", "long")[1]
    tokens, large = captioned.scene_tokens().encode(texts), shipped("upsample_scenes")
    with torch.no_grad():
        x = draw_scenes(shipped("glide_scenes"), large, noise(20, 3, 32, 32), tokens)
        found = scene_accuracy(x, texts)
        assert found["colour"] >= 0.75
        assert found["shape"] >= 0.6
        assert scene_accuracy(x, texts[1:] + texts[:1])["caption"] < 0.2
        real = captioned.captioned_scenes(20, 7, "test", "long")[0]
        small = torch.nn.functional.avg_pool2d(real, 2)
        again = enlarge(large, small, noise(20, 3, 32, 32), tokens)
    bilinear = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    assert (again - real).square().mean() < (bilinear - real).square().mean() / 2




# from tests/test_shipped.py
def test_the_shipped_painter_of_people_obeys_prompts_with_pairs_that_it_never_saw():
    texts = captioned.captioned_portraits(24, 7, "held_out", "long")[1]
    recipe, tokens = recipes.get("glide_portraits"), captioned.portrait_tokens().encode(texts)
    model = shipped("glide_portraits")
    draw = [recipe.sample(model, 24, torch.Generator().manual_seed(seed), tokens) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert accuracy(draw[0], texts)["claims"] >= 0.9
    others = accuracy(draw[0], texts[1:] + texts[:1])["claims"]
    assert others < 0.7


def test_a_widened_network_starts_as_the_one_that_it_was():
    narrow, wide = shipped("glide_portraits"), recipes.get("glide_portraits_inpaint").model().eval()
    x, t, tokens = noise(2, 3, 16, 16), torch.tensor([100, 900]), captioned.portrait_tokens().encode(["a face"] * 2)
    with torch.no_grad():
        seen = wide(torch.cat([x, noise(2, 4, 16, 16)], dim=1), t, tokens)
        assert torch.allclose(seen, narrow(x, t, tokens), atol=1e-5)


def test_what_was_never_told_draws_scenes():
    x = recipes.get("ddpm_scenes").sample(shipped("ddpm_scenes"), 16, torch.Generator().manual_seed(3))
    assert x.shape == (16, 3, 32, 32)
    clear = [view for view in recipes.semantic.recognise_scenes(x) if view.things and view.background]
    assert len(clear) >= 10
