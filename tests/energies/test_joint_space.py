"""The joint space of points and levels: one normaliser, its data, and its reference."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.energies.joint_space import JointSpace


def space(dim=1, size=0.0, power=2.0):
    return JointSpace(tilted(dim, size=size), (dim,), power)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_a_normalised_energy_is_normalised_on_the_joint_space(power):
    x = torch.linspace(-30, 30, 3001, dtype=torch.float64)
    t = (torch.arange(40, dtype=torch.float64) + 0.5) / 40
    z = torch.cartesian_prod(x, t)
    total = (-space(power=power)(z)).exp().sum() * (x[1] - x[0]) / 40
    assert float(total.detach()) == pytest.approx(1, abs=1e-4)


def test_it_is_infinite_beyond_the_levels():
    z = torch.tensor([[0.0, -0.01], [0.0, 0.5], [0.0, 1.01]], dtype=torch.float64)
    assert space()(z).isfinite().tolist() == [False, True, False]


def test_ends_of_t_are_the_lowest_and_the_highest_level():
    found = space().level(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close((found / 2).exp(), torch.tensor([0.1, 4.0], dtype=torch.float64))


def test_data_have_the_noise_of_their_levels():
    joint = space(2)
    z = joint.noisy(torch.zeros(40_000, 2, dtype=torch.float64), generator=seeded())
    t = z[:, -1].sort().values
    strata = (t * 40_000).floor()
    assert torch.equal(strata, torch.arange(40_000, dtype=torch.float64))  # one in each
    unit = z[:, :2] / (joint.level(z[:, -1]) / 2).exp()[:, None]
    assert abs(float(unit.square().mean()) - 1) < 4 * math.sqrt(2 / 80_000)


def test_relative_space_shares_the_energy():
    joint = space(2, size=0.4)
    z, log_q = joint.reference(torch.empty(1, 3, dtype=torch.float64), 50, generator=seeded())
    torch.testing.assert_close(joint.relative()(z), joint(z) + log_q)
    with pytest.raises(ValueError, match="`power` must be"):
        space(power=0.0)


def test_levels_follow_the_power_of_t():
    t = torch.tensor([0.5], dtype=torch.float64)
    low, high = 2 * math.log(0.1), 2 * math.log(4.0)
    assert float(space(power=3.0).level(t)) == pytest.approx(low + (high - low) / 8)
