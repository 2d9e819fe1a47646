import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import metrics
from minilib.metrics import (
    covariance_root,
    density_coverage,
    distances,
    features,
    frechet_distance,
    inception_score,
    kernel_distance,
    nearest,
    neighbour_radii,
    precision_recall,
    rate,
)
from minilib.models.classifier import DigitClassifier


def normal(n, d, seed=0, shift=0.0, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=g, dtype=torch.float64) + shift


def degenerate():
    """Pairs of sets (real, fake) that trip a careless metric."""
    x = normal(12, 50)  # fewer rows than dimensions
    lattice = torch.cartesian_prod(*[torch.arange(4.0)] * 2).double()  # ties everywhere
    # features that never change
    constant = torch.cat([normal(12, 2), torch.full((12, 3), 7.0)], dim=1)
    return {
        "few rows": (x, normal(9, 50, seed=1)),
        "ties": (lattice, lattice[::2] + 1),
        "copies": (x, x),
        "duplicates": (x.repeat(6, 1), x[:3].repeat(8, 1)),
        "all equal": (torch.ones(10, 3).double(), torch.ones(9, 3).double()),
        "constant features": (constant, constant.flip(0) + 1e-3),
        "far from the origin": (normal(12, 4) + 1e6, normal(11, 4, seed=1) + 1e6),
        "one dimension": (normal(12, 1), normal(9, 1, seed=1)),
    }


pairs = pytest.mark.parametrize(
    ("real", "fake"), degenerate().values(), ids=list(degenerate())
)
sizes = given(
    n=st.integers(6, 30),
    m=st.integers(6, 30),
    d=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)


def reference(a, b):
    """The textbook formula, by the eigenvalues of Σ_a Σ_b (real and ≥ 0 for
    covariances).
    """
    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = (
        np.atleast_2d(np.cov(a, rowvar=False)),
        np.atleast_2d(np.cov(b, rowvar=False)),
    )
    eigenvalues = scipy.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)
    mean_term = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return (
        mean_term + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).sum()
    )


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 40),
    m=st.integers(2, 40),
    d=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_frechet_distance_agrees_with_the_textbook_formula(n, m, d, seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, d, generator=g, dtype=torch.float64)
    b = 3 * torch.randn(m, d, generator=g, dtype=torch.float64) + 1
    # the reference takes square roots of eigenvalues that rounding left near 1e-16, so
    # it is the coarser of the two
    assert frechet_distance(a, b) == pytest.approx(reference(a, b), rel=1e-6, abs=1e-6)


def test_frechet_distance_of_known_gaussians():
    """In one dimension it is (μ_a − μ_b)² + (σ_a − σ_b)²."""
    a = torch.tensor([[-1.0], [1.0]]) * 3  # mean 0, variance 18
    b = torch.tensor([[4.0], [6.0]])  # mean 5, variance 2
    assert frechet_distance(a, b) == pytest.approx(
        25 + (18**0.5 - 2**0.5) ** 2, rel=1e-12
    )


def test_frechet_distance_survives_degenerate_features():
    # fewer samples than dimensions
    x = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    constant = torch.ones(10, 4)
    assert frechet_distance(constant, constant + 2) == pytest.approx(16, rel=1e-12)
    duplicates = x.repeat(3, 1)
    assert frechet_distance(duplicates, duplicates.flip(0)) == pytest.approx(
        0, abs=1e-9
    )


