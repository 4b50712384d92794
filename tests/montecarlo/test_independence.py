"""Independence moves with draws of a density, and log Z between it and the target."""

import math

import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import GaussianMixture
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.bridge import Moves
from wgflow.montecarlo.independence import FEWEST, SWEEPS, independent, log_z_of, proposals

NEAR = Moves(double(0.5), double([1.0, 1.0]), 1, 2)


def mixture(*weights):
    means = double([[-3.0, 0.0], [3.0, 1.0], [0.0, 40.0]])
    return GaussianMixture(means[: len(weights)], 0.5, weights=list(weights))


def law(target, shift=0.0):
    return lambda x: target(x) + shift


def moved(start, energy, x, g):
    p = Problem(Counted(energy), start, torch.empty(0, 2, dtype=F64))
    return p, independent(p, x, proposals(p, len(x), g), NEAR, generator=g)


def test_masses_become_those_of_the_target():
    """From a density of masses .4 : .6 and points of one mode alone, to .25 : .75."""
    g, n = seeded(0), 8192
    x = mixture(1.0).sample(n, dtype=F64, generator=g)
    _, found = moved(mixture(0.4, 0.6), mixture(0.25, 0.75), x, g)
    assert FEWEST <= len(found.log_weight) <= SWEEPS
    right = (found.chains.x[:, 0] > 0).double()
    assert abs(float(z_score(right, 0.75))) < 4
    assert len(found.chains.x.unique(dim=0)) > 0.99 * n


def test_what_the_density_lacks_stays_and_counts():
    """A third mode, of mass .2, where no draw is: points keep it, and log Z has it."""
    g, target, offs, told = seeded(1), mixture(0.2, 0.6, 0.2), [], []
    for _ in range(20):
        x = target.sample(1024, dtype=F64, generator=g)
        away = x[:, 1] > 20
        _, found = moved(mixture(0.3, 0.7), law(target, 5.0), x, g)
        assert torch.equal(found.chains.x[:, 1] > 20, away)
        z = log_z_of(found, 0.0)
        offs.append(z.value + 5.0)
        told.append(z.error)
    offs, told = double(offs), double(told)
    assert abs(float(z_score(offs, 0.0))) < 4
    assert float(told.mean()) < 0.04 < abs(math.log(0.8))
    assert 0.6 < float(offs.square().mean() / told.square().mean()) ** 0.5 < 1.5


def test_proposals_are_in_random_order():
    """So that a particle's proposal has the law of the whole density, not of one part."""

    class Sorted(GaussianMixture):
        def sample(self, n, *, dtype=None, generator=None):
            x = super().sample(n, dtype=dtype, generator=generator)
            return x[x[:, 0].argsort()]

    start = Sorted(double([[-3.0, 0.0], [3.0, 0.0]]), 0.5)
    p = Problem(Counted(start), start, torch.empty(0, 2, dtype=F64))
    first = proposals(p, 4096, seeded(2)).x[:2048, 0]
    assert abs(float(z_score((first > 0).double(), 0.5))) < 4
