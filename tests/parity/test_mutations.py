"""The test of the tests: break one detail of the library at a time, and the comparison
with the reference must fail.
"""

import __future__

import dataclasses
import inspect
from collections.abc import Callable
from types import ModuleType

import pytest

from minilib.diffusion import loss, sampling, schedule
from minilib.interop import adm as adm_keys
from minilib.models import clip, noisy_classifier
from minilib.models.unclip import prior
from minilib.nets import gpt, layers, unet, unet_blocks, vit
from tests.parity import (
    reference,
    test_clip,
    test_gpt2,
    test_keys,
    test_loss,
    test_unclip,
)
from tests.parity.reference import BAR


def ddpm() -> float:
    return max(reference.unet_errors(reference.DDPM_FORM, (8, 8)).values())


def adm() -> float:
    return max(reference.unet_errors(reference.ADM_FORM, (8, 8)).values())


def ddim() -> float:
    """With clipping, which the toy needs: its x_0 leaves [-1, 1]."""
    return max(
        reference.ddim_error("epsilon", spacing, 10, True, 1.0)
        for spacing in ("leading", "trailing")
    )


def ddim_of_v() -> float:
    return reference.ddim_error("v_prediction", "leading", 10, False, 0.0)


def ancestral() -> float:
    return reference.ancestral_error("sample", "leading", 10, False, "fixed_small")


def dpm() -> float:
    return max(
        reference.dpm_error("epsilon", "trailing", 10, clip) for clip in (False, True)
    )


def published() -> float:
    return test_keys.adm_error("adm256_cond.openai")


def published_classifier() -> float:
    return test_keys.adm_error("adm256_classifier.openai")


def clip_model() -> float:
    return test_clip.clip_error()


def gpt2() -> float:
    return test_gpt2.gpt_error()


def unclip_prior() -> float:
    return test_unclip.prior_error()


def losses() -> float:
    """1 where a test of the losses fails, and 0 where they all pass."""
    beta = schedule.cosine_beta(50)
    try:
        test_loss.test_the_terms_of_the_bound(beta, "learned")
        test_loss.test_the_bins_of_a_pixel(0.1)
        test_loss.test_what_is_left_at_the_end(beta)
        test_loss.test_the_hybrid_loss_and_its_gradients(beta, schedule.V)
    except AssertionError:
        return 1.0
    return 0.0


@dataclasses.dataclass
class Mutation:
    """In the source of `module.name`, `old` becomes `new`; then `compare` must give
    more than the bar.
    """

    module: ModuleType
    name: str
    old: str
    new: str
    compare: Callable[[], float]


