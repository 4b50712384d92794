"""Coordinates without a centre of mass, and uniform exchanges."""

import pytest
import torch
from problems import F64, seeded
from scipy.stats import chi2

from wgflow.data.targets import Gaussian
from wgflow.targets.base import TargetEnergy
from wgflow.targets.particles import LennardJones
from wgflow.targets.symmetry import ParticleSystem

SYSTEMS = [ParticleSystem(n, s, centre_free=True) for n, s in ((2, 1), (4, 2), (13, 3))]


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=seeded(seed))


def lifted(system):
    start = Gaussian(torch.zeros(system.free), torch.eye(system.free, dtype=F64))
    return TargetEnergy("", LennardJones(system), system.dim, start, system=system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_basis_is_orthonormal_and_has_no_centre(system):
    basis = system.basis()
    assert basis.shape == (system.dim, (system.particles - 1) * system.space)
    torch.testing.assert_close(basis.T @ basis, torch.eye(system.free, dtype=F64))
    centres = basis.reshape(system.particles, system.space, -1).mean(0)
    assert centres.abs().max() < 1e-12


@pytest.mark.parametrize("system", SYSTEMS)
def test_lifting_is_an_isometry_and_projection_its_inverse(system):
    target = lifted(system)
    u = normal(20, system.free)
    x = target.lift(u)
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(u, u))
    shift = normal(20, system.space, seed=1).repeat(1, system.particles)
    torch.testing.assert_close(target.project(x + shift), u)


def test_projection_takes_out_the_centre():
    target = lifted(SYSTEMS[1])
    x = normal(20, 8)
    centred = x.reshape(20, 4, 2) - x.reshape(20, 4, 2).mean(1, keepdim=True)
    torch.testing.assert_close(target.lift(target.project(x)), centred.reshape(20, 8))


def test_a_system_with_its_centre_has_all_coordinates():
    system = ParticleSystem(3, 2)
    assert system.free == 6
    assert torch.equal(system.basis(), torch.eye(6, dtype=F64))


def test_exchanges_are_uniform_permutations_of_whole_particles():
    system = ParticleSystem(3, 2, exchangeable=True)
    x = torch.tensor([0.0, 10.0, 1.0, 11.0, 2.0, 12.0], dtype=F64).expand(12_000, 6)
    particles = system.exchanged(x, generator=seeded(1)).reshape(-1, 3, 2)
    assert (particles[..., 1] == particles[..., 0] + 10).all()
    codes = particles[..., 0] @ torch.tensor([9.0, 3.0, 1.0], dtype=F64)
    kinds, counts = codes.unique(return_counts=True)
    assert len(kinds) == 6
    statistic = ((counts - 2000.0) ** 2 / 2000).sum()
    assert statistic < chi2.ppf(1 - 1e-4, 5)


def test_particles_that_are_not_exchangeable_stay():
    x = normal(5, 6)
    assert ParticleSystem(3, 2).exchanged(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "`particles` must be > 0"),
        ((3, -1), "`space` must be > 0"),
        ((1, 2, True), "`particles` must be ≥ 2 without a centre: got 1"),
    ],
)
def test_bad_systems_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParticleSystem(*arguments)
