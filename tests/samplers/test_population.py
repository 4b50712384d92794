"""Fresh samples from a population: the right law whatever the population was, and its seeds."""

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.metrics.samples import mode_occupancy
from wgflow.samplers import HMC, MALA, Underdamped
from wgflow.samplers.particles import populate
from wgflow.samplers.population import draw

MEANS = double([[-3.0, 0.0], [3.0, 1.0]])
TARGET = GaussianMixture(MEANS, 0.5, weights=[0.25, 0.75])
SAMPLERS = {"mala": MALA(0.1), "hmc": HMC(0.4, leapfrog=2), "underdamped": Underdamped(0.1)}


def population(energy, n, seed=0, sampler=SAMPLERS["mala"]):
    """Particles drawn from a target, weighted for it."""
    x = energy.sample(n, dtype=F64, generator=seeded(seed))
    return populate(sampler, energy, x, energy.log_prob(x))


def assert_law(x):
    """Masses, means and covariances of the two modes by z-score."""
    masses = mode_occupancy(x, MEANS)
    deviation = (TARGET.weights * (1 - TARGET.weights) / len(x)).sqrt()
    assert ((masses - TARGET.weights) / deviation).abs().max() < 4
    for k, mode in enumerate((x[x[:, 0] < 0], x[x[:, 0] > 0])):
        u = (mode - MEANS[k]) / 0.5
        products = torch.cat([u**2 - 1, u[:, :1] * u[:, 1:]], 1)
        assert z_score(torch.cat([u, products], 1), 0).abs().max() < 4


def members(x, p):
    """How often each particle of p is among x, whose points are all particles."""
    distances = torch.cdist(x, p.x, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.min(1)
    assert not nearest.values.any()
    return torch.bincount(nearest.indices, minlength=len(p.x))


def test_wrong_masses_become_right():
    """The particles say 9 to 1 with equal weights; the jumps between modes know better."""
    other = GaussianMixture(MEANS, 0.5, weights=[0.9, 0.1])
    p = population(other, 400)
    p = p._replace(state=SAMPLERS["mala"].init(TARGET, p.x))
    x = draw(TARGET, p, 3000, MALA(0.1), rounds=60, generator=seeded(1))
    assert x.shape == (3000, 2)
    assert_law(x)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_population_of_another_energy_by_any_sampler(name):
    wide = Gaussian([0.5, 0.5], [[9.0, 0.0], [0.0, 2.0]])
    p = population(wide, 1000, 2, SAMPLERS[name])
    x = draw(TARGET, p, 2000, MALA(0.1), rounds=20, chunk=700, generator=seeded(3))
    assert x.shape == (2000, 2)
    assert_law(x)


def test_reweighting_alone_is_consistent():
    """No rounds: the population is weighted to the energy before it is resampled."""
    p = population(Gaussian([0.5, 0.5], [[9.0, 0.0], [0.0, 2.0]]), 40_000, 4)
    x = draw(TARGET, p, 40_000, MALA(0.1), rounds=0, generator=seeded(5))
    masses = mode_occupancy(x, MEANS)
    assert masses[0] == pytest.approx(0.25, abs=0.02)
    assert float(x[x[:, 0] < 0].std(0).max()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("chunk", [8192, 37])
def test_without_rounds_each_member_comes_once_before_any_comes_twice(chunk):
    p = population(TARGET, 100, 6)
    for count, copies in ((60, {0, 1}), (100, {1}), (250, {2, 3}), (300, {3})):
        x = draw(TARGET, p, count, MALA(), rounds=0, chunk=chunk, generator=seeded(7))
        found = members(x, p)
        assert int(found.sum()) == count
        assert set(found.tolist()) == copies


def test_a_particle_without_weight_is_never_drawn():
    p = population(TARGET, 100, 6)
    p = p._replace(log_weight=p.log_weight.index_fill(0, torch.arange(50), -torch.inf))
    found = members(draw(TARGET, p, 100, MALA(), rounds=0, generator=seeded(7)), p)
    assert not found[:50].any()
    assert found[50:].tolist() == [2] * 50


@pytest.mark.parametrize("event", [(3,), (1, 2, 2)], ids=str)
def test_points_have_the_shape_and_dtype_of_the_particles(event):
    def energy(x):
        return x.flatten(1).square().sum(1) / 2

    x = torch.randn(64, *event, generator=seeded(8))
    p = populate(MALA(), energy, x, -energy(x))
    y = draw(energy, p, 101, MALA(), rounds=2, chunk=50, generator=seeded(9))
    assert (y.shape, y.dtype) == ((101, *event), torch.float32)
    assert not y.requires_grad


def test_seeds_repeat_and_differ_and_leave_the_global_one_alone():
    p = population(TARGET, 100, 6)
    before = torch.get_rng_state()
    a, b, c = (
        draw(TARGET, p, 150, MALA(), rounds=3, chunk=64, generator=seeded(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("count", "rounds"), [(0, 1), (1, -1)])
def test_numbers_out_of_range_are_refused(count, rounds):
    p = population(TARGET, 10, 6)
    expected = "`count` must be > 0" if count < 1 else "`rounds` must be ≥ 0"
    with pytest.raises(ValueError, match=expected):
        draw(TARGET, p, count, MALA(), rounds=rounds)
