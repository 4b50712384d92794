"""Shares of modes by points and by chains, and distances beside their floors."""

import math

import pytest
import torch

from wgflow.metrics.sampled import (
    EnergyWasserstein,
    distances,
    mode_shares,
    mode_shares_of_chains,
)
from wgflow.metrics.samples import EnergyDistance, SlicedWasserstein

F64 = torch.float64
CENTERS = torch.tensor([[-4.0, 0.0], [4.0, 0.0]], dtype=F64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def halved(x):
    return x.square().sum(1) / 2


def sticky_chains(kept, chains, seed):
    """Chains that each stay in one of two modes of masses 1/4 and 3/4 for ten steps."""
    blocks = torch.rand(kept // 10, chains, generator=seeded(seed)) < 0.75
    return CENTERS[blocks.long().repeat_interleave(10, 0)]


def test_shares_of_points_have_binomial_errors():
    found = mode_shares(CENTERS[torch.tensor([0, 1, 1, 1])], CENTERS)
    assert found.shares.tolist() == [0.25, 0.75]
    assert found.errors.tolist() == pytest.approx([math.sqrt(3 / 16 / 4)] * 2)
    fewer = mode_shares(CENTERS[torch.tensor([0, 1, 1, 1])], CENTERS, size=1.0)
    torch.testing.assert_close(fewer.errors, 2 * found.errors)


def test_errors_of_chains_honour_that_they_stay_where_they_are():
    found = [mode_shares_of_chains(sticky_chains(40, 30, s), CENTERS) for s in range(40)]
    z = torch.stack([(f.shares[1] - 0.75) / f.errors[1] for f in found])
    assert abs(float(z.mean())) < 4 / math.sqrt(40)
    assert abs(float(z.std()) - 1) < 4 / math.sqrt(80)


def test_energy_w2_is_the_distance_of_sorted_energies():
    x = torch.tensor([[0.0], [2.0]], dtype=F64)  # V = 0 and 2
    y = torch.tensor([[4.0], [2.0]], dtype=F64)  # 8 and 2
    assert float(EnergyWasserstein(halved)(x, y)) == pytest.approx(math.sqrt((4 + 36) / 2))
    assert float(EnergyWasserstein(halved, chunk=1)(x, y)) == pytest.approx(math.sqrt(20))
    assert float(EnergyWasserstein(halved)(x, -x)) == 0


def test_energy_w2_between_sizes_and_shapes():
    x = torch.zeros(6, 2, 2)
    y = torch.ones(4, 2, 2)
    metric = EnergyWasserstein(lambda x: x.flatten(1).sum(1))
    assert float(metric(x, y)) == pytest.approx(4)


def test_each_distance_stands_beside_its_floor():
    draws = [torch.randn(n, 2, generator=seeded(n), dtype=F64) for n in (200, 300, 301)]
    found = distances(*draws, halved)
    x, y, second = draws
    metrics = {
        "energy_distance": EnergyDistance(),
        "sliced_w2": SlicedWasserstein(),
        "energy_w2": EnergyWasserstein(halved),
    }
    assert found.keys() == metrics.keys()
    for name, metric in metrics.items():
        assert found[name] == (float(metric(x, y)), float(metric(second[:200], y)))


ERRORS = [
    (lambda: mode_shares_of_chains(torch.zeros(5, 1, 2), CENTERS), "`chains` must be 2 or more"),
    (lambda: mode_shares(CENTERS, CENTERS, 0.0), "both sizes > 0"),
    (
        lambda: EnergyWasserstein(lambda x: x[:, 0].log())(CENTERS.abs(), CENTERS),
        "`energy` must be finite at all points: got 1 of 2",
    ),
    (lambda: EnergyWasserstein(halved)(CENTERS[:0], CENTERS), "points: got 0 and 2"),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()
