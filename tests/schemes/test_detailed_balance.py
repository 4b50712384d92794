"""Detailed balance between levels: what is in balance, what is not, and what it mends."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score
from torch import nn
from torch.distributions import Normal

from wgflow.energies.base import energy_and_grad
from wgflow.energies.microbatch import MicroBatched
from wgflow.energies.noise_levels import At, NoiseLevels
from wgflow.samplers import CrankNicolson
from wgflow.schemes import DetailedBalance, FromData, Population
from wgflow.schemes.detailed_balance import residuals

LEVELS = NoiseLevels(0.1, 5.0)
MEAN = double([0.5, -1.0, 0.25])
CHAINS = FromData(CrankNicolson(0.0025, width=0.1), steps=2, life=4, noisy=True)


class Points(nn.Module):
    """``-log N(x; MEAN, σ²I)``, data that are one point, and a change of it by level and place."""

    levels = LEVELS

    def __init__(self, change=lambda x, level: 0 * level):
        super().__init__()
        self.change = change

    def forward(self, x, level=None):
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(0.1))
        square = (x - MEAN).square().sum(1) / level.exp()
        return square / 2 + 1.5 * (math.log(2 * math.pi) + level) + self.change(x, level)


def noise(n, deviation=1.0, seed=0):
    return deviation * torch.randn(n, 3, dtype=F64, generator=seeded(seed))


def test_what_is_in_balance_has_no_residual():
    """Of one point with noise q is exact, and r zero wherever x may be."""
    x = MEAN + noise(200, 3.0)
    found = residuals(Points(), x, 0.2, 0.3, seeded(1))
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-9)


def test_a_residual_is_what_a_level_has_too_much():
    def change(x, level):
        return level**2

    found = residuals(Points(change), MEAN + noise(50), 0.2, 0.3, seeded(1))
    expected = (2 * math.log(0.2)) ** 2 - (2 * math.log(0.3)) ** 2
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_the_residual_is_its_definition():
    def change(x, level):
        return (x.sum(1) + level).sin()

    energy, x, a, b = Points(change), MEAN + noise(100), 0.2, 0.25
    found = residuals(energy, x, a, b, seeded(1))
    step = math.sqrt(b**2 - a**2)
    y = x + step * torch.randn(x.shape, dtype=F64, generator=seeded(1))
    value, grad = energy_and_grad(At(energy, b), y)
    reverse = Normal(y - step**2 * grad, step * a / b).log_prob(x).sum(1)
    there = Normal(x, step).log_prob(y).sum(1)
    expected = At(energy, a)(x) - (value - reverse + there)
    torch.testing.assert_close(found, expected)


class Well(nn.Module):
    """A well of depth θ beside the data, at narrow levels alone."""

    levels = LEVELS

    def __init__(self, depth):
        super().__init__()
        self.depth = nn.Parameter(double(depth))

    def forward(self, x, level=None):
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(0.1))
        near = torch.exp(-((x - MEAN - 2.0).square().sum(1)) / 2)
        narrow = torch.exp(-(level - 2 * math.log(0.1)) / 0.5)
        return Points()(x, level) - self.depth * near * narrow


def carried(energy, chains, origins):
    """A carry whose chains are where they are put."""
    carry = CHAINS.init(energy, origins, generator=seeded(0))
    state = carry.particles.state._replace(x=chains)
    return carry._replace(particles=carry.particles._replace(state=state))


def test_it_lifts_a_well_to_its_right_height_and_no_further():
    energy = Well(30.0)
    carry = carried(energy, MEAN + 2 + noise(64, 0.1), MEAN.expand(64, 3))
    optimizer, generator = torch.optim.Adam(energy.parameters(), 0.5), seeded(2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    found = []
    for _ in range(300):
        loss = DetailedBalance(CHAINS, highest=0.12).loss(energy, carry, generator=generator)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        scheduler.step()
        found.append(float(energy.depth.detach()))
    assert found[0] < 30
    assert abs(found[-1]) < 0.5


def test_what_wide_levels_say_is_held_constant():
    """A parameter of the level above alone has no gradient, one of the level below has."""
    low, high = (nn.Parameter(double(1.0)) for _ in range(2))

    def change(x, level):
        return torch.where(level < 2 * math.log(0.22), low, high) * x.sum(1)

    residuals(Points(change), noise(20), 0.2, 0.25, seeded(1)).sum().backward()
    assert low.grad is not None
    assert high.grad is None or float(high.grad) == 0.0
    assert abs(float(low.grad)) > 1


def test_the_loss_is_of_pairs_at_one_pair_of_levels():
    energy = Well(300.0)
    origins = MEAN + noise(40, 0.3, seed=3)
    carry = carried(energy, MEAN + 2 + noise(40, 1.0), origins)
    scheme = DetailedBalance(CHAINS, highest=0.12, delta=3.0)
    found = scheme.loss(energy, carry, generator=seeded(5))
    generator = seeded(5)
    a, b = scheme.draw(LEVELS, origins, generator)
    data = origins + a * torch.randn(40, 3, dtype=F64, generator=generator)
    lift = math.sqrt(a**2 - 0.01)
    chains = carry.particles.x + lift * torch.randn(40, 3, dtype=F64, generator=generator)
    r = residuals(energy, torch.cat([data, chains]), a, b, generator)
    gap = (r[40:] - r[:40]).abs()
    assert 0 < float((gap < 3).double().mean()) < 1
    expected = torch.where(gap < 3, gap**2 / 2, 3 * (gap - 1.5)).mean()
    torch.testing.assert_close(found.value, expected)
    torch.testing.assert_close(found.metrics["imbalance"], (r[40:] - r[:40]).mean().detach())


def test_levels_are_uniform_in_their_logarithms():
    scheme, generator = DetailedBalance(CHAINS, highest=0.4, ratio=1.3), seeded(0)
    pairs = [scheme.draw(LEVELS, MEAN, generator) for _ in range(4000)]
    a, b = double(pairs).T
    u = (a / 0.1).log() / math.log(4)
    v = ((b / a).log() / math.log(1.3) - 1 / 3) * 1.5
    for z in (u, v):
        assert float(z.min()) > -1e-9
        assert float(z.max()) < 1 + 1e-9
        assert abs(z_score(z, 0.5)) < 4
        assert abs(z_score(z**2, 1 / 3)) < 4


def test_parts_have_the_gradient_of_the_whole_and_the_size_of_a_part():
    grads, sizes = [], []
    for count in (1, 4):
        energy, seen = Well(20.0), []
        energy.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(len(inputs[0])))
        parts = energy if count == 1 else MicroBatched(energy, count, energy.parameters())
        carry = carried(energy, MEAN + 2 + noise(16, 0.1), MEAN.expand(16, 3))
        seen.clear()
        DetailedBalance(CHAINS).loss(parts, carry, generator=seeded(1)).value.backward()
        grads.append(energy.depth.grad)
        sizes.append(max(seen))
    torch.testing.assert_close(*grads, rtol=1e-10, atol=0)
    assert sizes == [32, 8]


def test_it_follows_chains_from_data():
    energy, scheme = Points(), DetailedBalance(CHAINS)
    carry = scheme.init(energy, noise(8), generator=seeded(0))
    after = scheme.advance(energy, noise(8, seed=1), carry, generator=seeded(1))
    assert scheme.adds_noise
    assert after.done == 1
    assert not torch.equal(after.particles.x, carry.particles.x)
    assert int((after.origins != carry.origins).any(1).sum()) == 2  # a quarter per step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"`ratio` must be > 1"),
        ({"highest": 0.0}, "`highest` must be > 0"),
        ({"delta": -1.0}, "`delta` must be > 0"),
        ({"inner_steps": 0}, "`inner_steps` must be > 0"),
        ({"dynamics": Population()}, r"from-data with noisy = true: got Population"),
        ({"dynamics": FromData()}, r"from-data with noisy = true: got FromData"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DetailedBalance(**options)
