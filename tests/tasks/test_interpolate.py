"""Paths: straight where nothing bends them, around the ring where it pays, evenly spaced."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian
from wgflow.data.toys import Ring
from wgflow.energies.base import energy_and_grad
from wgflow.tasks.interpolate import across, interpolate, respaced, straight

A, B = double([-1.0, 0.5]), double([2.0, -1.0])


def flat(x):
    return 0 * x.flatten(1).sum(1)


def spacings(x):
    return x.flatten(1).diff(dim=0).norm(dim=1)


def test_on_a_flat_energy_the_path_is_straight():
    path = interpolate(flat, A, B, 50, points=7, step=0.1)
    assert torch.allclose(path.x, straight(flat, A, B, 7).x)
    assert torch.allclose(path.x[2], A + (B - A) / 3)
    assert path.barrier == 0


def test_through_the_mean_of_a_gaussian_the_path_is_straight():
    """The gradient of ``|x - m|²/2`` lies along the line, so it has no part across it.

    With a step of 1.5 a move along it would fold the path.
    """
    target = Gaussian((A + B) / 2, torch.eye(2, dtype=F64))
    path = interpolate(target, A, B, 20, points=9, step=1.5)
    assert torch.allclose(path.x, straight(target, A, B, 9).x, atol=1e-10)
    assert path.barrier == 0


def test_beside_the_mean_of_a_gaussian_the_path_bends_to_it():
    target = Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    a, b = double([-2.0, 1.0]), double([2.0, 1.0])
    path = interpolate(target, a, b, 2000, points=21, step=0.05)
    assert path.x.norm(dim=1).min() < 0.1  # down one ray, up the other
    assert straight(target, a, b, 21).x.norm(dim=1).min() == pytest.approx(1.0)


def test_around_a_ring_there_is_no_barrier():
    """The chord of 120° comes within half a radius of the centre; the path keeps to the ring."""
    ring, r = Ring(2.0, 0.2), 2.0
    a = double([r, 0.0])
    b = r * double([math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)])
    line = straight(ring, a, b, 21)
    path = interpolate(ring, a, b, 1500, points=21, step=0.01)
    # At half the radius, (1/0.2)²/2 = 12.5 nats above the ring, less ½ log 2 for its circle.
    assert line.barrier == pytest.approx(12.5 - math.log(2) / 2, abs=0.05)
    assert path.barrier < 0.1
    assert ((path.x.norm(dim=1) - r).abs() < 0.05).all()
    assert torch.equal(path.x[[0, -1]], torch.stack([a, b]))
    # Equal arcs: three points are no more than 120°/20 apart, and none crosses the chord's side.
    angles = torch.atan2(path.x[:, 1], path.x[:, 0])
    assert torch.allclose(angles, torch.linspace(0, 2 * math.pi / 3, 21, dtype=F64), atol=0.02)


def test_the_barrier_between_two_wells_is_the_saddle():
    """``(x² - 1)² h + k (y - x² + 1)²``: a bent valley, its saddle at (0, -1), of height h."""
    h, k = 3.0, 20.0

    def energy(x):
        return h * (x[:, 0] ** 2 - 1) ** 2 + k * (x[:, 1] - x[:, 0] ** 2 + 1) ** 2

    a, b = double([-1.0, 0.0]), double([1.0, 0.0])
    path = interpolate(energy, a, b, 4000, points=41, step=0.005)
    assert straight(energy, a, b, 41).barrier == pytest.approx(h + k, rel=1e-6)
    assert path.barrier == pytest.approx(h, rel=0.02)
    assert torch.allclose(path.x[20], double([0.0, -1.0]), atol=0.05)
    # Settled: what is left of the gradient lies along the path.
    _, grad = energy_and_grad(energy, path.x[1:-1])
    along = path.x[2:] - path.x[:-2]
    cosine = (grad * along).sum(1).abs() / (grad.norm(dim=1) * along.norm(dim=1) + 1e-9)
    assert (cosine[grad.norm(dim=1) > 0.5] > 0.95).all()


def test_points_are_respaced_along_their_polygon():
    x = double([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    expected = double([[0.0, 0.0], [1.0, 1 / 3], [1.0, 5 / 3], [1.0, 3.0]])
    assert torch.allclose(respaced(x), expected)
    images = torch.randn(6, 1, 3, 2, generator=seeded(0), dtype=F64)
    for _ in range(200):
        images = respaced(images)
    assert torch.allclose(spacings(images), spacings(images).mean().expand(5), rtol=1e-3)


def test_only_what_is_across_the_path_moves_it():
    """Points that may also slide along it end in the same place, but this is what is promised."""
    x, g = (torch.randn(n, 1, 2, 3, generator=seeded(n), dtype=F64) for n in (6, 4))
    along, normal = (x[2:] - x[:-2]).flatten(1), across(g, x).flatten(1)
    assert torch.allclose((along * normal).sum(1), double([0.0] * 4), atol=1e-12)
    cosine = torch.cosine_similarity(g.flatten(1) - normal, along)
    assert torch.allclose(cosine.abs(), torch.ones_like(cosine))


def test_images_are_points_too():
    a, b = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    path = interpolate(lambda x: x.flatten(1).square().sum(1), a, b, 5, points=4)
    assert path.x.shape == (4, 1, 2, 2)
    assert torch.equal(path.energy, path.x.flatten(1).square().sum(1))


def test_the_barrier_is_above_the_higher_end():
    def energy(x):
        return torch.where(x[:, 0] == 0, 5.0, x[:, 0])

    line = straight(energy, torch.tensor([-1.0]), torch.tensor([1.0]), 3)
    assert line.barrier == 4.0


def test_refusals():
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(3,\)\."):
        straight(flat, A, torch.zeros(3))
    with pytest.raises(ValueError, match=r"two different points .* equal\."):
        interpolate(flat, A, A, 5)
    with pytest.raises(ValueError, match="between its ends: expected at least 3, got 2"):
        interpolate(flat, A, B, 5, points=2)
    with pytest.raises(ValueError, match="`steps` must be > 0 and finite: got 0"):
        interpolate(flat, A, B, 0)
    with pytest.raises(ValueError, match="`step` must be > 0 and finite: got -1"):
        interpolate(flat, A, B, 5, step=-1.0)