MUTATIONS = {
    "eps of the norms 1e-5, not 1e-6": Mutation(
        unet_blocks, "ResBlock", "channels_in, c.eps)", "channels_in, 1e-5)", ddpm
    ),
    "sines before cosines": Mutation(
        layers,
        "step_embedding",
        "[angles.cos(), angles.sin()]",
        "[angles.sin(), angles.cos()]",
        ddpm,
    ),
    "frequencies that end at 1/10,000": Mutation(
        layers, "step_embedding", "/ (dim // 2)", "/ (dim // 2 - 1)", ddpm
    ),
    "attention without 1/sqrt(D)": Mutation(
        layers, "attend_fast", "k, v, mask)", "k, v, mask, scale=1.0)", ddpm
    ),
    "q, k, v head by head": Mutation(
        layers,
        "Attention",
        "3, self.heads, D // self.heads)\n",
        "self.heads, 3, D // self.heads).transpose(2, 3)\n",
        adm,
    ),
    "half as many heads": Mutation(
        unet_blocks,
        "SpatialAttention",
        "channels // c.head_dim",
        "channels // c.head_dim // 2",
        ddpm,
    ),
    "attention without what came in": Mutation(
        unet_blocks, "SpatialAttention", "return h + ", "return ", ddpm
    ),
    "shift after the norm": Mutation(
        unet_blocks, "Shift", "self.norm(h + shift)", "self.norm(h) + shift", ddpm
    ),
    "scale, not 1 + scale": Mutation(
        unet_blocks, "ScaleShift", "* (1 + scale)", "* scale", adm
    ),
    "shift before scale": Mutation(
        unet_blocks, "ScaleShift", "scale, shift =", "shift, scale =", adm
    ),
    "no SiLU on the embedding": Mutation(
        unet_blocks, "Shift", "self.linear(F.silu(emb))", "self.linear(emb)", ddpm
    ),
    "no SiLU before the second convolution": Mutation(
        unet_blocks,
        "ResBlock",
        "F.silu(self.modulate(new, emb))",
        "self.modulate(new, emb)",
        ddpm,
    ),
    "resized before the norm": Mutation(
        unet_blocks,
        "ResBlock",
        "self.resize(F.silu(self.norm(h)))",
        "F.silu(self.norm(self.resize(h)))",
        adm,
    ),
    "a residual that is not resized alike": Mutation(
        unet_blocks, "shrink", "F.avg_pool2d(h, 2)", "h[:, :, ::2, ::2]", adm
    ),
    "bilinear upsampling": Mutation(
        unet_blocks, "grow", '"nearest"', '"bilinear"', ddpm
    ),
    "a strided convolution that pads one side": Mutation(
        unet_blocks,
        "ConvDown",
        "self.conv(h)",
        "self.conv(h.roll((1, 1), (2, 3)))",
        ddpm,
    ),
    "skips before features": Mutation(
        unet, "UpLevel", "[h, skips.pop()]", "[skips.pop(), h]", ddpm
    ),
    "the skips of the highest level in another order": Mutation(
        unet, "UpLevel", "skips.pop()", "skips.pop(0 if len(skips) <= 3 else -1)", ddpm
    ),
    "labels ignored": Mutation(
        unet, "Embedding", "emb + self.label", "emb + 0 * self.label", adm
    ),
    "the walk ends at alpha_bar[0]": Mutation(
        schedule,
        "Schedule",
        "torch.ones_like(now[:1])])\n        beta",
        "self.alpha_bar[:1]])\n        beta",
        ddim,
    ),
    "alpha_bar one step off": Mutation(
        schedule,
        "Schedule",
        "(1 - self.beta).cumprod(dim=0)",
        "(1 - self.beta.roll(1)).cumprod(dim=0)",
        ddim,
    ),
    "trailing steps that begin at T": Mutation(
        schedule, "trailing", "- 1 for", "for", ddim
    ),
    "leading steps that do not end at 0": Mutation(
        schedule, "leading", "i * (T // n)", "i * (T // n) + 1", ddim
    ),
    "no clipping": Mutation(
        sampling, "denoiser", "x_0.clamp(-1, 1) if clip else x_0", "x_0", ddim
    ),
    "noise of eta on top of all of eps": Mutation(
        sampling, "ddim", "- sigma**2", "", ddim
    ),
    "eps of the network, where x_0 was clipped": Mutation(
        sampling,
        "ddim",
        "noise_in(x, x_0, step.now)",
        "reference.toy(x, full(x, t))",
        ddim,
    ),
    "v with the other sign": Mutation(
        schedule,
        "V",
        "alpha_bar.sqrt() * x_t - (1",
        "alpha_bar.sqrt() * x_t + (1",
        ddim_of_v,
    ),
    "beta in place of beta_tilde": Mutation(
        sampling, "small_variance", "step.beta_tilde_clipped", "step.beta", ancestral
    ),
    "a posterior mean without sqrt(alpha)": Mutation(
        schedule,
        "Step",
        "(self.now / self.then).sqrt()",
        "(self.now / self.then)",
        ancestral,
    ),
    "noise after the last step": Mutation(
        sampling, "ancestral", "step.then < 1", "step.then <= 1", ancestral
    ),
    "first order only": Mutation(sampling, "dpm_solver", "0 < i <", "0 < i < 0 *", dpm),
    "the other ratio of steps": Mutation(
        sampling, "dpm_solver", "h / (2 * last_h)", "last_h / (2 * h)", dpm
    ),
    "first order in the last step but one": Mutation(
        sampling, "dpm_solver", "len(walk) - 1", "len(walk) - 2", dpm
    ),
    "the line through x, not through the guesses": Mutation(
        sampling, "dpm_solver", "before = x_0", "before = x", dpm
    ),
    "time in place of the log of the SNR": Mutation(
        sampling,
        "dpm_solver",
        "(step.now / (1 - step.now)).log() / 2 for _, step",
        "torch.tensor(-t) for t, _",
        dpm,
    ),
    "the bound moves the mean": Mutation(loss, "hybrid_loss", ".detach()", "", losses),
    "a bound without its thousandth": Mutation(
        loss, "hybrid_loss", "0.001 *", "0.002 *", losses
    ),
    "variances between the wrong ends": Mutation(
        sampling,
        "learned_variance",
        "low + denoised.share * (high - low)",
        "high + denoised.share * (low - high)",
        losses,
    ),
    "variances mixed without logarithms": Mutation(
        sampling,
        "learned_variance",
        "torch.exp(low + denoised.share * (high - low))",
        "low.exp() + denoised.share * (high.exp() - low.exp())",
        losses,
    ),
    "a first variance that is not clipped to the second": Mutation(
        schedule,
        "Step",
        "torch.where(self.then == 1, self.floor, self.beta_tilde)",
        "self.beta_tilde.clamp(min=1e-20)",
        losses,
    ),
    "bins of half the width": Mutation(
        loss, "pixel_log_likelihood", "1 / 255", "1 / 510", losses
    ),
    "no open bin for black": Mutation(
        loss, "pixel_log_likelihood", "x < -0.999", "x < -9", losses
    ),
    "x_0 in place of the posterior's mean": Mutation(
        loss, "vlb_term", "step.mean(x_t, x_0),", "x_0,", losses
    ),
    "the bound of a step from its own alpha_bar": Mutation(
        schedule,
        "Schedule",
        "Step(now, then, ",
        "Step(now, now * 1.001, ",
        losses,
    ),
    "weights with q, k, v head by head": Mutation(
        adm_keys, "by_kind", ".transpose(0, 1)", "", published
    ),
    "the pool's q, k, v head by head": Mutation(
        noisy_classifier,
        "AttentionPool",
        "3, C // self.head_dim, self.head_dim\n        )",
        "C // self.head_dim, 3, self.head_dim\n        ).transpose(2, 3)",
        published_classifier,
    ),
    "the mean of all positions last": Mutation(
        noisy_classifier,
        "AttentionPool",
        "[positions.mean(dim=2, keepdim=True), positions]",
        "[positions, positions.mean(dim=2, keepdim=True)]",
        published_classifier,
    ),
    "labels one off": Mutation(
        unet, "Embedding", "y.clamp(min=0)", "(y - 1).clamp(min=0)", published
    ),
    "CLIP with GELU": Mutation(
        vit,
        "QuickGELU",
        "F.silu(1.702 * h) / 1.702",
        "F.gelu(h)",
        clip_model,
    ),
    "a text that sees what is to come": Mutation(
        clip, "TextTransformer", ".tril()", "", clip_model
    ),
    "the last place in place of the end token": Mutation(
        clip,
        "TextTransformer",
        "(tokens == self.end).int().argmax(dim=1)",
        "-1",
        clip_model,
    ),
    "the text's last norm left out": Mutation(
        clip,
        "TextTransformer",
        "return self.norm(h)",
        "return h + 1e-9 * self.norm(h)",
        clip_model,
    ),
    "GPT-2 with the exact GELU": Mutation(
        gpt, "GPTBlock", 'nn.GELU("tanh")', "nn.GELU()", gpt2
    ),
    "eps of GPT-2's norms 1e-6, not 1e-5": Mutation(
        gpt,
        "GPTBlock",
        "nn.LayerNorm(dim), nn.LayerNorm(dim)",
        "nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim)",
        gpt2,
    ),
    "a token that sees what is to come": Mutation(
        gpt, "CausalTransformer", ".tril()", "", gpt2
    ),
    "GPT-2's last norm left out": Mutation(
        gpt,
        "CausalTransformer",
        "return self.norm(h)",
        "return h + 1e-9 * self.norm(h)",
        gpt2,
    ),
    "the picture's first norm left out": Mutation(
        vit,
        "ViT",
        "self.norm_in(",
        "(lambda h: h + 1e-9 * self.norm_in(h))(",
        clip_model,
    ),
    "the whole last, not first": Mutation(
        vit, "ViT", "[whole, patches]", "[patches, whole]", clip_model
    ),
    "eps 1e-6 in the last norm": Mutation(
        vit,
        "ViT",
        "nn.LayerNorm(c.dim), nn.LayerNorm(c.dim)",
        "nn.LayerNorm(c.dim), nn.LayerNorm(c.dim, 1e-6)",
        clip_model,
    ),
    "a scale that is not exponentiated": Mutation(
        clip, "CLIP", "self.logit_scale.exp()", "self.logit_scale", clip_model
    ),
    "embeddings of any length": Mutation(
        clip,
        "CLIP",
        "F.normalize(self.to_image(self.vision(x)[:, 0]), dim=1)",
        "self.to_image(self.vision(x)[:, 0])",
        clip_model,
    ),
    "one direction only": Mutation(
        clip,
        "contrastive_loss",
        "F.cross_entropy(logits.T, target)",
        "F.cross_entropy(logits, target)",
        clip_model,
    ),
    "a prior with the approximate GELU": Mutation(
        layers,
        "TransformerBlock",
        "] = nn.GELU",
        '] = lambda: nn.GELU("tanh")',
        unclip_prior,
    ),
    "a prior whose text sees what is to come": Mutation(
        prior, "past_and_seen", ".tril()", "", unclip_prior
    ),
    "a prior that looks at padding": Mutation(
        prior, "past_and_seen", "| itself)", "| itself | past)", unclip_prior
    ),
    "a prior that answers where the noisy embedding stands": Mutation(
        prior, "DiffusionPrior", "h[:, -1]", "h[:, -2]", unclip_prior
    ),
    "a prior without its last norm": Mutation(
        prior,
        "DiffusionPrior",
        "self.norm(h[:, -1])",
        "h[:, -1] + 1e-9 * self.norm(h[:, -1])",
        unclip_prior,
    ),
    "a step that comes after the noisy embedding": Mutation(
        prior,
        "DiffusionPrior",
        "torch.cat(vectors, dim=1)",
        "torch.cat([*vectors[:2], vectors[3], vectors[2], vectors[4]], dim=1)",
        unclip_prior,
    ),
    "nats, not bits": Mutation(loss, "vlb_term", " / math.log(2)", "", losses),
}


