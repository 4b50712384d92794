"""Samples and log Z of tilts, of which few draws of the reference carry the weight, or many."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.data.targets import Gaussian
from wgflow.energies.base import energy_and_grad
from wgflow.energies.joint_space import JointSpace
from wgflow.likelihood import from_reference
from wgflow.montecarlo.bridge import chains_at
from wgflow.montecarlo.tilted import FEWEST, MOST, Reference, _problem, draw, log_z, reach

CENTER, WIDTH, SHIFT = 1.0, 0.05, 0.7
LIKE = torch.empty(1, 3, dtype=torch.float64)


class Narrow:
    """``E = -log N(m, w² I) - c`` from ``q = N(0, I)``, so that ``log Z = c``."""

    q = Gaussian(torch.zeros(3), torch.eye(3))
    p = Gaussian(torch.full((3,), CENTER), WIDTH**2 * torch.eye(3))

    def __call__(self, x):
        return -self.p.log_prob(x) - SHIFT

    is_from_reference = False

    def relative(self):
        """Relative to a level b."""
        return self

    def reference(self, like, count, level=None, *, generator=None):
        x = self.q.sample(count, dtype=like.dtype, generator=generator)
        return x, self.log_reference(x)

    def log_reference(self, x):
        return self.q.log_prob(x)

    def reference_energy(self, x):
        return -self.q.log_prob(x)


class Weighted(Narrow):
    """The same of one weight w on a share 1/w of the reference, and 0 elsewhere."""

    def __init__(self, weight):
        self.weight = weight
        self.limit = math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 / weight)).item()

    def __call__(self, x):
        inside = x[:, 0] > self.limit
        return torch.where(inside, -self.q.log_prob(x), -self.q.log_prob(x) + 50.0)


def test_where_draws_of_the_reference_carry_the_weight_they_are_taken():
    energy = tilted(1)
    like = torch.empty(1, 1, dtype=torch.float64)
    assert reach(energy, like, generator=seeded(1)).rounds == from_reference.ROUNDS
    tilt = energy.relative()
    found = draw(energy, like, 300, rounds=5, generator=seeded(3))
    assert torch.equal(found, from_reference.draw(tilt, like, 300, rounds=5, generator=seeded(3)))
    _, v = from_reference.drawn(tilt, like, FEWEST, generator := seeded(4))
    expected = from_reference.log_z_from_reference(v, generator=generator)
    assert log_z(energy, like, reach(energy, like, generator=seeded(4))) == expected


@pytest.mark.parametrize(("weight", "rounds"), [(20, 50), (60, 100), (200, 200), (1500, 1600)])
def test_draws_are_as_many_as_weights_need(weight, rounds):
    """Each weight is w or 0: copies are a share of ``1 - R/w``."""
    energy = Weighted(weight)
    known = reach(energy, LIKE, generator=seeded(1))
    assert known.rounds == rounds
    x = draw(energy, LIKE, 500, rounds=rounds, generator=seeded(0))
    assert len(x.unique(dim=0)) > 0.9 * len(x)
    found = log_z(energy, LIKE, known)
    assert found == known.log_z
    assert abs(found.value + math.log(weight)) < 4 * found.error
    assert found.error < 0.1


def test_where_few_do_a_population_follows_gradients():
    energy, count = Narrow(), 2000
    assert reach(energy, LIKE, generator=seeded(1)).rounds is None
    assert reach(Weighted(4 * MOST), LIKE, generator=seeded(1)).rounds is None
    x = draw(energy, LIKE, count, rounds=None, generator=seeded(0))
    assert x.shape == (count, 3)
    assert len(x.unique(dim=0)) > 0.98 * count
    z = (x - CENTER) / WIDTH
    # Particles with one ancestor are close to independent after all moves.
    for f, mean, spread in ((z, 0.0, 1.0), (z.square(), 1.0, math.sqrt(2))):
        assert float((f.mean(0) - mean).abs().max()) < 4 * spread * math.sqrt(2 / count)


def test_their_log_z_is_exact():
    energy = Narrow()
    found = log_z(energy, LIKE, reach(energy, LIKE, generator=seeded(2)), generator=seeded(1))
    assert abs(found.value - SHIFT) < 4 * found.error
    assert found.error < 0.1


@pytest.mark.parametrize("others", [False, True])
def test_a_population_sees_both_energies_and_their_gradients(others):
    energy, like = tilted(2, others=others), torch.empty(1, 2, dtype=torch.float64)
    problem = _problem(energy, like)
    assert problem.relative is not others
    x = problem.start.sample(60, generator=seeded(1))
    chains = chains_at(problem, x)
    for found, function in (
        ((chains.start, chains.start_grad), energy.reference_energy),
        ((chains.target, chains.target_grad), energy),
    ):
        torch.testing.assert_close(found, energy_and_grad(function, x))


def test_few_points_are_of_a_population_and_many_come_in_parts(monkeypatch):
    monkeypatch.setattr(from_reference, "CHUNK", 600)
    for count in (3, 700):
        assert draw(Narrow(), LIKE, count, rounds=None, generator=seeded(2)).shape == (count, 3)
    with pytest.raises(ValueError, match="`count` must be"):
        draw(Narrow(), LIKE, 0, rounds=None)


@pytest.mark.parametrize("others", [False, True])
def test_the_reference_is_normalised_and_drawn(others):
    """Its energy is that of the tilt less its parts, also of images."""
    energy = tilted(2, others=others)
    like = torch.empty(1, 2, dtype=torch.float64)
    start = Reference(energy, like)
    x = start.sample(500, generator=seeded(1))
    tilt = energy.relative()
    expected = energy(x) - tilt(x) - tilt.log_reference(x)
    assert torch.allclose(start.energy(x), expected, atol=1e-9)
    assert start.log_z == 0.0
    joint = JointSpace(energy, (2,))
    z, log_q = joint.reference(like, 50, generator=seeded(2))
    assert torch.allclose(joint.reference_energy(z), -log_q)
