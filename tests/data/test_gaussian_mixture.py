"""Mixtures fitted to points: the parts that there are, moments, points that are not finite."""

import numpy as np
import pytest
import torch
from problems import F64, double, seeded
from sklearn.mixture import GaussianMixture as Classical

from wgflow.data import gaussian_mixture
from wgflow.data.gaussian_mixture import (
    FLOOR,
    Parts,
    Prior,
    climb,
    fitted,
    log_density,
    mixture_of,
    moments,
    parts_of,
)
from wgflow.data.targets import GaussianMixture

TRUTH = GaussianMixture(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5, weights=[0.3, 0.7])


def test_as_many_parts_as_there_are():
    x = TRUTH.sample(3000, generator=seeded(0))
    found = fitted(x)
    assert len(found.means) == 2
    order = found.means[:, 0].argsort()
    assert torch.allclose(found.means[order], TRUTH.means, atol=0.06)
    assert torch.allclose(found.weights[order], TRUTH.weights, atol=0.03)


def test_incomplete_points_are_left_out():
    x = TRUTH.sample(500, generator=seeded(1))
    x[::2, 0] = torch.nan
    assert fitted(x).means.isfinite().all()
    assert len(fitted(x[1:4:2]).means) == 1  # of two points one part


def test_moments_are_those_of_many_draws():
    x = TRUTH.sample(200_000, dtype=F64, generator=seeded(2))
    mean, covariance = moments(TRUTH)
    assert torch.allclose(mean, x.mean(0), atol=0.03)
    assert torch.allclose(covariance, x.T.cov(), rtol=0.02, atol=0.02)


def rows_and_shares(n=400, d=3, size=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1), rng.dirichlet(np.ones(size), n)


@pytest.mark.parametrize("few", [0, 16])
def test_parts_are_weighted_moments(few, monkeypatch):
    monkeypatch.setattr(gaussian_mixture, "FEW", few)
    x, shares = rows_and_shares()
    counts, means, covariances = parts_of(x, shares)
    for k, a in enumerate(shares.T):
        assert counts[k] == pytest.approx(a.sum())
        np.testing.assert_allclose(means[k], np.average(x, axis=0, weights=a))
        np.testing.assert_allclose(covariances[k], np.cov(x.T, aweights=a, ddof=0), atol=1e-10)


@pytest.mark.parametrize("few", [0, 16])
def test_log_density_is_that_of_the_mixture(few, monkeypatch):
    monkeypatch.setattr(gaussian_mixture, "FEW", few)
    x, shares = rows_and_shares()
    found = mixture_of(parts_of(x, shares), Prior(7.0))
    weights, means, covariances = map(torch.from_numpy, found)
    truth = GaussianMixture(means, covariances=covariances, weights=weights)
    expected = truth.log_prob(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(log_density(found, x), expected, atol=1e-9)


def test_a_prior_counts_as_rows():
    x, shares = rows_and_shares()
    parts, floor = parts_of(x, shares), FLOOR * np.eye(3)
    share = (5 / (parts.counts + 5))[:, None, None]
    own = parts.covariances * np.eye(3)
    pooled = np.cov(x.T, ddof=0) - np.cov(parts.means.T, aweights=parts.counts, ddof=0)
    for prior, target in ((Prior(5.0), own), (Prior(5.0, pooled=True), pooled[None])):
        expected = (1 - share) * parts.covariances + share * target + floor
        np.testing.assert_allclose(mixture_of(parts, prior).covariances, expected)
    alone = mixture_of(parts, Prior(np.inf)).covariances
    np.testing.assert_allclose(alone, own + floor)


def test_without_a_prior_it_is_expectation_maximisation():
    """The same iterations as scikit-learn's, from the same parameters."""
    x, shares = rows_and_shares()
    begun = mixture_of(parts_of(x, shares), Prior())
    settings = {"weights_init": begun.weights, "means_init": begun.means}
    precisions = np.linalg.inv(begun.covariances)
    classical = Classical(4, reg_covar=FLOOR, tol=1e-3, precisions_init=precisions, **settings)
    parts, value = climb(x, parts_of(x, shares), Prior())
    assert value == pytest.approx(classical.fit(x).lower_bound_, abs=2e-3)
    assert value == pytest.approx(log_density(mixture_of(parts, Prior()), x).mean())


def test_components_without_rows_die():
    x, shares = rows_and_shares()
    shares[:, 2] *= 1e-6
    assert len(parts_of(x, shares).counts) == 3
    assert isinstance(parts_of(x[:1], np.full((1, 4), 0.25)), Parts)
