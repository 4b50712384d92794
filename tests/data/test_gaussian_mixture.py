"""Mixtures fitted to points: the parts that there are, moments, points that are not finite."""

import torch
from problems import F64, double, seeded

from wgflow.data.gaussian_mixture import fitted, moments
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
