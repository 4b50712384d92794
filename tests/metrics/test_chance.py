"""How far apart exact samples are by chance: against laws that are known."""

import math

import pytest
import torch
from scipy.stats import chi2

from wgflow.metrics.chance import QUICK, chance
from wgflow.metrics.samples import SlicedWasserstein


def shares(x, y):
    """The difference of two means, whose square is a multiple of one χ² variable."""
    return (x.mean() - y.mean()).abs()


@pytest.mark.parametrize("probability", [0.1, 6e-5])
def test_one_degree_of_freedom(probability):
    """The mean of halves of 2n points has the variance ``2/n`` times that of the points."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, dtype=torch.float64, generator=generator)
    found = chance(shares, x, probability=probability, repetitions=3000)
    law = math.sqrt(chi2.isf(probability, 1) / 1000) * float(x.std())
    assert found == pytest.approx(law, rel=0.06)


def test_two_clusters_whose_shares_decide():
    """With few repetitions: exact samples are beyond chance in one of a thousand cases at most.

    They are beyond twice the distance of others in a sixth of them: P(|z| > 4 |z'|) = .156.
    """
    generator = torch.Generator().manual_seed(1)
    n, beyond, twice = 200, 0, 0
    for seed in range(150):
        share = torch.rand(3 * n, 1, generator=generator) < 0.5
        x = torch.randn(3 * n, 1, generator=generator) + 20 * share
        score, floor = (float(SlicedWasserstein(1)(part, x[:n])) for part in x[n:].split(n))
        beyond += score > chance(SlicedWasserstein(1), x[: 2 * n], seed=1000 * seed)
        twice += score > 2 * floor
    assert beyond <= 2
    assert 10 < twice < 40


def test_samples_that_are_off_are_beyond_it():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1000, 2, generator=generator)
    found = chance(QUICK, x)
    floor = float(QUICK(x[:500], x[500:]))
    assert floor < found < 3 * floor
    assert float(QUICK(x[:500] + 0.5, x[500:])) > found


def test_of_the_same_points_there_is_none():
    assert chance(shares, torch.zeros(10, 1)) == 0.0
    with pytest.raises(ValueError, match="`repetitions` must be 2 or more: got 1"):
        chance(shares, torch.zeros(10, 1), repetitions=1)
