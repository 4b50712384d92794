"""Stacked density estimates: their weights, and what they find."""

import numpy as np
import pytest
import torch

from wgflow.data.mixtures import FLOOR, Gaussians, KernelFit, MixtureFit, _weights, stacked
from wgflow.data.targets import GaussianMixture
from wgflow.energies.mixture import NoisyMixture


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weights_are_the_most_likely_ones():
    """Kuhn and Tucker: ``mean_i p_k(x_i)/p(x_i)`` is 1 where w_k > 0, and at most 1 elsewhere."""
    scores = np.random.default_rng(0).normal(size=(200, 5)) + np.array([0, 0, 0.1, -4, -9])
    weights = _weights(scores, rounds=20_000)
    density = np.exp(scores)
    ratio = (density / (density @ weights)[:, None]).mean(0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(ratio[weights > 1e-3], 1, atol=1e-3)
    assert (ratio < 1 + 1e-3).all()


@pytest.mark.parametrize("fit", [lambda x: MixtureFit(x, 3, 0), lambda x: KernelFit(x, x[:50])])
def test_gaussians_are_the_density_that_was_fitted(fit):
    x = np.random.default_rng(1).normal(size=(300, 2)) * [1, 3]
    found = fit(x)
    mixture = NoisyMixture([found.gaussians(1.0)])
    level = torch.full((300,), -60.0, dtype=torch.float64)
    np.testing.assert_allclose(
        -mixture(torch.from_numpy(x), level).numpy(), found.score_samples(x), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("validated", [True, False])
def test_a_mixture_is_found_and_never_worse_than_the_gaussian(validated):
    truth = GaussianMixture([[-3.0, 0.0], [3.0, 0.0]], 0.5, weights=[0.7, 0.3])
    x = truth.sample(2000, generator=seeded(), dtype=torch.float64)
    unseen, test = x[:300] if validated else None, truth.sample(4000, generator=seeded(1))
    found = stacked(x[300:], unseen)
    assert sum(float(g.weights.sum()) for g in found) == pytest.approx(1)
    level = torch.full((len(test),), -60.0, dtype=torch.float64)
    gap = NoisyMixture(found)(test.double(), level) + truth.log_prob(test.double())
    assert float(gap.mean()) > -4 * float(gap.std()) / 63
    assert float(gap.mean()) < 0.02


def test_few_rows_still_have_a_density():
    x = torch.randn(12, 3, generator=seeded(), dtype=torch.float64)
    found = stacked(x, None)
    energy = NoisyMixture(found)(x, torch.full((12,), -60.0, dtype=torch.float64))
    assert energy.isfinite().all()


def test_constant_directions_have_a_floor():
    x = torch.randn(400, 1, generator=seeded(), dtype=torch.float64).expand(-1, 2)
    for family in stacked(x, None):
        assert isinstance(family, Gaussians)
        assert float(torch.linalg.eigvalsh(family.covariances).min()) > 0.5 * FLOOR**2
