"""The flow along matched paths: Euler's steps, and what they fill in, denoise and reconstruct."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian
from wgflow.flows import MatchedPath, StraightPaths
from wgflow.flows.base import TIMES
from wgflow.flows.path import DENOISING_STEPS, SETTLE

PLANE = Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))


def test_a_bridge_ends_where_the_path_of_the_known_does(monkeypatch):
    """``V = |x_h - x_k|²/2``: the hidden follows the known, which moves from noise to x.

    ``dv/dt = k(t) - v`` with ``k = k_0 + t(x - k_0)`` until t = 1: ``v(1) = k(1) - (x - k_0) +
    (v_0 - k_0 + x - k_0)/e``, and then ``v(2) = x + (v(1) - x)/e``.
    """
    temperature, x, k0, v0 = 0.1, 3.0, 0.5, -1.0

    def energy(x):
        return (x[:, 1] - x[:, 0]) ** 2 / (2 * temperature)

    monkeypatch.setattr(MatchedPath, "noise", lambda *arguments: double([[k0, v0]]))
    flow = MatchedPath(energy, StraightPaths(temperature))
    y = flow.bridge(double([[x, 7.0]]), torch.tensor([False, True]), steps=4000)
    speed = x - k0
    at_one = x - speed + (v0 - k0 + speed) / math.e
    assert y[0, 0] == x
    assert float(y[0, 1]) == pytest.approx(x + (at_one - x) / math.e, abs=2e-3)


def test_denoising_follows_the_rest_of_a_path():
    """``V = |x|²/2``: from ``t y`` Euler steps shrink by ``(1-h)^n``, with ``t = s/(s+σ)``."""
    temperature = 0.05

    def energy(x):
        return x.square().sum(1) / (2 * temperature)

    y = double([[1.0, -2.0]])
    x = MatchedPath(energy, StraightPaths(temperature, noise=1.5)).denoise(y, double(0.5))
    t = 1.5 / 2.0
    h = (1 - t + SETTLE) / DENOISING_STEPS
    torch.testing.assert_close(x, t * y * (1 - h) ** DENOISING_STEPS)


def test_denoising_needs_noise():
    with pytest.raises(ValueError, match="`sigma` must be > 0 and finite: got 0"):
        MatchedPath(PLANE, StraightPaths(1.0)).denoise(torch.zeros(1, 2, dtype=F64), double(0.0))


def test_reconstruction_errors_are_where_paths_end():
    """All paths to ``V = |x - c|²/2`` of temperature ε end at c but for ``(1 - h)^steps``.

    From ``(1-t)sξ + tx`` ten Euler steps of ``2(1-t)/10`` leave ``q = (1 - (1-t)/5)^10`` of the
    way: the error is the mean over noise of ``|(1-q)(c-x) + q(1-t)(sξ - x)|²``.
    """
    c, epsilon, s, d = double([2.0, -1.0]), 0.5, 3.0, 2
    x = double([[2.0, 1.0]])

    def energy(x):
        return ((x - c) ** 2).sum(1) / (2 * epsilon)

    n = 20_000
    flow = MatchedPath(energy, StraightPaths(epsilon, noise=s))
    found = flow.reconstruction_error(x.expand(n, d), generator=seeded(0))
    assert found.shape == (n, len(TIMES))
    for k, t in enumerate(TIMES):
        q = (1 - (1 - t) / 5) ** 10
        mean = (1 - q) * (c - x[0]) - q * (1 - t) * x[0]
        expected = float((mean**2).sum()) + d * (q * (1 - t) * s) ** 2
        errors = found[:, k]
        assert float(errors.mean()) == pytest.approx(
            expected, abs=4 * float(errors.std()) / math.sqrt(n)
        )
