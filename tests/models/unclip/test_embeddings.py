import math

import pytest
import torch
from torch.nn import functional as F

from minilib.models.autoencoder import principal_components
from minilib.models.unclip.embeddings import (
    kept_variance,
    reduced,
    slerp_embeddings,
    text_difference,
)


def some(n, seed=0, dim=8):
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, dim, generator=g, dtype=torch.float64), dim=1)


def angle(a, b):
    return (a * b).sum(dim=1).clamp(-1, 1).acos()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_walk_is_even_and_stays_on_the_sphere(share):
    u, v = some(50, 0), some(50, 1)
    w = slerp_embeddings(u, v, share)
    assert torch.allclose(w.norm(dim=1), torch.ones(50, dtype=u.dtype))
    assert torch.allclose(angle(u, w), share * angle(u, v), atol=1e-6)
    assert torch.allclose(angle(w, v), (1 - share) * angle(u, v), atol=1e-6)


def test_a_quarter_of_a_right_angle():
    u, v = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    at = math.pi / 8
    assert torch.allclose(
        slerp_embeddings(u, v, 0.25), torch.tensor([[math.cos(at), math.sin(at)]])
    )


def test_each_row_may_have_a_share_of_its_own():
    u, v = some(3, 0), some(3, 1)
    found = slerp_embeddings(u, v, torch.tensor([0.0, 0.5, 1.0]))
    expected = [
        slerp_embeddings(u, v, share)[i] for i, share in enumerate((0.0, 0.5, 1.0))
    ]
    assert torch.allclose(found, torch.stack(expected))


def test_from_a_direction_to_itself_or_to_one_next_to_it():
    u = some(5).float()
    assert torch.allclose(slerp_embeddings(u, u, 0.3), u)
    near = F.normalize(u + 1e-6, dim=1)
    assert slerp_embeddings(u, near, 0.5).isfinite().all()


def test_opposite_directions_and_other_shapes_are_refused():
    u = some(2)
    with pytest.raises(ValueError, match="u and v that are not opposite"):
        slerp_embeddings(u, -u, 0.5)
    with pytest.raises(ValueError, match=r"v of shape \(2, 8\), got \(1, 8\)"):
        slerp_embeddings(u, u[:1], 0.5)


def test_a_difference_of_words_moves_towards_what_they_add():
    u, before, after = some(20, 0), some(20, 1), some(20, 2)
    towards = F.normalize(after - before, dim=1)
    moved = text_difference(u, before, after, 0.3)
    assert torch.allclose(angle(u, moved), 0.3 * angle(u, towards), atol=1e-6)
    assert ((moved * towards).sum(dim=1) > (u * towards).sum(dim=1)).all()
    assert torch.allclose(text_difference(u, before, before, 0.3), u)  # no difference
    with pytest.raises(ValueError, match=r"before of shape \(20, 8\)"):
        text_difference(u, before[:1], after, 0.3)


def test_variance_of_embeddings_in_a_plane_is_kept_by_two_components():
    g = torch.Generator().manual_seed(0)
    plane = torch.randn(2, 8, generator=g, dtype=torch.float64)
    u = torch.randn(300, 2, generator=g, dtype=torch.float64) @ plane
    kept = kept_variance(u)
    assert kept.shape == (8,)
    assert 0.5 < kept[0] < 1 - 1e-3
    assert torch.allclose(kept[1:], torch.ones(7, dtype=kept.dtype))


def test_what_is_kept_is_what_variance_says():
    u = some(300) * torch.linspace(1, 0.1, 8, dtype=torch.float64)
    mean, directions = principal_components(u, 3)
    rest = (u - mean) - (u - mean) @ directions.T @ directions
    lost = rest.square().sum() / (u - mean).square().sum()
    assert float(kept_variance(u)[2]) == pytest.approx(1 - float(lost))
    again = reduced(u, mean, directions)
    assert torch.allclose(again.norm(dim=1), torch.ones(300, dtype=u.dtype))
    assert torch.allclose(reduced(again, *principal_components(u, 8)), again)
