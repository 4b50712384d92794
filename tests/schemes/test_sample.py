"""Particles and draws of a reference as one sample: exact by quadrature, and what it sees."""

import math

import pytest
import torch

from wgflow.likelihood.quadrature import Grid, log_density
from wgflow.samplers import MALA
from wgflow.samplers.particles import Particles
from wgflow.schemes import NearProximal, Population
from wgflow.schemes.sample import Draws, anchored, sample_of

F64 = torch.float64
LINE = Grid.box([-12.0], [12.0], 600)
SPREAD = 3.0


def reference(x):
    """Log-density of N(0, 9)."""
    return -(x.square().sum(1)) / (2 * SPREAD**2) - math.log(SPREAD * math.sqrt(2 * math.pi))


def leaky(x):
    """A well at 0 with all mass but some e^-9 of it, in a wide well at 6, and log Z of 1.7."""
    near = x.square().sum(1) / (2 * 0.3**2)
    far = (x - 6).square().sum(1) / 2 + 9
    return -torch.logaddexp(-near, -far) - 1.7


def particles(energy, x, log_weight, log_z=0.0):
    """Weighted particles, with any thought of log Z."""
    state = MALA().init(energy, x)
    banked = torch.tensor(log_z, dtype=F64) - log_weight.logsumexp(0) + math.log(len(x))
    return Particles(state, log_weight, banked)


def drawn(energy, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = SPREAD * torch.randn(count, 1, generator=generator, dtype=F64)
    return Draws(x, energy(x), reference(x))


def exact(energy):
    """Particles that are the law of an energy, by quadrature."""
    return particles(energy, LINE.nodes, log_density(energy, LINE))


def test_without_draws_it_is_the_particles():
    p = exact(leaky)
    sample = sample_of(p, None)
    assert sample.x is p.x
    assert sample.log_weight is p.log_weight
    torch.testing.assert_close(sample.weights, p.weights)


@pytest.mark.parametrize("log_z", [0.0, -3.0, 4.0])
def test_the_normaliser_is_found_whatever_the_particles_think(log_z):
    p = exact(leaky)._replace(banked=torch.tensor(0.0, dtype=F64))
    true = 1.7 + math.log(math.sqrt(2 * math.pi) * (0.3 + math.exp(-9)))
    p = p._replace(banked=log_z + true - p.log_z)
    errors = []
    for seed in range(200):
        q = anchored(p, drawn(leaky, 400, seed))
        assert torch.equal(q.log_weight, p.log_weight)
        errors.append(q.log_z - true)
    found = torch.stack(errors)
    assert abs(found.mean() / found.std() * math.sqrt(200)) < 4
    assert found.std() < 0.2


def test_means_are_those_of_the_model():
    """Of a density that the draws hold a part of: averages over many draws agree with p."""
    p = exact(leaky)
    rows = []
    for seed in range(400):
        draws = drawn(leaky, 400, seed)
        sample = sample_of(anchored(p, draws), draws)
        rows.append(torch.stack([sample.weights @ sample.x[:, 0] ** k for k in (1, 2)]))
    found = torch.stack(rows)
    expected = torch.stack([p.weights @ p.x[:, 0] ** k for k in (1, 2)])
    z = (found.mean(0) - expected) / found.std(0) * math.sqrt(len(found))
    assert z.abs().max() < 4


def test_draws_see_mass_that_particles_miss():
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(500, 1, generator=generator, dtype=F64)  # none in the far well
    p = particles(leaky, x, torch.zeros(500, dtype=F64))
    far = math.exp(-9) / (0.3 + math.exp(-9))
    rows = []
    for seed in range(100):
        draws = drawn(leaky, 400, seed)
        sample = sample_of(anchored(p, draws), draws)
        rows.append(sample.weights @ (sample.x[:, 0] > 3).double())
    found = torch.stack(rows)
    assert (x < 3).all()
    assert float(found.mean()) == pytest.approx(far, rel=0.2)
    assert found.min() > far / 3


def test_log_z_stays_where_draws_know_nothing():
    """Of particles in a narrow well that no draw comes near."""

    def narrow(x):
        return (x - 100).square().sum(1) / (2 * 0.01**2)

    generator = torch.Generator().manual_seed(0)
    x = 100 + 0.01 * torch.randn(500, 1, generator=generator, dtype=F64)
    p = particles(narrow, x, torch.zeros(500, dtype=F64), log_z=-6.0)
    assert float(anchored(p, drawn(narrow, 400)).log_z) == -6.0
    assert anchored(p, None) is p


def test_no_weight_of_a_draw_is_far_beyond_that_of_a_particle():
    """Where r is at its geometric mean a draw weighs at most 1/N, whatever the energy."""
    p = particles(leaky, torch.zeros(500, 1, dtype=F64), torch.zeros(500, dtype=F64))
    x = torch.full((400, 1), SPREAD, dtype=F64)
    for depth in (-50.0, 0.0, 50.0):
        draws = Draws(x, torch.full((400,), depth, dtype=F64), reference(x))
        sample = sample_of(anchored(p, draws), draws)
        assert sample.log_weight[500:].max() <= math.log(1 / 500) + 1e-9


@pytest.mark.parametrize("reaction", [True, False])
def test_only_weighted_particles_have_draws_beside_them(reaction):
    dynamics = Population(reaction=reaction, size=8, held_out=0, draws=5)
    batch = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    scheme = NearProximal(dynamics)

    def energy(x):
        return x.square().sum(1) / 2

    carry = scheme.init(energy, batch, generator=torch.Generator().manual_seed(1))
    after = scheme.advance(energy, batch, carry, generator=torch.Generator().manual_seed(2))
    for seen in (carry, after):
        assert (seen.draws is not None) == reaction
        assert len(seen.sample.x) == 8 + 5 * reaction
    if reaction:
        assert not torch.equal(carry.draws.x, after.draws.x)  # fresh at every step
        torch.testing.assert_close(after.draws.energy, energy(after.draws.x))
