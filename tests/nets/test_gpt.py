import pytest
import torch

from minilib.nets.gpt import GPT, CausalTransformer, GPTConfig, require_tokens

TINY = GPTConfig(vocabulary=11, context=9, width=16, depth=3, heads=2)


def tiny(**sizes):
    """A GPT in float64 with weights large enough that every token tells."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**{**vars(TINY), **sizes})).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def some_tokens(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, TINY.vocabulary, shape, generator=g)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_logits_of_the_token_after_each(length):
    assert tiny()(some_tokens(2, length)).shape == (2, length, 11)


@pytest.mark.parametrize("place", range(9))
def test_a_token_changes_logits_from_its_place_on_and_none_before(place):
    model, tokens = tiny(), some_tokens(2, 9)
    changed = tokens.clone()
    changed[:, place] = (changed[:, place] + 1) % 11
    with torch.no_grad():
        gap = (model(tokens) - model(changed)).abs().amax(dim=(0, 2))  # (L,)
    assert (gap[:place] == 0).all()
    assert (gap[place:] > 1e-3).all()


def test_sequences_of_a_batch_do_not_see_each_other():
    model, tokens = tiny(), some_tokens(3, 7)
    with torch.no_grad():
        assert torch.allclose(model(tokens)[1:2], model(tokens[1:2]), atol=1e-12)


def test_the_same_token_at_another_place_is_not_the_same():
    logits = tiny()(torch.full((1, 9), 4)).detach()[0]
    assert (logits[1:] - logits[:-1]).abs().amax(dim=1).min() > 1e-3


def test_it_starts_with_gpt2s_weights():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocabulary=300, width=128, depth=8))
    block = model.transformer.blocks[3]
    for weight in (model.embed.weight, model.position, block.attention.qkv.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    for added in (block.attention.out.weight, block.mlp[2].weight):
        assert float(added.detach().std()) == pytest.approx(0.02 / 4, rel=0.03)
    assert not block.attention.qkv.bias.any()
    assert (block.norm1.weight == 1).all()


# ---------- masks ----------


def test_masks_take_turns_over_the_layers():
    torch.manual_seed(0)
    itself, all_before = torch.eye(6, dtype=torch.bool), torch.ones(6, 6).bool()
    h = torch.randn(1, 6, 8).double().requires_grad_()

    def seen(depth):
        """Which vectors the last one depends on."""
        masks = torch.stack([itself, all_before])
        model = CausalTransformer(6, 8, depth, 2, masks).double()
        (slope,) = torch.autograd.grad(model(h)[0, -1].square().sum(), h)
        return (slope[0] != 0).any(dim=1).tolist()

    assert seen(1) == [False] * 5 + [True]
    assert seen(2) == [True] * 6


def test_a_mask_never_opens_the_future():
    model = CausalTransformer(4, 8, 1, 2, torch.ones(1, 4, 4, dtype=torch.bool))
    assert torch.equal(model.masks[0], torch.ones(4, 4).tril().bool())


def test_masks_of_another_size_are_refused():
    with pytest.raises(
        ValueError, match=r"masks of shape \(1, 4, 4\), got \(1, 3, 4\)"
    ):
        CausalTransformer(4, 8, 1, 2, torch.ones(1, 3, 4, dtype=torch.bool))


def test_masks_are_no_weights():
    assert not [name for name in tiny().state_dict() if "mask" in name]


# ---------- the cache ----------


@pytest.mark.parametrize("steps", [[1] * 9, [4, 1, 1, 3], [9], [8, 1]])
def test_with_a_cache_the_logits_are_the_same(steps):
    model, tokens = tiny(), some_tokens(3, 9)
    with torch.no_grad():
        whole, cache = model(tokens), model.new_cache(3)
        parts = [model(part, cache) for part in tokens.split(steps, dim=1)]
    assert cache.length == 9
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-10 * whole.abs().max()


def test_the_cache_goes_by_the_masks_of_each_layer():
    torch.manual_seed(0)
    model = CausalTransformer(7, 16, 4, 2, torch.rand(3, 7, 7) < 0.6).double()
    model.masks |= torch.eye(7, dtype=torch.bool)
    h = torch.randn(2, 7, 16).double()
    with torch.no_grad():
        whole, cache = model(h), model.new_cache(2)
        parts = [model(part, cache) for part in h.split([3, 1, 2, 1], dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-12)


def test_a_full_cache_takes_no_more():
    model, cache = tiny(), tiny().new_cache(1)
    with torch.no_grad():
        model(some_tokens(1, 7), cache)
        with pytest.raises(
            ValueError,
            match="1 token or more, and 9 at most with the 7 in the cache, got 3",
        ):
            model(some_tokens(1, 3), cache)
        assert cache.length == 7
        assert model(some_tokens(1, 2), cache).shape == (1, 2, 11)


def test_a_cache_of_another_batch_model_or_type_is_refused():
    model, tokens = tiny(), some_tokens(3, 2)
    others = {
        "batch": model.new_cache(2),
        "depth": tiny(depth=2).new_cache(3),
        "context": tiny(context=10).new_cache(3),
        "float32": GPT(TINY).new_cache(3),
    }
    for cache in others.values():
        with (
            torch.no_grad(),
            pytest.raises(ValueError, match=r"make one with new_cache\(3\)"),
        ):
            model(tokens, cache)
        assert cache.length == 0


def test_a_cache_wants_no_gradients():
    model = tiny()
    with pytest.raises(
        ValueError, match=r"no gradients with a cache: use torch\.no_grad"
    ):
        model(some_tokens(1, 2), model.new_cache(1))


# ---------- what is refused ----------


@pytest.mark.parametrize("length", [0, 10])
def test_a_text_without_tokens_or_too_long_is_refused(length):
    with pytest.raises(
        ValueError, match=f"9 at most with the 0 in the cache, got {length}"
    ):
        tiny()(some_tokens(1, length))


@pytest.mark.parametrize("wrong", [-1, 11])
def test_tokens_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"tokens from 0 to 10, got .*{wrong}"):
        tiny()(torch.tensor([[0, wrong, 10]]).sort().values)


@pytest.mark.parametrize(
    ("tokens", "got"),
    [
        (torch.zeros(3, dtype=torch.int64), r"torch\.int64 of shape \(3,\)"),
        (torch.zeros(1, 3), r"torch\.float32 of shape \(1, 3\)"),
        (torch.zeros(1, 3, dtype=torch.int32), r"torch\.int32 of shape \(1, 3\)"),
    ],
)
def test_tokens_of_another_shape_or_type_are_refused(tokens, got):
    with pytest.raises(ValueError, match=rf"shape \(B, L\) in int64, got {got}"):
        require_tokens("tokens", tokens, 5)


def test_sizes_that_make_no_transformer_are_refused():
    with pytest.raises(ValueError, match="depth to be a whole number from 1 up, got 0"):
        GPTConfig(vocabulary=5, depth=0)
    with pytest.raises(
        ValueError, match="a dim that 3 heads can share equally, got 16"
    ):
        GPT(GPTConfig(vocabulary=5, width=16, heads=3))
