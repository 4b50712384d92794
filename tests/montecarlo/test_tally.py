"""``log Z`` of tallies against exact draws, Bennett's root and the stepping stones of works."""

import math
from itertools import pairwise

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian
from wgflow.likelihood.annealing import CHANCE, bennett, sandwich
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.replicas import Walkers, placed
from wgflow.montecarlo.tally import empty

SCALES = double([2.0, 1.4, 1.0])
"""Of ``π_β``, centred Gaussians of the plane: precisions 1/4, 1/2 and 1, so β = 0, 1/3 and 1."""
BETAS = double([0.0, 1 / 3, 1.0])
START = Gaussian(torch.zeros(2), 4 * torch.eye(2))
TARGET = Gaussian(torch.zeros(2), torch.eye(2))
SHIFTS = double([-0.5, -0.7])


def walkers(chains, generator):
    scales = (1 / ((1 - BETAS) / 4 + BETAS)).sqrt()
    x = scales[:, None, None] * torch.randn(3, chains, 2, dtype=F64, generator=generator)
    return placed(Problem(Counted(TARGET), START, x[0, :0]), x)


def tallied(sweeps, chains, seed, shifts=SHIFTS, repeats=1):
    g = seeded(seed)
    tally = empty(walkers(chains, g), torch.zeros(()))
    for _ in range(sweeps):
        points = walkers(chains, g)
        for _ in range(repeats):
            tally = tally.added(points, BETAS, shifts, torch.full((2, chains), 0.25))
    return tally, points


def scores(repeats, count=60):
    found = [tallied(5, 40, s, repeats=repeats)[0] for s in range(count)]
    values = [tally.log_z(SHIFTS, START.log_z) for tally in found]
    return double([(z.value - TARGET.log_z) / z.error for z in values])


@pytest.mark.parametrize("repeats", [1, 4])
def test_values_vary_about_the_truth_as_their_errors_say(repeats):
    """Also where each point is counted four times over: chains, not sweeps, are independent."""
    z = scores(repeats)
    assert abs(float(z.mean())) * math.sqrt(len(z)) < 4
    assert abs(float(z.std()) - 1) < 4 / math.sqrt(2 * len(z))


def test_shifts_at_bennetts_root_give_bennetts_ratio():
    _, points = tallied(1, 500, 3)
    works = -BETAS.diff()[:, None] * torch.stack([points.slopes()[:-1], points.slopes()[1:]])
    roots = [bennett(*works[:, k]) for k in range(2)]
    shifts = double([root for root, _ in roots])
    tally = empty(points, torch.zeros(())).added(points, BETAS, shifts, torch.zeros(2, 500))
    z = tally.log_z(shifts, 0.0)
    assert z.value == pytest.approx(float(shifts.sum()), abs=1e-8)
    # Replicas of one chain are independent here, so that errors of pairs almost add up.
    lower, upper = (sum(side) for side in zip(*(sandwich(*works[:, k]) for k in range(2))))  # noqa: B905
    assert (z.lower, z.upper) == pytest.approx((lower, upper))
    assert z.error == pytest.approx(math.hypot(*(error for _, error in roots)), rel=0.3)


def test_chains_and_sweeps_are_pooled():
    points = walkers(40, seeded(1))
    none, moved = empty(points, torch.zeros(())), torch.zeros(2, 40)
    once = none.added(points, BETAS, SHIFTS, moved)
    halves = [Walkers(*(f[:, part] for f in points)) for part in (slice(20), slice(20, 40))]
    twice = empty(halves[0], torch.zeros(()))
    for half in halves:
        twice = twice.added(half, BETAS, SHIFTS, moved[:, :20])
    a, b = once.log_z(SHIFTS, 1.5), twice.log_z(SHIFTS, 1.5)
    assert (a.value, a.lower, a.upper) == pytest.approx((b.value, b.lower, b.upper))


def test_means_of_acceptance_and_rejection():
    tally, _ = tallied(50, 200, 0)
    torch.testing.assert_close(tally.acceptance, double([12.5, 12.5]))
    # Λ between N(0, s²I) of the plane by quadrature of two exponential energies a and b:
    # E min(1, e^{(p-q)(e-f)}) with e ~ p e^{-pe}, f ~ q e^{-qf}, p < q, is 2p/(p+q).
    p = ((1 - BETAS) / 4 + BETAS).tolist()
    exact = double([1 - 2 * a / (a + b) for a, b in pairwise(p)])
    error = 4 * 0.5 / math.sqrt(50 * 200)
    torch.testing.assert_close(tally.rejection / 50, exact, atol=error, rtol=0)


def test_bounds_that_contradict_each_other_leave_no_value():
    points = walkers(10, seeded(0))
    wrong = points._replace(value=points.value + 10 * CHANCE * torch.arange(3.0)[:, None])
    tally = empty(points, torch.zeros(())).added(wrong, BETAS, SHIFTS, torch.zeros(2, 10))
    z = tally.log_z(SHIFTS, 0.0)
    assert z.lower > z.upper + 2 * CHANCE
    assert math.isnan(z.value)
    assert math.isinf(z.error)


def test_points_outside_of_the_support_weigh_nothing():
    points = walkers(10, seeded(0))
    points.value[0, :5] = torch.inf
    tally = empty(points, torch.zeros(())).added(points, BETAS, SHIFTS, torch.zeros(2, 10))
    assert (tally.forward[0, :5] == -torch.inf).all()
    assert math.isfinite(tally.log_z(SHIFTS, 0.0).value)
    assert tally.rejection[0] >= 0.5
