"""Our principal components against scikit-learn's, in float64."""

import pytest
import torch

from minilib.models.autoencoder import principal_components

decomposition = pytest.importorskip("sklearn.decomposition")


@pytest.mark.parametrize(("n", "d", "k"), [(200, 30, 5), (20, 50, 19), (60, 60, 60)])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_principal_components_match_scikit_learn(n, d, k, scale):
    g = torch.Generator().manual_seed(n + d)
    x = scale * (
        torch.randn(n, d, generator=g, dtype=torch.float64)
        @ torch.diag(1.1 ** -torch.arange(d).double())
        + 3
    )
    reference = decomposition.PCA(k, svd_solver="full").fit(x.numpy())
    mean, directions = principal_components(x, k)
    assert (
        mean - torch.from_numpy(reference.mean_)
    ).abs().max() / mean.abs().max() < 1e-12
    rebuilt = mean + (x - mean) @ directions.T @ directions
    expected = torch.from_numpy(
        reference.inverse_transform(reference.transform(x.numpy()))
    )
    assert (rebuilt - expected).abs().max() / expected.abs().max() < 1e-10
    variances = ((x - mean) @ directions.T).var(dim=0)
    assert torch.allclose(
        variances,
        torch.from_numpy(reference.explained_variance_),
        rtol=1e-9,
        atol=1e-9 * float(variances[0]),
    )
