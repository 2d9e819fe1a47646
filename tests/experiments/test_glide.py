"""The helpers of chapter 11's claims, where the right answer is known."""

import pytest
import torch

from minilib.data.portraits import drawing as portraits
from minilib.data.portraits.captions import read
from minilib.data.portraits.checker import recognise
from minilib.experiments import glide
from minilib.experiments.experiment import Size
from minilib.experiments.glide_parts import (
    caption_gain,
    score_caption_gap,
    small_reader,
    train_on_pairs,
)
from minilib.nets.unet_blocks import SpatialAttention
from minilib.recipes.captioned import (
    captioned_portraits,
    coloured_pairs,
    portrait_tokens,
    swapped_sides,
)
from minilib.text.words import END


def test_real_portraits_fulfil_their_captions_and_noise_fulfils_none():
    x, texts = captioned_portraits(4, 0, "test", "long")
    found = glide.judge_people(x, texts)
    assert found.claims == [1.0] * 4
    assert max(found.misfit) < 0.005
    others = glide.judge_people(x.roll(1, dims=0), texts)
    assert sum(others.claims) < 3
    noise = glide.judge_people(torch.randn(4, 3, 16, 16).clamp(-1, 1), texts)
    assert noise.claims == [0.0] * 4
    assert min(noise.misfit) > glide.STRANGE


def test_a_caption_that_claims_nothing_is_judged_by_its_misfit_alone():
    x, _ = captioned_portraits(2, 0, "test")
    found = glide.judge_people(x, [glide.SILENT] * 2)
    assert found.claims == [0.0, 0.0]
    assert found.misfit == [seen.error for seen in recognise(x)]


def test_no_guidance_by_clip_is_classifier_free_guidance_with_scale_1():
    texts = captioned_portraits(2, 0, "held_out", "long")[1]
    plain = glide.draw_by(glide.FREE, texts, 1.0, seed=3)
    assert torch.allclose(glide.draw_by(glide.NOISED, texts, 0.0, 3), plain, atol=1e-5)
    alone = glide.draw_by(glide.ALONE, texts, 0.0, 3)  # reads the null caption
    assert torch.allclose(alone, glide.draw_by(glide.FREE, texts, 0.0, 3), atol=1e-5)
    assert not torch.allclose(alone, plain, atol=0.1)


@pytest.mark.parametrize(
    ("found", "obedient", "gentle"),
    [
        ({1: (0.90, 0.01), 3: (0.97, 0.02), 5: (0.98, 0.03)}, 5, 3),
        ({1: (0.965, 0.01), 3: (0.97, 0.02), 5: (0.98, 0.03)}, 5, 1),
        ({1: (0.98, 0.01), 3: (0.5, 0.001)}, 1, 1),
    ],
)
def test_scales_are_chosen_for_claims_or_for_realism_among_the_good_ones(
    monkeypatch, found, obedient, gentle
):
    monkeypatch.setattr(glide, "scanned", lambda way, size: found)
    assert glide.best_scale(glide.FREE, Size.LIVE) == obedient
    assert glide.best_scale(glide.FREE, Size.LIVE, glide.RULES[1]) == gentle


def test_edits_ask_for_something_new_and_erase_only_what_they_change():
    x, known, texts = glide.asked_edits(0, 6)
    assert x.shape == (6, 3, 16, 16)
    assert known.shape == (6, 1, 16, 16)
    assert not known[::2, :, :5].any()
    assert known[::2, :, 5:].all()
    shown = recognise(x)
    for i, (text, seen) in enumerate(zip(texts, shown, strict=True)):
        ((name, value),) = read(text)[0].items()
        assert name == ("top" if i % 2 else "hat")
        assert seen.attributes[name] != value
        assert value in portraits.VALUES[name]
    tops = ~known[1::2]
    assert 0 < tops.float().mean() < 0.5
    assert not tops[:, :, :5].any()  # nobody wears a top on the head


def test_repainting_keeps_what_is_known_and_tells_a_network_that_asks():
    x, known, texts = glide.asked_edits(0, 4)

    def copies_its_condition(x_t, t, tokens):
        assert x_t.shape[1] == 7
        says_nothing = (tokens[:, 1] == END).view(-1, 1, 1, 1)
        return x_t[:, 3:6] * ~says_nothing

    painted = glide.repaint(copies_its_condition, x, known, texts, w=1.0)
    assert torch.equal(painted * known, x * known)
    assert torch.allclose(painted * ~known, torch.zeros(()), atol=1e-5)
    naive = glide.repaint(lambda x_t, t, y: 0 * x_t + 0.5, x, known, texts, given=False)
    assert torch.equal(naive * known, x * known)
    assert torch.allclose(naive[~known.expand_as(x)], torch.tensor(0.5), atol=1e-5)


