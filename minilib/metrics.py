"""How good is a set of pictures? Distances between two sets of features, which a
feature network computes.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from minilib import runtime

BLOCK = (
    1_000_000  # so many numbers of a table of pairs exist at a time: 8 MB in float64
)


class FeatureNetwork(Protocol):
    """Anything with `features`: pictures (B, C, H, W) → (B, D)."""

    def features(self, x: Tensor) -> Tensor: ...


def features(network: FeatureNetwork, x: Tensor) -> Tensor:
    """`network.features` of pictures x (N, C, H, W) in [-1, 1], computed in blocks: (N,
    D) on the CPU.

    Raises ValueError when x leaves [-1, 1] or holds values that are not finite:
    features of such pictures mean nothing.
    """
    low, high = x.min().item(), x.max().item()
    if not (low >= -1.001 and high <= 1.001):
        raise ValueError(
            f"expected pictures in [-1, 1], got values from {low:.3g} to "
            f"{high:.3g}: rescale or clamp them first"
        )
    return runtime.in_blocks(network.features, x)


def as_features(*sets: Tensor, at_least: int = 1) -> list[Tensor]:
    """The sets of features (N, D), (M, D), … in float64 on the CPU.

    Raises ValueError unless they are finite matrices of one width, each with `at_least`
    rows.
    """
    shapes = [tuple(x.shape) for x in sets]
    if {len(shape) for shape in shapes} != {2} or len(
        {shape[1] for shape in shapes}
    ) > 1:
        raise ValueError(
            f"expected features (N, D), all of one width D, got shapes {shapes}"
        )
    if min(shape[0] for shape in shapes) < at_least or shapes[0][1] < 1:
        raise ValueError(
            f"expected features (N, D) with N ≥ {at_least} and D ≥ 1, got shapes "
            f"{shapes}"
        )
    if not all(x.isfinite().all() for x in sets):
        raise ValueError(
            "the features hold values that are not finite: look at the pictures "
            "they were computed from"
        )
    return [x.detach().cpu().double() for x in sets]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to features a (N, D) and b (M,
    D), in float64.

    |μ_a − μ_b|² + tr(Σ_a) + tr(Σ_b) − 2 tr((Σ_a Σ_b)^½), the formula of FID (Heusel et
    al., 2017, eq. 6). The last trace is the sum of the singular values of A Bᵀ, where
    Σ_a = AᵀA and Σ_b = BᵀB: right for singular Σ too. Raises ValueError when the
    features are not two finite matrices of one width, with at least two rows each.
    """
    a, b = as_features(a, b, at_least=2)
    root_a, root_b = covariance_root(a), covariance_root(b)  # (≤ D, D) each
    mean_term = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return float(mean_term + root_a.square().sum() + root_b.square().sum() - 2 * cross)


