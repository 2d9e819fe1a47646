"""The diffusion prior against diffusers' PriorTransformer, and its sampler against
their UnCLIPScheduler: float64, every tensor random, outputs and gradients.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import PriorTransformer, UnCLIPScheduler
from torch.nn import functional as F

from minilib.diffusion import sampling, schedule
from minilib.interop.unclip import from_prior
from minilib.models.unclip.captions import Caption, null_caption
from minilib.models.unclip.prior import DiffusionPrior, PriorConfig
from tests.parity.reference import (
    BAR,
    apart,
    float64_sinusoid,
    in_float64,
    randomise,
)

# theirs has one size for embeddings and for the features of text
TINY = PriorConfig(dim=24, text_width=24, length=7, width=32, depth=2, heads=4)
PUBLISHED = PriorConfig(768, text_width=768, length=77, width=2048, depth=20, heads=32)


def matched(c: PriorConfig) -> PriorTransformer:
    return PriorTransformer(
        num_attention_heads=c.heads,
        attention_head_dim=c.width // c.heads,
        num_layers=c.depth,
        embedding_dim=c.dim,
        num_embeddings=c.length,
    )


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


def test_every_key_and_shape_of_the_published_size():
    with torch.device("meta"):
        theirs, ours = PriorTransformer(), DiffusionPrior(PUBLISHED)
    state = theirs.state_dict()
    assert len(state) == 338
    assert sum(value.numel() for value in state.values()) == 1_022_030_080
    assert shapes(from_prior(state)) == shapes(ours.state_dict())


def captions(c: PriorConfig, scale: float) -> Caption:
    """Two captions, of three tokens and of as many as there may be."""
    g = torch.Generator().manual_seed(1)
    features, embedding = (
        scale * torch.randn(2, *shape, generator=g, dtype=torch.float64)
        for shape in ((c.length, c.text_width), (c.dim,))
    )
    seen = torch.arange(c.length) < torch.tensor([[3], [c.length]])
    return Caption(features, seen, embedding)


def answer(reference: PriorTransformer, x_t, t, caption: Caption):
    with in_float64():
        return reference(
            x_t, t, caption.embedding, caption.features, caption.seen
        ).predicted_image_embedding


def errors(c: PriorConfig = TINY) -> dict[str, float]:
    """How far our prior is from theirs with the same random weights: output, and
    gradients of inputs and weights; on normal input and on a hundredth of it.
    """
    reference = randomise(matched(c))
    reference.time_proj.forward = float64_sinusoid(c.width)
    model = DiffusionPrior(c).double()
    model.load_state_dict(from_prior(reference.state_dict()))
    g, found = torch.Generator().manual_seed(2), {}
    t = torch.tensor([3, 977])
    for scale in (1.0, 0.01):
        x_t = scale * torch.randn(2, c.dim, generator=g, dtype=torch.float64)
        weight = torch.randn(2, c.dim, generator=g, dtype=torch.float64)
        outs, inputs = [], []
        for network in (model, reference):
            caption = captions(c, scale)
            given = [x_t.clone(), caption.features, caption.embedding]
            mine = [one.requires_grad_() for one in given]
            read = Caption(mine[1], caption.seen, mine[2])
            call = network if network is model else lambda *a: answer(reference, *a)
            outs.append(call(mine[0], t, read))
            (outs[-1] * weight).sum().backward()
            inputs.append([one.grad for one in mine])
        found[f"output × {scale}"] = apart(*outs)
        found[f"gradients of inputs × {scale}"] = max(map(apart, *inputs))
        expected = from_prior(
            {
                name: p.grad
                for name, p in reference.named_parameters()
                if not name.startswith("clip_")
            }
        )
        by_weight = [
            apart(p.grad, expected[name]) for name, p in model.named_parameters()
        ]
        found[f"gradients of weights × {scale}"] = max(by_weight)
        model.zero_grad()
        reference.zero_grad()
    return found


def prior_error() -> float:
    return max(errors().values())


@pytest.mark.parametrize(
    "config",
    [TINY, replace(TINY, depth=1, heads=1), replace(TINY, width=24, heads=2)],
    ids=["tiny", "one block, one head", "wide heads"],
)
def test_outputs_and_gradients(config):
    found = errors(config)
    assert max(found.values()) < BAR, found


def both_models() -> tuple[DiffusionPrior, PriorTransformer]:
    reference = randomise(matched(TINY))
    reference.time_proj.forward = float64_sinusoid(TINY.width)
    model = DiffusionPrior(TINY).double()
    model.load_state_dict(from_prior(reference.state_dict()))
    return model, reference


def test_without_a_caption():
    model, reference = both_models()
    x_t, t = torch.ones(2, 24, dtype=torch.float64), torch.tensor([3, 977])
    nothing = null_caption(captions(TINY, 1.0))
    assert apart(model(x_t, t, nothing), answer(reference, x_t, t, nothing)) < BAR


def test_what_their_clip_mean_and_std_do():
    """Theirs multiplies and adds after the last step; ours then makes the length 1."""
    model, reference = both_models()
    x_0 = torch.randn(3, 24, dtype=torch.float64)
    theirs = reference.post_process_latents(x_0)
    assert apart(model.unit(x_0), F.normalize(theirs, dim=1)) < BAR
    assert apart(model.standardised(theirs), x_0) < BAR


def test_their_text_is_causal_only_where_a_mask_is_given():
    """Why `from_prior` says so: a full mask and none differ there."""
    model, reference = both_models()
    caption = captions(TINY, 1.0)
    whole = Caption(caption.features, torch.ones_like(caption.seen), caption.embedding)
    x_t, t = torch.ones(2, 24, dtype=torch.float64), torch.tensor([3, 977])
    assert apart(model(x_t, t, whole), answer(reference, x_t, t, whole)) < BAR
    with in_float64():
        unmasked = reference(x_t, t, whole.embedding, whole.features)
    assert apart(model(x_t, t, whole), unmasked.predicted_image_embedding) > 1e-3


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match=r"unknown key 'proj_out\.weight'"):
        from_prior({"proj_out.weight": torch.zeros(1)})


# ---------- the sampler ----------

COSINE = schedule.Schedule(schedule.cosine_beta())


def toy(x, t):
    """A "network" that is no good, but smooth and of the right size."""
    return torch.sin(3 * x + 0.01 * t.to(x)[:, None]) + 0.2 * x


def their_path(kind: str, n: int, clip: bool):
    """The embeddings after each step of their scheduler, called as their pipelines do:
    with the step that comes next.
    """
    scheduler = UnCLIPScheduler(prediction_type=kind, clip_sample=clip)
    scheduler.betas, scheduler.alphas = COSINE.beta, 1 - COSINE.beta
    scheduler.alphas_cumprod = COSINE.alpha_bar
    scheduler.set_timesteps(n)
    assert scheduler.timesteps.tolist() == schedule.even(1000, n)
    g, x, path = torch.Generator().manual_seed(1), start(), []
    for t, after in zip(
        scheduler.timesteps, [*scheduler.timesteps[1:], None], strict=True
    ):
        out = toy(x, t.expand(3))
        x = scheduler.step(out, t, x, prev_timestep=after, generator=g).prev_sample
        path.append(x)
    return path


def start():
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, 8, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["sample", "epsilon"])
@pytest.mark.parametrize("n", [2, 5, 25, 64])
@pytest.mark.parametrize("clip", [False, True])
def test_their_scheduler_is_ancestral_sampling_on_even_steps(kind, n, clip):
    predicted = {"sample": schedule.X_0, "epsilon": schedule.EPS}[kind]
    denoise = sampling.denoiser(lambda x, t, _: toy(x, t), COSINE, predicted, clip=clip)
    ours = sampling.ancestral(
        denoise,
        COSINE,
        start(),
        schedule.even(1000, n),
        torch.Generator().manual_seed(1),
    )
    theirs = their_path(kind, n, clip)
    assert max(map(apart, ours, theirs)) < BAR