def better(way, seed, size, rule=glide.RULES[0]):
    """What GLIDE-1 and GLIDE-4 say: one way draws better."""
    good = way in (glide.FREE, glide.ALONE)
    claims = [0.9, 1.0, 0.95] if good else [0.5, 0.6, 0.4]
    return glide.Judged(claims, [0.01] * 3 if good else [0.03] * 3)


def worse(way, seed, size, rule=glide.RULES[0]):
    swapped = {glide.FREE: glide.NOISED, glide.ALONE: glide.CLEAN}
    turned = swapped | {after: before for before, after in swapped.items()}
    return better(turned[way], seed, size, rule)


@pytest.mark.parametrize("experiment", [glide.GLIDE_1, glide.GLIDE_4])
@pytest.mark.parametrize(
    ("judge", "outcome"), [(better, "holds"), (worse, "fails at our scale")]
)
def test_guidances_are_compared_in_the_direction_of_the_claim(
    monkeypatch, experiment, judge, outcome
):
    monkeypatch.setattr(glide, "judge_way", judge)
    assert experiment((0, 1), Size.LIVE).outcome == outcome


@pytest.mark.parametrize("spoilt", [False, True])
def test_repainting_is_shown_only_where_no_known_pixel_changes(monkeypatch, spoilt):
    def paint(model, x_0, known, texts, w=3.0, seed=0, given=True):
        return (x_0 + 1e-3 * spoilt).clamp(-1, 1)

    monkeypatch.setattr(glide, "repaint", paint)
    found = glide.GLIDE_2.measure(0, Size.LIVE)
    glide.GLIDE_2.require_parts(found)
    assert (found[glide.UNCHANGED] > 0) is spoilt


def knows(x):
    """A network that answers x when it is told any caption, and nothing otherwise."""
    return lambda x_t, t, tokens: x * (tokens[:, 1] != END).view(-1, 1, 1, 1)


def test_a_caption_lessens_the_error_of_what_it_tells():
    x, texts = coloured_pairs(6, 0, "test")
    tokens = portrait_tokens().encode(texts)
    assert torch.allclose(
        caption_gain(knows(x), x, tokens), x.square().flatten(1).mean(dim=1)
    )
    assert not caption_gain(lambda x_t, t, tokens: 0 * x_t, x, tokens).any()
    conditional = score_caption_gap(knows(x), x, texts)
    assert conditional["told_apart"] == 1
    assert conditional["caption_gain"] == pytest.approx(float(x.square().mean()))
    assert score_caption_gap(knows(swapped_sides(x)), x, texts)["told_apart"] == 0


def test_the_arms_of_the_comparison_differ_in_their_attention_alone():
    torch.manual_seed(0)
    words, vector = small_reader(True), small_reader(False)
    assert {name for name in words.state_dict() if name not in vector.state_dict()} == {
        name for name in words.state_dict() if ".words." in name
    }
    assert vector.state_dict().keys() < words.state_dict().keys()
    assert type(vector.encoder.middle[1]) is SpatialAttention


def test_words_and_vector_are_scored_on_the_same_pairs(monkeypatch):
    """A network that ignores captions gains nothing by them and tells nothing apart."""
    trained = []

    def train(by_words, seed, steps):
        trained.append((by_words, seed, steps))
        return lambda x_t, t, tokens: 0 * x_t

    monkeypatch.setattr(glide, "train_on_pairs", train)
    found = glide.GLIDE_3.measure(4, Size.LIVE)
    glide.GLIDE_3.require_parts(found)
    assert trained == [(True, 4, 10), (False, 4, 10)]
    assert found[glide.GAIN] == (0.0, 0.0)
    assert found[glide.TOLD_APART] == (0.0, 0.0)


def test_training_on_pairs_gives_two_networks_that_differ_in_their_attention():
    words, vector = (train_on_pairs(by_words, 0, 1) for by_words in (True, False))
    extra = words.state_dict().keys() - vector.state_dict().keys()
    assert extra == {name for name in words.state_dict() if ".words." in name}
    assert extra
