"""Particles from the reference, at one level and on the joint space."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.energies.joint_space import JointSpace
from wgflow.samplers import MALA
from wgflow.samplers.particles import populate
from wgflow.schemes import AcrossLevels, FromReference, NearProximal

BATCH = torch.randn(200, 1, generator=seeded(4), dtype=torch.float64)


def test_the_mean_weight_is_an_unbiased_normaliser():
    energy = tilted(1, size=1.0)
    x = torch.linspace(-15, 15, 20_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        z = float((-energy(x)).exp().sum() * (x[1] - x[0]))
    dynamics = FromReference(size=20_000, draws=0, held_out=0)
    weight = dynamics.init(energy, BATCH, generator=seeded()).particles.log_weight.exp()
    error = float(weight.std()) / math.sqrt(20_000)
    assert abs(float(weight.mean()) - z) < 4 * error
    few = FromReference(size=100, draws=20_000, held_out=0)
    particles = few.init(energy, BATCH, generator=seeded()).particles
    assert float(particles.effective_fraction) == pytest.approx(1)
    assert abs(math.exp(particles.log_z) - z) < 4 * error
    assert float(particles.log_z) == pytest.approx(float(weight.mean().log()))  # the same draws


def test_resampled_particles_are_points_of_the_model():
    energy, count = tilted(1, size=1.0), 20_000
    x = torch.linspace(-15, 15, 20_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        p = (-energy(x)).softmax(0)
    dynamics = FromReference(size=count, draws=20 * count, held_out=0)
    found = dynamics.init(energy, BATCH, generator=seeded()).particles.x
    for moment in (torch.sin, torch.tanh, torch.square):
        exact, values = moment(x)[:, 0], moment(found)[:, 0]
        mean = float(p @ exact)
        spread = float(p @ (exact - mean).square())
        assert abs(float(values.mean()) - mean) < 4 * math.sqrt(spread / count)


def test_an_energy_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="`energy` must have a reference"):
        FromReference().init(lambda x: x.square().sum(1), BATCH)
    with pytest.raises(ValueError, match="`size` must be"):
        FromReference(size=0)
    with pytest.raises(ValueError, match="`draws` must be"):
        FromReference(draws=-1)


def test_the_loss_is_that_of_full_energies():
    """What is relative to the reference cancels from changes of the energy."""
    energy, moved = tilted(1, size=1.0), tilted(1, size=0.7)
    scheme = NearProximal(dynamics=FromReference(size=300, draws=0, held_out=0), h=0.1)
    carry = scheme.init(energy, BATCH, generator=seeded())
    found = scheme.loss(moved, carry)
    full = populate(MALA(), energy, carry.particles.x, carry.particles.log_weight)
    full = full._replace(log_weight=carry.particles.log_weight)
    with torch.no_grad():
        there = energy(BATCH)
    plain = carry._replace(particles=full, batch_energy=there, frozen={})
    torch.testing.assert_close(found.value, NearProximal(h=0.1).loss(moved, plain).value)


def test_across_levels_is_the_scheme_on_the_joint_space():
    energy, moved = tilted(1, size=1.0), tilted(1, size=0.7)
    scheme = NearProximal(dynamics=FromReference(size=300, draws=0, held_out=0), h=0.1)
    carry = AcrossLevels(scheme).init(energy, BATCH, generator=seeded())
    assert carry.batch.shape == (200, 2)
    assert carry.particles.x.shape == (300, 2)
    joint = scheme.loss(JointSpace(moved, (1,)), carry)
    torch.testing.assert_close(AcrossLevels(scheme).loss(moved, carry).value, joint.value)


def test_at_the_data_the_gradient_vanishes():
    """For data of the model itself the expected gradient of the loss is zero on all levels."""
    energy = tilted(1, size=0.0)
    like = torch.empty(40_000, 1, dtype=torch.float64)
    x = energy.mixture.sample(like, like.new_full((40_000,), -60.0), generator=seeded(8))
    dynamics = FromReference(size=40_000, draws=0, held_out=0)
    scheme = AcrossLevels(NearProximal(dynamics=dynamics, h=0.1))
    carry = scheme.init(energy, x, generator=seeded())
    scheme.loss(energy, carry).value.backward()
    z = torch.cat([carry.batch, carry.particles.x])  # where E = a·φ with features φ
    basis = torch.func.jacrev(
        lambda a: torch.func.functional_call(
            JointSpace(energy, (1,)), {"energy.residual.head": a}, (z[::40],)
        )
    )(energy.residual.head.detach())
    error = basis.detach().std(0) * math.sqrt(2 / 40_000)
    assert float((energy.residual.head.grad / error).abs().max()) < 4.5


def test_the_density_of_the_reference_is_never_evaluated(monkeypatch):
    energy = tilted(1, size=1.0)
    monkeypatch.setattr(energy.mixture, "forward", None)
    scheme = AcrossLevels(NearProximal(dynamics=FromReference(size=50, held_out=50), h=0.1))
    carry = scheme.init(energy, BATCH, generator=seeded())
    carry = scheme.advance(energy, BATCH, carry, generator=seeded(1))
    assert scheme.loss(energy, carry).value.isfinite()
