"""Independence moves with draws of a density, and log Z between it and the target."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.bridge import Moves
from wgflow.montecarlo.independence import PROPOSED, acceptance, independent, log_z_of, pooled

LOCAL = Moves(double(0.5), double([1.0, 1.0]), 1, 2)
STILL = LOCAL._replace(made=0)


def mixture(*weights):
    means = double([[-3.0, 0.0], [3.0, 1.0], [0.0, 40.0]])
    return GaussianMixture(means[: len(weights)], 0.5, weights=list(weights))


def law(target, shift=0.0):
    return lambda x: target(x) + shift


def moved(start, energy, x, g, local=LOCAL):
    p = Problem(Counted(energy), start, torch.empty(0, 2, dtype=F64))
    return p, independent(p, x, local, generator=g)


def test_acceptance_is_the_mean_over_draws():
    g = seeded(0)
    w, v = (torch.randn(n, dtype=F64, generator=g).round(decimals=1) for n in (50, 200))
    w[0], v[0] = -math.inf, -math.inf
    direct = (v - w[1:, None]).exp().clamp(max=1).mean(1)
    torch.testing.assert_close(acceptance(w, v)[1:], direct)
    assert float(acceptance(w[:1], v)) == pytest.approx(1)


@pytest.mark.parametrize("spread", [0.1, 3.0, 300.0])
def test_no_point_is_taken_twice(spread):
    """As weights of draws are at most K times their mean, and those of particles one."""
    g = seeded(1)
    v = spread * torch.randn(PROPOSED * 500, dtype=F64, generator=g)
    w = spread * (torch.randn(500, dtype=F64, generator=g) + 0.1)
    weights = pooled(acceptance(w, v), v)
    assert float(weights.exp().sum()) == pytest.approx(1)
    assert float(weights[:500].exp().max()) <= 1 / 500 * (1 + 1e-9)
    left = float(weights[500:].exp().sum())
    assert float(weights[500:].exp().max()) <= left * PROPOSED / _sum_of_taken(v) * (1 + 1e-9)


def _sum_of_taken(v):
    """``Σ w κ`` over the mean of w, by its definition."""
    w = (v - v.max()).exp()
    r = 1 - (w[None, :] / w[:, None].clamp(min=1e-300)).clamp(max=1).mean(1)
    return float((w * (1 - r**PROPOSED)).sum() / w.mean())


def test_the_parts_of_particles_and_of_draws_make_the_target():
    """From N(0, 1) to N(.5, 1.2²), whose tails have weights without bound: four moments."""
    g, offs = seeded(2), []
    q, p = (Gaussian(double([m]), double([[s**2]])) for m, s in ((0.0, 1.0), (0.5, 1.2)))
    for _ in range(400):
        x, y = (d.sample(n, dtype=F64, generator=g) for d, n in ((p, 250), (q, 250 * PROPOSED)))
        w, v = (p.log_prob(z) - q.log_prob(z) for z in (x, y))
        both, weights = torch.cat([x, y])[:, 0], pooled(acceptance(w, v), v).exp()
        z = (both - 0.5) / 1.2
        offs.append(torch.stack([(weights * (z**k - m)).sum() for k, m in MOMENTS]))
    assert z_score(torch.stack(offs), torch.zeros(4, dtype=F64)).abs().max() < 4


MOMENTS = ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0))


def test_masses_become_those_of_the_target():
    """From a density of masses .4 : .6 and points of one mode alone, to .25 : .75."""
    g, n = seeded(0), 8192
    x = mixture(1.0).sample(n, dtype=F64, generator=g)
    _, found = moved(mixture(0.4, 0.6), mixture(0.25, 0.75), x, g)
    right = (found.chains.x[:, 0] > 0).double()
    assert abs(float(right.mean()) - 0.75) < 4 * math.sqrt(0.25 * 0.75 / PROPOSED / n)
    assert len(found.chains.x) == n
    assert len(found.chains.x.unique(dim=0)) == n


def test_any_part_of_an_island_has_the_law():
    """Though draws of the density come in the order of its components."""

    class Sorted(GaussianMixture):
        def sample(self, n, *, dtype=None, generator=None):
            x = super().sample(n, dtype=dtype, generator=generator)
            return x[x[:, 0].argsort()]

    start = Sorted(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5)
    target = mixture(0.5, 0.5)
    x = target.sample(8192, dtype=F64, generator=seeded(5))
    _, found = moved(start, target, x, seeded(6))
    assert abs(float(z_score((found.chains.x[:512, 0] > 0).double(), 0.5))) < 4


def test_what_the_density_lacks_stays_and_counts():
    """A third mode, of mass .2, where no draw is: points keep it, and log Z has it."""
    g, target, offs, told = seeded(1), mixture(0.2, 0.6, 0.2), [], []
    for _ in range(20):
        x = target.sample(1024, dtype=F64, generator=g)
        _, found = moved(mixture(0.3, 0.7), law(target, 5.0), x, g, STILL)
        away, still = (z[z[:, 1] > 20] for z in (x, found.chains.x))
        assert len({*map(tuple, away.tolist())} ^ {*map(tuple, still.tolist())}) <= 8
        z = log_z_of(found, 0.0)
        offs.append(z.value + 5.0)
        told.append(z.error)
    offs, told = double(offs), double(told)
    assert abs(float(z_score(offs, 0.0))) < 4
    assert float(told.mean()) < 0.03 < abs(math.log(0.8))
    assert 0.6 < float(offs.square().mean() / told.square().mean()) ** 0.5 < 1.5


@pytest.mark.parametrize("count", [2, 17, 401])
def test_any_number_of_points(count):
    x = mixture(0.5, 0.5).sample(count, dtype=F64, generator=seeded(3))
    _, found = moved(mixture(0.4, 0.6), mixture(0.25, 0.75), x, seeded(4))
    assert found.chains.x.shape == x.shape
    assert found.chains.x.isfinite().all()
