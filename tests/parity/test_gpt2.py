"""GPT against transformers' GPT-2: every published key and shape, and on the same
random weights logits, loss and gradients; and a file of ours that theirs reads.
"""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from minilib.interop.gpt2 import from_gpt2, gpt2_config, to_gpt2
from minilib.nets.gpt import GPT, GPTConfig
from tests.parity.adm import KEYS
from tests.parity.reference import BAR, apart, in_float64, randomise

TINY = GPTConfig(vocabulary=50, context=12, width=32, depth=2, heads=4)
GPT2_124M = GPTConfig(vocabulary=50257, context=1024, width=768, depth=12, heads=12)


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


def published():
    sizes = json.loads((KEYS / "gpt2_124m.hf.json").read_text())
    return {key: torch.empty(size, device="meta") for key, size in sizes.items()}


def test_every_key_and_shape_of_the_published_weights():
    with torch.device("meta"):
        model = GPT(GPT2_124M)
    assert shapes(from_gpt2(published())) == shapes(model.state_dict())
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
    theirs = published()
    del theirs["lm_head.weight"]
    assert shapes(to_gpt2(model.state_dict())) == shapes(theirs)


def test_keys_of_openais_own_file_which_holds_masks_and_no_prefix():
    state = {key.removeprefix("transformer."): v for key, v in published().items()}
    del state["lm_head.weight"]
    state["h.0.attn.bias"] = torch.ones(1, 1, 1024, 1024, device="meta")
    state["h.11.attn.masked_bias"] = torch.tensor(-1e4, device="meta")
    assert shapes(from_gpt2(state)) == shapes(from_gpt2(published()))


def theirs(c: GPTConfig, scale: float = 1.0) -> GPT2LMHeadModel:
    """GPT-2 with random weights, all `scale` times as large."""
    config = GPT2Config(**gpt2_config(c), bos_token_id=0, eos_token_id=0)
    config._attn_implementation = "sdpa"
    model = randomise(GPT2LMHeadModel(config))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    return model


def errors(c: GPTConfig = TINY) -> dict[str, float]:
    """How far our GPT is from theirs: logits, loss, gradients; with normal weights and
    with a hundredth of them, where eps of the norms tells.
    """
    g, found = torch.Generator().manual_seed(1), {}
    tokens = torch.randint(0, c.vocabulary, (3, c.context), generator=g)
    for scale in (1.0, 0.01):
        reference, model = theirs(c, scale), GPT(c).double()
        model.load_state_dict(from_gpt2(reference.state_dict()))
        with in_float64():
            out = reference(input_ids=tokens, labels=tokens)
        logits = model(tokens)
        loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:])
        found[f"logits × {scale}"] = apart(logits, out.logits)
        found[f"loss × {scale}"] = apart(loss, out.loss)
        loss.backward()
        out.loss.backward()
        expected = from_gpt2({name: p.grad for name, p in reference.named_parameters()})
        by_weight = [
            apart(p.grad, expected[name]) for name, p in model.named_parameters()
        ]
        found[f"gradients × {scale}"] = max(by_weight)
    return found


def gpt_error() -> float:
    return max(errors().values())


@pytest.mark.parametrize(
    "config",
    [TINY, replace(TINY, depth=1, heads=1), replace(TINY, width=24, heads=2)],
    ids=["tiny", "one block, one head", "wide heads"],
)
def test_logits_loss_and_gradients(config):
    found = errors(config)
    assert max(found.values()) < BAR, found


def test_the_cache_gives_the_logits_of_theirs():
    reference, model = theirs(TINY), GPT(TINY).double()
    model.load_state_dict(from_gpt2(reference.state_dict()))
    g = torch.Generator().manual_seed(2)
    tokens, cache = torch.randint(0, 50, (2, 12), generator=g), model.new_cache(2)
    with torch.no_grad():
        ours = [model(part, cache) for part in tokens.split([5, 1, 1, 4, 1], dim=1)]
        with in_float64():
            expected = reference(input_ids=tokens, use_cache=False).logits
    assert apart(torch.cat(ours, dim=1), expected) < BAR


def test_their_weights_come_back_as_they_were():
    reference = theirs(TINY)
    state = dict(reference.state_dict())
    again = to_gpt2(from_gpt2(state))
    assert again.keys() == state.keys() - {"lm_head.weight"}
    assert all(torch.equal(again[key], state[key]) for key in again)


def test_transformers_reads_a_file_of_ours(tmp_path):
    torch.manual_seed(0)
    model = GPT(TINY).double().eval()
    save_file(
        to_gpt2(model.state_dict()), tmp_path / "model.safetensors", {"format": "pt"}
    )
    (tmp_path / "config.json").write_text(json.dumps(gpt2_config(TINY)))
    reference = GPT2LMHeadModel.from_pretrained(tmp_path, dtype=torch.float64)
    tokens = torch.arange(12)[None]
    with torch.no_grad(), in_float64():
        expected = reference.eval()(input_ids=tokens).logits
        assert apart(model(tokens), expected) < BAR


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match=r"unknown key 'h\.0\.ln_3\.weight'"):
        from_gpt2({"transformer.h.0.ln_3.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"unknown key 'transformer\.blocks\.0\.x'"):
        to_gpt2({"transformer.blocks.0.x": torch.zeros(1)})


def test_a_head_of_its_own_is_refused():
    state = {"wte.weight": torch.ones(3, 2), "lm_head.weight": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=r"lm_head\.weight to equal wte\.weight"):
        from_gpt2(state)
    state["lm_head.weight"] = torch.ones(3, 2)
    assert [*from_gpt2(state)] == ["embed.weight"]


def test_at_first_it_knows_nothing():
    """The loss of a model with GPT-2's first weights is that of an even guess."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (8, 12))
    logits = GPT(TINY)(tokens)
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:])
    assert float(loss.detach()) == pytest.approx(math.log(50), abs=0.05)
