"""Leading axes of points of many coordinates: those of their covariance, which is not made."""

import math

import pytest
import torch
from problems import F64, seeded

from wgflow.config import Config, Data, Training
from wgflow.data import lazy, moments
from wgflow.data.dataset import load
from wgflow.data.moments import covariance_of, leading, spectrum_of
from wgflow.energies.noise_unet import NoisyUNetSpec
from wgflow.energies.principal import Principal, knows_moments, principal_of
from wgflow.schemes import DualScoreMatching
from wgflow.training.learner import Learner

SHAPE = (3, 4, 5)


def points(count=500, seed=0):
    """Some directions have far more than the others, and there is a mean."""
    scales = torch.cat([torch.tensor([9.0, 5.0, 3.0, 2.0], dtype=F64), 0.3 * torch.ones(56)])
    turn = torch.linalg.qr(torch.randn(60, 60, dtype=F64, generator=seeded(7))).Q
    x = torch.randn(count, 60, dtype=F64, generator=seeded(seed)) * scales
    return (x @ turn.T + 1.5).reshape(-1, *SHAPE)


@pytest.mark.parametrize("flips", [False, True])
def test_they_are_those_of_the_covariance(monkeypatch, flips):
    monkeypatch.setattr(lazy, "NUMBERS", 7 * 60)
    u = points()
    found, exact = leading(u, 4, flips=flips), spectrum_of(covariance_of(u, flips=flips), 4)
    torch.testing.assert_close(found.variances, exact.variances, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(found.rest, exact.rest, rtol=1e-5, atol=0.0)
    along = (found.axes @ exact.axes.T).abs()
    torch.testing.assert_close(along, torch.eye(4, dtype=F64), rtol=0.0, atol=1e-4)
    assert found.variances[0] > 10 * found.rest


def test_of_many_points_some_are_seen(monkeypatch):
    monkeypatch.setattr(moments, "SEEN", 100)
    u = points(1000)
    found, some = leading(u, 3), leading(u[::10], 3)
    for a, b in zip(found, some, strict=True):
        torch.testing.assert_close(a, b)


def test_both_kinds_make_the_same_module():
    covariance = covariance_of(points())
    full = Principal(SHAPE, 4, covariance, None)
    few = Principal(SHAPE, 4, spectrum_of(covariance, 4), None)
    assert all(torch.equal(w, few.state_dict()[name]) for name, w in full.state_dict().items())
    trace = full.variances.sum() + 56 * full.rest
    assert float(trace) == pytest.approx(float(covariance.trace()), rel=1e-6)


def test_large_images_start_from_their_axes(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "LARGEST", 63)
    config = Config(
        data=Data("digits", smoothing=0.05, scaling="range"),
        energy=NoisyUNetSpec(widths=(8,), blocks=1, principal=5),
        scheme=DualScoreMatching(),
        training=Training(batch_size=32),
    )
    energy = Learner.build(config).energy
    principal = principal_of(energy)
    assert knows_moments(energy)
    u = load("digits", scaling="range", dtype=torch.float32).learned
    exact = spectrum_of(full(u), 5)
    torch.testing.assert_close(principal.variances, exact.variances.float(), rtol=1e-2, atol=0.0)
    assert math.isfinite(float(principal.deviations.sum()))


def full(u):
    """The covariance with its ridge, whatever the number of coordinates."""
    covariance = u[:].flatten(1).double().T.cov(correction=0)
    return covariance + 0.01 * covariance.diagonal().mean() * torch.eye(64, dtype=F64)