@given(n=st.integers(2, 20), d=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_covariance_root_squares_to_the_covariance(n, d):
    x = torch.randn(
        n, d, generator=torch.Generator().manual_seed(n * 100 + d), dtype=torch.float64
    )
    root = covariance_root(x)
    assert torch.allclose(
        root.T @ root,
        torch.from_numpy(np.atleast_2d(np.cov(x.numpy(), rowvar=False))),
        atol=1e-12,
    )


@pairs
def test_frechet_distance_of_degenerate_sets(real, fake):
    # the reference itself loses its digits far from the origin
    real, fake = real - real.mean(), fake - real.mean()
    scale = float(real.square().sum(dim=1).mean() + fake.square().sum(dim=1).mean())
    assert frechet_distance(real, fake) == pytest.approx(
        reference(real, fake), rel=1e-6, abs=1e-6 * scale
    )


def test_frechet_distance_of_gaussians_with_chosen_moments():
    """Samples made to have exactly these means and commuting covariances: |μ_a − μ_b|²
    + Σ (σ_a − σ_b)².
    """
    white = covariance_whitened(normal(200, 5))
    sigma_a, sigma_b = (
        torch.tensor([1.0, 2, 3, 0.5, 0]).double(),
        torch.tensor([2.0, 2, 1, 0, 0]).double(),
    )
    rotation = torch.linalg.qr(normal(5, 5, seed=1)).Q
    a, b = white * sigma_a @ rotation.T, white.flip(0) * sigma_b @ rotation.T + 3
    expected = 9 * 5 + float((sigma_a - sigma_b).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def covariance_whitened(x):
    """x with mean 0 and covariance I, exactly."""
    x = x - x.mean(dim=0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T


def mmd_by_hand(a, b):
    """Every pair in a Python loop, added up exactly."""

    def kernel(x, y):
        return (math.fsum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean(values):
        return math.fsum(values) / len(values)

    a, b = a.tolist(), b.tolist()
    within_a = mean(
        [kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    )
    within_b = mean(
        [kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    )
    return within_a + within_b - 2 * mean([kernel(x, y) for x in a for y in b])


@settings(max_examples=15)
@sizes
def test_kernel_distance_agrees_with_a_double_loop(n, m, d, seed):
    a, b = normal(n, d, seed), normal(m, d, seed + 1, shift=1, scale=2)
    assert kernel_distance(a, b) == pytest.approx(mmd_by_hand(a, b), rel=1e-9, abs=1e-9)


@pairs
def test_kernel_distance_of_degenerate_sets(real, fake):
    # what the difference is a difference of
    largest = float((real.square().mean(dim=1).max() + 1) ** 3)
    assert kernel_distance(real, fake) == pytest.approx(
        mmd_by_hand(real, fake), abs=1e-10 * largest
    )


def test_kernel_distance_is_unbiased():
    """Over many draws of five points its mean is the exact MMD², which is a sum of
    moments for this kernel.
    """
    draws = [
        kernel_distance(normal(5, 1, 2 * s), normal(5, 1, 2 * s + 1, shift=0.5))
        for s in range(2000)
    ]
    # E y^j − E x^j for N(0.5, 1) and N(0, 1)
    moments = np.array([0, 0.5, 1.25, 1.625]) - np.array([0, 0, 1, 0])
    # (xy + 1)³ = 1 + 3 xy + 3 x²y² + x³y³
    exact = (np.array([1, 3, 3, 1]) * moments**2).sum()
    error = np.std(draws) / len(draws) ** 0.5
    assert abs(np.mean(draws) - exact) < 3 * error < 0.5 * exact


def test_inception_score_of_known_cases():
    k = 10
    # never sure
    assert inception_score(torch.full((50, k), 1 / k)) == pytest.approx(1, abs=1e-6)
    one_hot = torch.eye(k, dtype=torch.float64)
    # sure, and all classes
    assert inception_score(one_hot.repeat(5, 1)) == pytest.approx(k, rel=1e-12)
    # sure, always of one class
    assert inception_score(one_hot[:1].repeat(5, 1)) == pytest.approx(1, rel=1e-12)
    assert inception_score(one_hot[:3].repeat(5, 1)) == pytest.approx(3, rel=1e-12)
    p, q = torch.tensor([0.9, 0.1]).double(), torch.tensor([0.2, 0.8]).double()
    mean = (p + q) / 2
    jensen_shannon = 0.5 * float((p * (p / mean).log() + q * (q / mean).log()).sum())
    assert inception_score(torch.stack([p, q])) == pytest.approx(
        math.exp(jensen_shannon), rel=1e-12
    )


@given(n=st.integers(1, 40), k=st.integers(1, 12), seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_inception_score_agrees_with_scipy_and_stays_between_1_and_k(n, k, seed):
    p = (3 * normal(n, k, seed)).softmax(dim=1)
    entropy = scipy.stats.entropy
    expected = math.exp(np.mean([entropy(row, p.numpy().mean(0)) for row in p.numpy()]))
    assert inception_score(p) == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-12 <= inception_score(p) <= k + 1e-9


def apart(x, y):
    return math.sqrt(math.fsum((p - q) ** 2 for p, q in zip(x, y, strict=True)))


def radii_by_hand(x, k):
    return [
        sorted(apart(p, q) for j, q in enumerate(x) if j != i)[k - 1]
        for i, p in enumerate(x)
    ]


def manifold_by_hand(real, fake, k_pr, k_dc):
    """Precision, recall, density and coverage from every pair in Python loops."""
    real, fake = real.tolist(), fake.tolist()
    r, f, wide = (
        radii_by_hand(real, k_pr),
        radii_by_hand(fake, k_pr),
        radii_by_hand(real, k_dc),
    )
    d = [[apart(x, y) for y in fake] for x in real]
    n, m = range(len(real)), range(len(fake))
    precision = sum(any(d[i][j] <= r[i] for i in n) for j in m) / len(fake)
    recall = sum(any(d[i][j] <= f[j] for j in m) for i in n) / len(real)
    density = sum(d[i][j] < wide[i] for i in n for j in m) / (k_dc * len(fake))
    coverage = sum(any(d[i][j] < wide[i] for j in m) for i in n) / len(real)
    return precision, recall, density, coverage


@settings(max_examples=30)
@sizes
def test_manifold_metrics_agree_with_brute_force(n, m, d, seed):
    real, fake = normal(n, d, seed), normal(m, d, seed + 1, shift=0.3)
    ours = (*precision_recall(real, fake, k=3), *density_coverage(real, fake, k=5))
    assert ours == pytest.approx(manifold_by_hand(real, fake, 3, 5), abs=1e-12)


@pairs
def test_manifold_metrics_of_degenerate_sets(real, fake):
    ours = (*precision_recall(real, fake, k=3), *density_coverage(real, fake, k=5))
    assert ours == pytest.approx(manifold_by_hand(real, fake, 3, 5), abs=1e-12)


@pairs
def test_neighbours_of_degenerate_sets(real, fake):
    distance, index = nearest(fake, real)
    by_hand = [min(apart(x, y) for y in real.tolist()) for x in fake.tolist()]
    assert distance.tolist() == pytest.approx(by_hand, rel=1e-12, abs=0)
    assert torch.equal(distances(fake, real).gather(1, index[:, None])[:, 0], distance)
    assert neighbour_radii(real, 2).tolist() == pytest.approx(
        radii_by_hand(real.tolist(), 2), rel=1e-12, abs=0
    )


def test_a_picture_is_not_its_own_neighbour_but_its_copy_is():
    x = torch.tensor([[0.0], [1.0], [3.0], [3.0]])
    assert neighbour_radii(x, 1).tolist() == [1, 1, 0, 0]
    assert neighbour_radii(x, 3).tolist() == [3, 2, 3, 3]


def test_the_border_belongs_to_the_balls_of_precision_and_recall_only():
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    # two at distance 1 from a real one, of radius 1
    on_the_border = torch.tensor([[-1.0], [12.0], [30.0], [31.0]])
    assert precision_recall(real, on_the_border, k=1)[0] == 0.5
    assert density_coverage(real, on_the_border, k=1) == (0, 0)
    inside = on_the_border + torch.tensor([[0.5], [-0.5], [0], [0]])
    assert density_coverage(real, inside, k=1) == (0.5, 0.5)


def test_equal_points_are_at_distance_0_and_copies_have_density_1():
    # far from the origin, where |a|² + |b|² − 2ab is noise
    x = (normal(300, 128) * 1e3 + 1e5).float()
    distance, index = nearest(x, x)
    assert distance.eq(0).all()
    assert index.tolist() == list(range(300))
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x) == (1, 1)


def all_numbers(real, fake):
    return [
        frechet_distance(real, fake),
        kernel_distance(real, fake),
        *precision_recall(real, fake),
        *density_coverage(real, fake),
    ]


def test_order_and_rotation_change_nothing():
    real, fake = normal(80, 6), normal(70, 6, seed=1, shift=0.4)
    whole = all_numbers(real, fake)
    g = torch.Generator().manual_seed(2)
    shuffled = [x[torch.randperm(len(x), generator=g)] for x in (real, fake)]
    assert all_numbers(*shuffled) == pytest.approx(whole, rel=1e-10)
    rotation = torch.linalg.qr(normal(6, 6, seed=3)).Q
    assert all_numbers(real @ rotation, fake @ rotation) == pytest.approx(
        whole, rel=1e-10
    )


def test_distances_are_symmetric_and_precision_is_recall_the_other_way_round():
    real, fake = normal(60, 4), normal(50, 4, seed=1, shift=0.5)
    assert frechet_distance(real, fake) == pytest.approx(
        frechet_distance(fake, real), rel=1e-10
    )
    assert kernel_distance(real, fake) == pytest.approx(
        kernel_distance(fake, real), rel=1e-10
    )
    assert precision_recall(real, fake) == precision_recall(fake, real)[::-1]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_are_bounded_and_do_not_change_the_numbers(monkeypatch, block):
    real, fake = normal(90, 5), normal(70, 5, seed=1)
    whole = [*all_numbers(real, fake), *nearest(fake, real)[0].tolist()]
    seen = []

    def recorded(function):
        def wrapper(a, b):
            table = function(a, b)
            seen.append(table.numel())
            return table

        return wrapper

    monkeypatch.setattr(metrics, "BLOCK", block)
    for name in ("distances", "cubic_kernel"):
        monkeypatch.setattr(metrics, name, recorded(getattr(metrics, name)))
    assert [
        *all_numbers(real, fake),
        *nearest(fake, real)[0].tolist(),
    ] == pytest.approx(whole, rel=1e-12)
    assert max(seen) <= max(block, 90)  # one row at least
    assert len(seen) > 2 * 90 * 90 / max(block, 90)  # it did go block by block


def test_fifty_thousand_against_fifty_thousand_stays_small():
    rows = metrics.in_rows(torch.zeros(50_000, 1), 50_000)
    assert max(len(r) for r in rows) * 50_000 <= metrics.BLOCK <= 0.001 * 50_000**2
    assert sum(len(r) for r in rows) == 50_000


def test_the_memory_of_a_block_is_used_again():
    """In a process of its own, where the peak is that of these metrics: far below one
    table of all pairs.
    """
    pytest.importorskip("resource")
    code = """
import torch
from minilib.metrics import density_coverage, kernel_distance, nearest, precision_recall
from minilib.runtime import peak_memory
torch.set_num_threads(1)
x = torch.randn(6000, 2, generator=torch.Generator().manual_seed(0))
for metric in (precision_recall, density_coverage, nearest, kernel_distance):
    metric(x[:100], x[:100])
before = peak_memory()
for metric in (precision_recall, density_coverage, nearest, kernel_distance):
    metric(x, x)
print(peak_memory() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) * 1e9 < 0.4 * 8 * 6000**2


@pytest.mark.parametrize(
    "metric",
    [frechet_distance, kernel_distance, precision_recall, density_coverage, nearest],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(9, 3), torch.zeros(9, 2), "all of one width"),
        (torch.zeros(9), torch.zeros(9, 1), "expected features"),
        (torch.zeros(9, 0), torch.zeros(9, 0), "D ≥ 1"),
        (torch.zeros(0, 3), torch.zeros(9, 3), "N ≥ "),
        (torch.zeros(9, 3), torch.zeros(0, 3), "N ≥ "),
        (torch.zeros(9, 2), torch.full((9, 2), float("inf")), "not finite"),
        (torch.full((9, 2), float("nan")), torch.zeros(9, 2), "not finite"),
    ],
)
def test_bad_features_are_refused(metric, a, b, message):
    with pytest.raises(ValueError, match=message):
        metric(a, b)


@pytest.mark.parametrize(
    "metric", [frechet_distance, kernel_distance], ids=lambda f: f.__name__
)
def test_one_row_has_no_spread(metric):
    with pytest.raises(ValueError, match="N ≥ 2"):
        metric(torch.zeros(1, 3), torch.zeros(4, 3))


def test_too_few_for_so_many_neighbours_is_refused():
    x = normal(4, 2)
    assert precision_recall(x, x, k=3) == (1, 1)
    with pytest.raises(ValueError, match="N ≥ 5"):
        precision_recall(x, x, k=4)
    with pytest.raises(ValueError, match="N ≥ 6"):
        density_coverage(x, x)
    with pytest.raises(ValueError, match="N ≥ 4"):
        precision_recall(x, x[:3])
    with pytest.raises(ValueError, match="k ≥ 1"):
        neighbour_radii(x, 0)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (torch.tensor([[2.0, -1.0]]), "probabilities"),
        (torch.tensor([[0.5, 0.4]]), "probabilities"),
        (torch.zeros(0, 10), "N ≥ 1"),
        (torch.full((2, 2), float("nan")), "not finite"),
        (torch.ones(3), "expected features"),
    ],
)
def test_bad_probabilities_are_refused(p, message):
    with pytest.raises(ValueError, match=message):
        inception_score(p)


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


# ---------- pictures, with a classifier ----------


def test_a_rating_is_made_of_the_metrics_of_its_features():
    torch.manual_seed(0)
    classifier = DigitClassifier().eval()
    real, drawn = (
        torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(n)) * 2 - 1
        for n in (40, 30)
    )
    a, b = features(classifier, real), features(classifier, drawn)
    precision, recall = precision_recall(a, b)
    with torch.no_grad():
        probabilities = classifier(drawn).softmax(dim=1)
    assert rate(classifier, real, drawn) == pytest.approx(
        {
            "fd": frechet_distance(a, b),
            "kid": kernel_distance(a, b),
            "precision": precision,
            "recall": recall,
            "classifier_score": inception_score(probabilities),
        },
        rel=1e-6,
    )