def broken(mutation: Mutation) -> object:
    """The class, function or constant, made from its mutated source."""
    if mutation.name == "V":
        text = inspect.getsource(mutation.module)
        source = text[text.index("V = Prediction(") :]
    else:
        source = inspect.getsource(getattr(mutation.module, mutation.name))
    assert mutation.old in source, (
        f"nothing to break: {mutation.old!r} is not in {mutation.name}"
    )
    flags = __future__.annotations.compiler_flag
    namespace = {**vars(mutation.module), "reference": reference}
    code = compile(
        source.replace(mutation.old, mutation.new),
        "mutation",
        "exec",
        flags,
        dont_inherit=True,
    )
    exec(code, namespace)
    return namespace[mutation.name]


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_detail_is_found(name, monkeypatch):
    mutation = MUTATIONS[name]
    whole, replacement = getattr(mutation.module, mutation.name), broken(mutation)
    modules = (
        clip,
        adm_keys,
        gpt,
        layers,
        noisy_classifier,
        unet,
        unet_blocks,
        vit,
        schedule,
        sampling,
        loss,
        prior,
    )
    tests = (reference, test_clip, test_gpt2, test_keys, test_loss, test_unclip)
    for module in (*modules, *tests):
        for key, value in list(vars(module).items()):
            if value is whole:
                monkeypatch.setattr(module, key, replacement)
    for table in (reference.PREDICTIONS, reference.SPACINGS, reference.VARIANCES):
        for key, value in list(table.items()):
            if value is whole:
                monkeypatch.setitem(table, key, replacement)
    # the kinds of blocks that a config names
    for name_of_form in ("DDPM_FORM", "ADM_FORM"):
        form = getattr(reference, name_of_form)
        kinds = {
            field: replacement for field, value in vars(form).items() if value is whole
        }
        monkeypatch.setattr(reference, name_of_form, dataclasses.replace(form, **kinds))
    try:
        error = mutation.compare()
    except AssertionError:
        return  # it takes other steps than the reference
    assert not error <= 1e3 * BAR, (
        f"{name}: the comparison says {error:.1e}, and would have let it pass"
    )


@pytest.mark.parametrize(
    "compare",
    [
        ddpm,
        adm,
        published,
        published_classifier,
        ddim,
        ddim_of_v,
        ancestral,
        dpm,
        gpt2,
        losses,
        clip_model,
        unclip_prior,
    ],
)
def test_nothing_broken_passes(compare):
    assert compare() < BAR
