"""Leading axes of points of many coordinates: those of their covariance, which is not made."""

import math

import pytest
import torch
from problems import F64, seeded

from wgflow.config import Config, Data, Training
from wgflow.data import lazy, moments
from wgflow.data.dataset import load
from wgflow.data.moments import (
    FARTHEST,
    NARROWEST,
    covariance_of,
    extent_of,
    leading,
    spectrum_of,
)
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


def by_the_others(u):
    """Distance of each point from the mean of all others, by their covariance."""
    kept = ~torch.eye(len(u), dtype=torch.bool)
    others = [u[k] for k in kept]
    gaps = [(x - o.mean(0), o.T.cov(correction=0)) for x, o in zip(u, others, strict=True)]
    return torch.stack([(a @ torch.linalg.solve(c, a)).sqrt() for a, c in gaps])


@pytest.mark.parametrize("count", [12, 200])
def test_the_extent_is_that_by_the_moments_of_the_others(monkeypatch, count):
    monkeypatch.setattr(lazy, "NUMBERS", 7 * 3)
    u = torch.randn(count, 3, dtype=F64, generator=seeded(1)) @ torch.randn(3, 3, dtype=F64)
    u = u - u.mean(0)
    found = extent_of(u, u.T.cov(correction=0))
    largest = by_the_others(u).topk(FARTHEST).values
    assert found.radius == pytest.approx(float(largest[0]))
    assert found.width == pytest.approx(max(NARROWEST, float(largest[0] - largest[-1])))


def test_no_point_is_beyond_the_extent_and_a_heavy_tail_may_go_on():
    u = torch.tan(math.pi * (torch.rand(1000, 2, dtype=F64, generator=seeded(2)) - 0.5))
    u = (u - u.mean(0)) / u.std(0)
    covariance = covariance_of(u)
    found = extent_of(u, covariance)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), u.T, upper=False)
    assert found.radius >= float(white.square().sum(0).max().sqrt())
    assert found.width > found.radius / 2  # one as far again costs at most two nats


def test_a_bounded_support_has_the_narrowest_margin():
    u = torch.rand(5000, 2, dtype=F64, generator=seeded(3)) - 0.5
    assert extent_of(u, covariance_of(u)).width == NARROWEST


def test_fewer_points_than_coordinates_bound_nothing():
    """By the covariance of them all every point is as far as any other, and fresh ones farther."""
    u, fresh = (torch.randn(20, 60, dtype=F64, generator=seeded(k)) for k in (4, 5))
    covariance = covariance_of(u)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), fresh.T, upper=False)
    found = extent_of(u, covariance)
    assert found.radius > float(white.square().sum(0).max().sqrt())


def test_the_extent_is_of_mirror_images_and_of_what_is_learned_with_noise():
    u = torch.randn(400, 1, 2, 2, dtype=F64, generator=seeded(6))
    u[0, 0, 0, 1] = 9.0
    covariance = torch.diag(torch.tensor([0.5, 4.0, 1.0, 1.0], dtype=F64))
    plain = extent_of(u, covariance)
    assert extent_of(u, covariance, flips=True).radius > plain.radius + 1
    assert extent_of(u, covariance, noise=3.0).radius > plain.radius + 1
    center = torch.tensor([[[0.0, 9.0], [0.0, 0.0]]], dtype=F64)
    assert extent_of(u, covariance, center).radius != plain.radius


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_a_run_is_confined_to_the_extent_of_its_data(smoothing):
    config = Config(data=Data("moons", size=500, smoothing=smoothing))
    learner = Learner.build(config)
    u = learner.dataset.learned
    expected = extent_of(u, covariance_of(u), noise=smoothing)
    assert learner.energy.extent.tolist() == pytest.approx(list(expected))
