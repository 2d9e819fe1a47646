"""The whole of Stable Diffusion, at a small size, against diffusers' pipeline: from
captions and noise to pictures, in float64.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from minilib.diffusion.sampling import dpm_solver
from minilib.diffusion.schedule import EPS, leading, leading_by_one
from minilib.diffusion.solvers import euler, pndm
from minilib.interop.stable_diffusion import (
    from_autoencoder,
    from_text_encoder,
    from_unet,
)
from minilib.models.latent.kl_autoencoder import KLAutoencoder
from minilib.models.latent.latent_diffusion import (
    Drawing,
    LatentDiffusion,
    LatentDiffusionConfig,
)
from tests.parity import test_conditional_unet as unets
from tests.parity import test_kl_autoencoder as autoencoders
from tests.parity import test_text_encoder as texts
from tests.parity.reference import BAR, T, apart, in_float64
from tests.parity.test_solvers import CHAIN, PUBLISHED, exact

TEXT = replace(texts.TINY, width=unets.WIDTH)
N = 5


def captions(seed: int) -> torch.Tensor:
    """As CLIP's tokenizer makes them: the end token fills what is left."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, TEXT.end - 1, (2, TEXT.length), generator=g)
    tokens[0, 4:], tokens[1, 9:] = TEXT.end, TEXT.end
    return tokens


SAMPLERS = {  # the reference's scheduler, our sampler, its steps; theirs end early
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}, pndm, True),
    "euler": (EulerDiscreteScheduler, {}, euler, False),
    "dpm_solver": (
        DPMSolverMultistepScheduler,
        {"final_sigmas_type": "zero"},
        dpm_solver,
        False,
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_of_a_caption(name):
    kind, options, sampler, ends_early = SAMPLERS[name]
    scheduler = exact(kind(**PUBLISHED, **options))
    unet, vae = unets.theirs(unets.TINY), autoencoders.theirs(autoencoders.TINY)
    text = texts.theirs(TEXT)
    tokens, negative = captions(0), captions(1)
    z = torch.randn(
        2, 4, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )

    model = LatentDiffusion(LatentDiffusionConfig(TEXT, unets.small(unets.TINY)))
    model.double().text.load_state_dict(from_text_encoder(text.state_dict()))
    model.unet.load_state_dict(from_unet(unet.state_dict(), unets.TINY))
    autoencoder = KLAutoencoder(autoencoders.TINY).double()
    autoencoder.load_state_dict(from_autoencoder(vae.state_dict(), autoencoders.TINY))

    steps = leading_by_one(T, N)
    if name == "dpm_solver":
        steps = [t + 1 for t in leading(T, N + 1)[:-1]]
    # where theirs ends at t = 0, and not at the data
    drawing = Drawing(CHAIN, EPS, [*steps, 0] if ends_early else steps, 7.5, sampler)
    latents = [*drawing.latents(model, z, tokens, negative)]
    mine = autoencoder.pictures(latents[N - 1])

    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=None,
        unet=unet,
        scheduler=with_exact_sigmas(scheduler, steps),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad(), in_float64():
        embedded = {
            "prompt_embeds": text(input_ids=tokens).last_hidden_state,
            "negative_prompt_embeds": text(input_ids=negative).last_hidden_state,
        }
        theirs = pipeline(
            **embedded,
            latents=z,
            height=16,
            width=16,
            guidance_scale=7.5,
            num_inference_steps=N,
            output_type="pt",
        ).images
    assert apart(mine.detach(), 2 * theirs - 1) < BAR
    assert float(mine.std()) > 0.05


def with_exact_sigmas(scheduler, steps):
    """The scheduler, whose sigmas are in float64 once it knows its steps."""
    if not hasattr(scheduler, "sigmas"):
        return scheduler
    set_timesteps = scheduler.set_timesteps

    def exactly(n, *args, **kwargs):
        set_timesteps(n, *args, **kwargs)
        assert [int(t) for t in scheduler.timesteps] == steps
        sigma = (1 / CHAIN.alpha_bar - 1).sqrt()
        scheduler.sigmas = torch.cat([sigma[steps], sigma.new_zeros(1)])

    scheduler.set_timesteps = exactly
    return scheduler
