import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.models.mae import (
    MAEConfig,
    MaskedAutoencoder,
    choose_patches,
    hidden_patches,
    mae_loss,
    patchify,
    take,
    unpatchify,
)
from minilib.train import Draw

TINY = MAEConfig(
    dim=16, depth=1, decoder_dim=8, decoder_depth=1, heads=2, patch=4, size=12
)


def tiny(seed: int = 0) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    return MaskedAutoencoder(TINY).double()


def pictures(batch: int, *shape: int) -> torch.Tensor:
    return (
        torch.rand(
            batch,
            *shape,
            generator=torch.Generator().manual_seed(9),
            dtype=torch.float64,
        )
        * 2
        - 1
    )


def draws(batch: int, seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), slice(None), batch)


# ---------- patches ----------


@settings(max_examples=30)
@given(
    patch=st.integers(1, 5),
    rows=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    batch=st.integers(1, 3),
)
def test_unpatchify_undoes_patchify(patch, rows, channels, batch):
    x = pictures(batch, channels, patch * rows, patch * rows)
    patches = patchify(x, patch)
    assert patches.shape == (batch, rows**2, channels * patch**2)
    assert torch.equal(unpatchify(patches, patch, patch * rows), x)


def test_patches_are_the_squares_row_by_row():
    x = pictures(2, 3, 8, 12)
    patches = patchify(x, 4)
    for i in range(2):
        for j in range(3):
            square = x[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            assert torch.equal(patches[:, 3 * i + j], square.flatten(1))


@pytest.mark.parametrize("shape", [(1, 1, 27, 28), (1, 1, 28, 30)])
def test_pictures_that_do_not_divide_are_refused(shape):
    with pytest.raises(ValueError, match="height and width 4 divides"):
        patchify(torch.zeros(shape), 4)


@settings(max_examples=30)
@given(
    total=st.integers(2, 60),
    batch=st.integers(1, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_as_many_patches_stay_as_were_asked_for_and_the_rest_is_hidden(
    total, batch, seed, data
):
    keep = data.draw(st.integers(1, total - 1))
    kept = choose_patches(
        torch.rand(batch, total, generator=torch.Generator().manual_seed(seed)), keep
    )
    hidden = hidden_patches(kept, total)
    assert kept.shape == (batch, keep)
    assert all(len(set(row.tolist())) == keep for row in kept)
    assert (hidden.sum(dim=1) == total - keep).all()
    assert (hidden.gather(1, kept) == 0).all()


def test_every_patch_stays_equally_often():
    kept = choose_patches(
        torch.rand(20_000, 9, generator=torch.Generator().manual_seed(0)), 3
    )
    often = torch.bincount(kept.flatten(), minlength=9) / 20_000
    assert torch.allclose(often, torch.full((9,), 1 / 3), atol=0.02)


@pytest.mark.parametrize("keep", [0, 9, 10])
def test_some_patches_must_stay_and_some_must_go(keep):
    with pytest.raises(ValueError, match=f"between 1 and 8 of 9 patches, got {keep}"):
        choose_patches(torch.rand(2, 9), keep)


def test_take_picks_each_samples_own_places():
    tokens = torch.arange(24.0).view(2, 4, 3)
    taken = take(tokens, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([tokens[0, [3, 0]], tokens[1, [1, 1]]]))


# ---------- the model ----------


@settings(max_examples=8)
@given(
    channels=st.sampled_from([1, 3]),
    patch=st.sampled_from([2, 4]),
    keep=st.integers(1, 8),
)
def test_shapes(channels, patch, keep):
    config = MAEConfig(
        dim=16,
        depth=1,
        decoder_dim=8,
        heads=2,
        patch=patch,
        channels=channels,
        size=8 * patch // 2,
    )
    model, x = (
        MaskedAutoencoder(config),
        pictures(3, channels, config.size, config.size).float(),
    )
    kept = choose_patches(torch.rand(3, model.patches), keep)
    assert model.patches == 16
    assert model.encode(x, kept).shape == (3, keep, 16)
    assert model(x, kept).shape == (3, 16, channels * patch**2)


def test_hidden_patches_cannot_leak():
    """The gradient of the output with respect to a hidden pixel is exactly 0, to a seen
    one it is not.
    """
    model, x = tiny(), pictures(2, 1, 12, 12).requires_grad_()
    kept = torch.tensor([[0, 4, 8], [2, 3, 7]])
    model(x, kept).square().sum().backward()
    reached = patchify(x.grad, 4).abs().amin(dim=2) > 0
    touched = patchify(x.grad, 4).abs().amax(dim=2) > 0
    hidden = hidden_patches(kept, 9).bool()
    assert not touched[hidden].any()
    assert reached[~hidden].all()


def test_what_is_seen_does_not_depend_on_the_order_of_the_list():
    model, x = tiny(), pictures(1, 1, 12, 12)
    one, other = (
        model(x, torch.tensor([[0, 4, 8]])),
        model(x, torch.tensor([[8, 0, 4]])),
    )
    assert torch.allclose(one, other, atol=1e-12)


def test_places_matter():
    """The same patch at another place is another token: without positions the picture
    would be a bag of patches.
    """
    model, x = tiny(), pictures(1, 1, 12, 12)
    x[..., :4, 4:8] = x[..., :4, :4]
    here, there = (
        model.encode(x, torch.tensor([[0]])),
        model.encode(x, torch.tensor([[1]])),
    )
    assert (here - there).abs().max() > 1e-3
    guesses = model(x, torch.tensor([[0]]))[0]
    assert (guesses[4] - guesses[5]).abs().max() > 1e-3


def test_the_loss_counts_hidden_patches_only():
    model, x = tiny(), pictures(4, 1, 12, 12)
    kept = choose_patches(draws(4).uniform(9), 3)
    error = (model(x, kept) - patchify(x, 4)).square()
    by_hand = sum(
        error[b, p].sum() for b in range(4) for p in range(9) if p not in kept[b]
    ) / (4 * 6 * 16)
    assert mae_loss(model, x, draws(4), keep=3).item() == pytest.approx(
        by_hand.item(), rel=1e-9
    )


def test_the_loss_does_not_care_what_is_said_about_seen_patches():
    model, x = tiny(), pictures(4, 1, 12, 12)
    kept = choose_patches(draws(4).uniform(9), 3)
    before = mae_loss(model, x, draws(4), keep=3)
    whole = model.decode
    model.decode = lambda z, kept: (
        whole(z, kept) + 100 * (1 - hidden_patches(kept, 9))[:, :, None]
    )
    assert mae_loss(model, x, draws(4), keep=3).item() == before.item()
    assert torch.equal(kept, choose_patches(draws(4).uniform(9), 3))


def test_gradients_reach_every_parameter():
    model = tiny()
    mae_loss(model, pictures(4, 1, 12, 12), draws(4), keep=3).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()
    )


def test_the_encoder_is_cheap_because_it_never_sees_hidden_patches():
    model, x = tiny(), pictures(2, 1, 12, 12)
    lengths = []
    model.encoder[0].register_forward_pre_hook(
        lambda module, inputs: lengths.append(inputs[0].shape[1])
    )
    model.decoder[0].register_forward_pre_hook(
        lambda module, inputs: lengths.append(inputs[0].shape[1])
    )
    model(x, torch.tensor([[0, 1], [2, 3]]))
    assert lengths == [2, 9]


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 12, 12), torch.zeros(2, 3, 12, 12), torch.zeros(2, 1, 28, 28)]
)
def test_the_model_says_what_it_wants(x):
    with pytest.raises(
        ValueError, match=r"expected a floating-point x of shape \(B, 1, 12, 12\)"
    ):
        tiny()(x.double(), torch.tensor([[0], [1]]))


def test_sizes_that_make_no_masked_autoencoder_are_refused():
    with pytest.raises(ValueError, match="a patch that divides the size 28, got 5"):
        MAEConfig(patch=5)
    with pytest.raises(
        ValueError, match="expected depth to be a whole number from 1 up"
    ):
        MAEConfig(depth=0)
