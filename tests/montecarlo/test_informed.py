"""Mixtures fitted to a log-density that is known: what they can be, they become."""

import math

import pytest
import torch
from problems import double, seeded

from wgflow.data.mixtures import Gaussians
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.montecarlo.informed import Weighed, divergence, informed

LAW = GaussianMixture(double([[-2.0, 0.0], [2.0, 1.0]]), 0.7, weights=[0.3, 0.7])
NORMAL = Gaussian([0.0], [[1.0]])
WIDE = Gaussian([0.0], [[9.0]])


def weighed(law, base, count, seed=0):
    """As many draws of both, of laws with ``log_prob``."""
    g = seeded(seed)
    x = torch.cat([p.sample(count, dtype=torch.float64, generator=g) for p in (law, base)])
    return Weighed(x, law.log_prob(x), base.log_prob(x))


def begun(count=2, shared=False):
    means = double([[-1.5, 0.4], [1.6, 0.9]])[:count]
    eye = torch.eye(2, dtype=torch.float64)
    covariances = eye[None] if shared else eye.expand(count, 2, 2)
    return Gaussians(torch.full((count,), 1 / count, dtype=torch.float64), means, covariances)


def test_a_form_that_has_the_law_becomes_it():
    start = begun()
    base = GaussianMixture(start.means, 1.0)
    found = informed([start], weighed(LAW, base, 200))
    assert found is not None
    torch.testing.assert_close(found.weights, LAW.weights.double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.means, LAW.means.double(), atol=1e-3, rtol=0)
    spread = 0.49 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    torch.testing.assert_close(found.covariances, spread, atol=1e-3, rtol=0)


def test_the_divergence_has_no_noise_where_both_are_the_same():
    points = weighed(NORMAL, WIDE, 50)
    assert float(divergence(points.log_p, points)) == pytest.approx(0, abs=1e-12)


def test_the_divergence_is_that_of_kullback_and_leibler():
    moved = Gaussian([0.5], [[1.0]])
    found = []
    for seed in range(40):
        points = weighed(NORMAL, WIDE, 500, seed)
        found.append(float(divergence(moved.log_prob(points.x), points)))
    z = (double(found).mean() - 0.125) / (double(found).std() / math.sqrt(40))
    assert abs(float(z)) < 4
    assert min(found) > 0


def test_mass_where_the_law_has_none_is_found_by_the_base():
    """Of ``q = .9 π + .1 N(8, .1²)`` the divergence is ``-log .9``; by points of π alone .0054."""
    far = Gaussian([8.0], [[0.01]])
    base = GaussianMixture([[0.0], [8.0]], covariances=[[[1.0]], [[0.01]]])
    points = weighed(NORMAL, base, 20_000)
    both = torch.stack([NORMAL.log_prob(points.x), far.log_prob(points.x)])
    log_q = (both + double([[0.9], [0.1]]).log()).logsumexp(0)
    assert float(divergence(log_q, points)) == pytest.approx(-math.log(0.9), rel=0.05)


def test_infinite_energies_are_numbers():
    points = weighed(NORMAL, WIDE, 100)
    log_p = points.log_p.masked_fill(points.x[:, 0] < 0, -math.inf)
    assert divergence(NORMAL.log_prob(points.x), points._replace(log_p=log_p)).isfinite()


def test_kernels_and_too_much_are_left_alone(monkeypatch):
    points = weighed(LAW, LAW, 20)
    assert informed([begun(shared=True)], points) is None
    assert informed([begun()], points._replace(x=points.x[:2])) is None  # a component per row
    monkeypatch.setattr("wgflow.montecarlo.informed.LARGEST", 159)
    assert informed([begun()], points) is None
