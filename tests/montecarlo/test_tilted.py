"""Samples and log Z of tilts, of which few draws of the reference carry the weight, or many."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.data.targets import Gaussian
from wgflow.energies.joint_space import JointSpace
from wgflow.likelihood import from_reference
from wgflow.montecarlo.tilted import Reference, draw, log_z, reaches

CENTER, WIDTH, SHIFT = 1.0, 0.05, 0.7
LIKE = torch.empty(1, 3, dtype=torch.float64)


class Narrow:
    """``E = -log N(m, w² I) - c`` from ``q = N(0, I)``, so that ``log Z = c``."""

    q = Gaussian(torch.zeros(3), torch.eye(3))
    p = Gaussian(torch.full((3,), CENTER), WIDTH**2 * torch.eye(3))

    def __call__(self, x):
        return -self.p.log_prob(x) - SHIFT

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


def test_where_draws_of_the_reference_carry_the_weight_they_are_taken():
    energy = tilted(1)
    like = torch.empty(1, 1, dtype=torch.float64)
    assert reaches(energy, like)
    tilt = energy.relative()
    found = draw(energy, like, 300, rounds=5, generator=seeded(3))
    assert torch.equal(found, from_reference.draw(tilt, like, 300, rounds=5, generator=seeded(3)))
    expected = from_reference.log_z_from_reference(tilt, like, generator=seeded(4))
    assert log_z(energy, like, generator=seeded(4)) == expected


def test_where_few_do_a_population_follows_gradients():
    energy, count = Narrow(), 2000
    assert not reaches(energy, LIKE)
    x = draw(energy, LIKE, count, rounds=50, generator=seeded(0))
    assert x.shape == (count, 3)
    assert len(x.unique(dim=0)) > 0.98 * count
    z = (x - CENTER) / WIDTH
    # Particles with one ancestor are close to independent after all moves.
    for f, mean, spread in ((z, 0.0, 1.0), (z.square(), 1.0, math.sqrt(2))):
        assert float((f.mean(0) - mean).abs().max()) < 4 * spread * math.sqrt(2 / count)


def test_their_log_z_is_exact():
    found = log_z(Narrow(), LIKE, generator=seeded(1))
    assert abs(found.value - SHIFT) < 4 * found.error
    assert found.error < 0.1


def test_few_points_are_of_a_population_and_many_come_in_parts(monkeypatch):
    monkeypatch.setattr(from_reference, "CHUNK", 600)
    for count in (3, 700):
        assert draw(Narrow(), LIKE, count, rounds=1, generator=seeded(2)).shape == (count, 3)
    with pytest.raises(ValueError, match="`count` must be"):
        draw(Narrow(), LIKE, 0, rounds=1)


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
