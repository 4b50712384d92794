"""Energies of particles: closed forms, and what leaves them as they are."""

import pytest
import torch
from problems import F64, seeded

from wgflow.energies.base import energy_and_grad
from wgflow.targets.catalogue import named
from wgflow.targets.particles import DoubleWell, LennardJones
from wgflow.targets.symmetry import ParticleSystem

PAIR = ParticleSystem(2, 2, centre_free=True, exchangeable=True)
CLUSTERS = ["dw4", "lj13"]


def pair(distance, dtype=F64):
    return torch.tensor([[1.0, 2.0, 1.0, 2.0 + distance]], dtype=dtype)


def draws(target, count=10):
    return target.lift(target.start.sample(count, dtype=F64, generator=seeded(2)))


@pytest.mark.parametrize(("distance", "value"), [(4.0, 0.0), (5.0, -3.1), (2.0, -1.6)])
def test_a_pair_in_a_double_well(distance, value):
    assert DoubleWell(PAIR)(pair(distance)).item() == pytest.approx(value)


@pytest.mark.parametrize("depth", [0.5, 1.0])
def test_a_pair_of_lennard_jones(depth):
    """At its best distance 1 the pair has -2ε, and 2 × ½ × ½² of the oscillator."""
    energy = LennardJones(PAIR, depth)
    assert energy(pair(1.0)).item() == pytest.approx(-2 * depth + 0.25)
    two = 2 * depth * (2.0**-12 - 2 * 2.0**-6) + 1
    assert energy(pair(2.0)).item() == pytest.approx(two)


@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-4])
def test_a_collision_is_infinite_in_single_precision(distance):
    assert LennardJones(PAIR)(pair(distance, torch.float32)).item() == float("inf")


@pytest.mark.parametrize("name", CLUSTERS)
def test_energies_are_invariant_under_motions_and_exchanges(name):
    target = named(name)
    system = target.system
    x = draws(target)
    particles = x.reshape(len(x), system.particles, system.space)
    turn = torch.linalg.qr(torch.randn(2 * (system.space,), dtype=F64, generator=seeded(3))).Q
    moved = (particles @ turn + 7).flatten(1)
    torch.testing.assert_close(target.energy(moved), target.energy(x), rtol=1e-8, atol=1e-8)
    exchanged = system.exchanged(x, generator=seeded(4))
    assert not torch.equal(exchanged, x)
    torch.testing.assert_close(target.energy(exchanged), target.energy(x))


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_centre_of_mass_feels_no_force(name):
    target = named(name)
    _, grad = energy_and_grad(target.energy, draws(target))
    force = grad.reshape(-1, target.system.particles, target.system.space)
    assert (force.sum(1).abs() <= 1e-12 * force.abs().sum(1)).all()
