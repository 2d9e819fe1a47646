import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.classifier import DigitClassifier
from minilib.metrics import covariance_root, features, frechet_distance


def reference(a, b):
    """The textbook formula, by the eigenvalues of Σ_a Σ_b (real and ≥ 0 for covariances)."""
    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    eigenvalues = scipy.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)
    mean_term = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return mean_term + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).sum()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_frechet_distance_agrees_with_the_textbook_formula(n, m, d, seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, d, generator=g, dtype=torch.float64)
    b = 3 * torch.randn(m, d, generator=g, dtype=torch.float64) + 1
    # the reference takes square roots of eigenvalues that rounding left near 1e-16, so it is the coarser of the two
    assert frechet_distance(a, b) == pytest.approx(reference(a, b), rel=1e-6, abs=1e-6)


def test_frechet_distance_of_known_gaussians():
    """In one dimension it is (μ_a − μ_b)² + (σ_a − σ_b)²."""
    a = torch.tensor([[-1.0], [1.0]]) * 3  # mean 0, variance 18
    b = torch.tensor([[4.0], [6.0]])  # mean 5, variance 2
    assert frechet_distance(a, b) == pytest.approx(25 + (18**0.5 - 2**0.5) ** 2, rel=1e-12)


def test_frechet_distance_survives_degenerate_features():
    x = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))  # fewer samples than dimensions
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    constant = torch.ones(10, 4)
    assert frechet_distance(constant, constant + 2) == pytest.approx(16, rel=1e-12)
    duplicates = x.repeat(3, 1)
    assert frechet_distance(duplicates, duplicates.flip(0)) == pytest.approx(0, abs=1e-9)


@given(n=st.integers(2, 20), d=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_covariance_root_squares_to_the_covariance(n, d):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n * 100 + d), dtype=torch.float64)
    root = covariance_root(x)
    assert torch.allclose(root.T @ root, torch.from_numpy(np.atleast_2d(np.cov(x.numpy(), rowvar=False))), atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2), "one width|expected features"),
        (torch.zeros(1, 3), torch.zeros(4, 3), "N, M ≥ 2"),
        (torch.zeros(4), torch.zeros(4, 1), "expected features"),
        (torch.full((4, 2), float("nan")), torch.zeros(4, 2), "not finite"),
    ],
)
def test_bad_features_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_features_are_the_networks_own():
    torch.manual_seed(0)
    network, x = DigitClassifier().eval(), torch.rand(7, 1, 28, 28) * 2 - 1
    out = features(network, x)
    assert out.shape == (7, 128)
    assert torch.allclose(out, network.features(x), atol=1e-6)


@pytest.mark.parametrize("scale", [127.5, float("nan")])
def test_features_refuse_pictures_outside_the_range(scale):
    with pytest.raises(ValueError, match=r"expected pictures in \[-1, 1\]"):
        features(DigitClassifier(), torch.ones(2, 1, 28, 28) * scale)