def covariance_root(x: Tensor) -> Tensor:
    """R (min(N, D), D) with RᵀR = the unbiased covariance of x (N, D)."""
    return torch.linalg.qr(x - x.mean(dim=0), mode="r").R / (len(x) - 1) ** 0.5


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased squared MMD between features a (N, D) and b (M, D) with the cubic
    kernel, from all pairs at once: KID.

    Bińkowski et al. (2018, eq. 4). Two sets from one distribution give 0 on average, so
    it is often below 0. Raises ValueError as `frechet_distance` does.
    """
    a, b = as_features(a, b, at_least=2)
    return (
        kernel_within(a) + kernel_within(b) - 2 * kernel_sum(a, b) / (len(a) * len(b))
    )


def kernel_within(x: Tensor) -> float:
    """Mean of the kernel over all pairs of two different rows of x (N, D)."""
    with_itself = (x.square().mean(dim=1) + 1) ** 3  # (N,)
    return (kernel_sum(x, x) - float(with_itself.sum())) / (len(x) * (len(x) - 1))


def kernel_sum(a: Tensor, b: Tensor) -> float:
    """Sum of the kernel over all pairs of a row of a (N, D) and a row of b (M, D)."""
    return sum(float(cubic_kernel(rows, b).sum()) for rows in in_rows(a, len(b)))


def cubic_kernel(a: Tensor, b: Tensor) -> Tensor:
    """(a·b / D + 1)³ for each row of a (N, D) with each row of b (M, D): (N, M)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def in_rows(x: Tensor, columns: int) -> tuple[Tensor, ...]:
    """The rows of x in blocks, so many that a table of a block against `columns` others
    has up to BLOCK numbers.
    """
    return x.split(max(1, BLOCK // columns))


def inception_score(probabilities: Tensor) -> float:
    """exp of the mean KL(p(y|x) ‖ p(y)) for class probabilities p(y|x) (N, K), p(y)
    being their mean: 1 to K.

    Salimans et al. (2016), over all pictures at once. Raises ValueError unless the rows
    are finite, ≥ 0, with sum 1.
    """
    (p,) = as_features(probabilities)
    if p.min() < 0 or (p.sum(dim=1) - 1).abs().max() > 1e-3:
        raise ValueError(
            "expected rows of probabilities, ≥ 0 and with sum 1: take the softmax "
            "of the logits"
        )
    mean = p.mean(dim=0)  # (K,)
    kl = (torch.special.xlogy(p, p) - torch.special.xlogy(p, mean)).sum(dim=1)  # (N,)
    return float(kl.mean().exp())


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances between the rows of a (N, D) and b (M, D): (N, M).

    From differences, coordinate by coordinate: |a|² + |b|² − 2ab is faster, but its
    rounding errors move equal points apart and break ties.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of a (N, D) the distance to the nearest row of b (M, D), and that
    row's index: (N,) and (N,).
    """
    a, b = as_features(a, b)
    distance, index = (
        torch.empty(len(a), dtype=a.dtype),
        torch.empty(len(a), dtype=torch.long),
    )
    for rows, found, at in zip(
        *(in_rows(x, len(b)) for x in (a, distance, index)), strict=True
    ):
        torch.min(distances(rows, b), dim=1, out=(found, at))
    return distance, index


def neighbour_radii(x: Tensor, k: int) -> Tensor:
    """The distance of each row of x (N, D) to its k-th nearest other row: (N,). Raises
    ValueError unless 1 ≤ k < N.
    """
    if k < 1:
        raise ValueError(f"expected k ≥ 1 neighbours, got {k}")
    (x,) = as_features(x, at_least=k + 1)
    # filled in place: kept one by one, small results fragment the memory
    radii = torch.empty(len(x), dtype=x.dtype)
    for rows, found in zip(in_rows(x, len(x)), in_rows(radii, len(x)), strict=True):
        # place 0 is the row itself
        found[:] = distances(rows, x).topk(k + 1, largest=False).values[:, k]
    return radii


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """The share of fake (M, D) in a ball around some real one (N, D), and the other way
    round: precision and recall.

    A ball reaches to its centre's k-th neighbour, border included. Kynkäänniemi et al.
    (2019, eq. 1 and 2). Raises ValueError as `neighbour_radii` does, for either set,
    and when their widths differ.
    """
    real, fake = as_features(real, fake)
    real_radii, fake_radii = neighbour_radii(real, k), neighbour_radii(fake, k)
    precise, recalled = torch.zeros(len(fake), dtype=torch.bool), 0
    for rows, radii in zip(
        in_rows(real, len(fake)), in_rows(real_radii, len(fake)), strict=True
    ):
        apart = distances(rows, fake)  # (block, M)
        precise |= (apart <= radii[:, None]).any(dim=0)
        recalled += int((apart <= fake_radii).any(dim=1).sum())
    return float(precise.double().mean()), recalled / len(real)


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """In how many balls of real (N, D) a fake (M, D) lies, per k; and the share of
    balls with a fake in them.

    A ball reaches to its centre's k-th neighbour, border excluded as in the authors'
    code: so copies of the real ones have density 1. Naeem et al. (2020, section 3).
    Raises ValueError as `neighbour_radii` does, and for other widths.
    """
    real, fake = as_features(real, fake)
    inside, covered = 0, 0
    for rows, radii in zip(
        in_rows(real, len(fake)),
        in_rows(neighbour_radii(real, k), len(fake)),
        strict=True,
    ):
        # fakes in each ball of the block
        hits = (distances(rows, fake) < radii[:, None]).sum(dim=1)
        inside, covered = inside + int(hits.sum()), covered + int((hits > 0).sum())
    return inside / (k * len(fake)), covered / len(real)


class Embeddings(Protocol):
    """Anything that lays pictures (B, C, H, W) and tokens (B, L) into one space: (B, D)
    of length 1 each.
    """

    def embed_image(self, x: Tensor) -> Tensor: ...

    def embed_text(self, tokens: Tensor) -> Tensor: ...


def clip_score(network: Embeddings, x: Tensor, tokens: Tensor) -> float:
    """2.5 times the mean cosine of each picture (N, C, H, W) with its caption (N, L), a
    negative one counting as 0.

    Hessel et al. (2021, section 3). Raises ValueError unless there is a caption for
    each picture.
    """
    if len(x) != len(tokens):
        raise ValueError(
            f"expected a caption for each of {len(x)} pictures, got {len(tokens)}"
        )
    a, b = (
        runtime.in_blocks(network.embed_image, x),
        runtime.in_blocks(network.embed_text, tokens),
    )
    return 2.5 * float((a * b).sum(dim=1).clamp(min=0).mean())


class Classifier(FeatureNetwork, Protocol):
    """A feature network that also gives logits: pictures (B, C, H, W) → (B, K)."""

    def __call__(self, x: Tensor) -> Tensor: ...


def rate(classifier: Classifier, real: Tensor, drawn: Tensor) -> dict[str, float]:
    """The numbers of the book's scoreboard for drawn pictures against real ones, both
    (N, C, H, W) in [-1, 1].

    `fd`, `kid`, `precision` and `recall` in the classifier's features;
    `classifier_score` is the Inception Score of the drawn pictures with this
    classifier. Raises ValueError as those functions do.
    """
    a, b = features(classifier, real), features(classifier, drawn)
    precision, recall = precision_recall(a, b)
    return {
        "fd": frechet_distance(a, b),
        "kid": kernel_distance(a, b),
        "precision": precision,
        "recall": recall,
        "classifier_score": inception_score(
            runtime.in_blocks(classifier, drawn).softmax(dim=1)
        ),
    }
