"""Moves and exchanges leave the product of tempered laws as it is; no wall or pole breaks them."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian
from wgflow.montecarlo import bridge
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.replicas import (
    Ladder,
    drawn,
    exchange_ratios,
    exchanged,
    explored,
    hamiltonian,
    placed,
)

START = Gaussian(double([0.5, 0.0]), 4 * torch.eye(2, dtype=F64))
TARGET = Gaussian(double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]]))
BETAS = double([0.0, 0.15, 0.5, 1.0])
CHAINS = 3000
DIAGONAL = double([[[1.2, 0.7]]]).expand(4, 1, 2)
FULL = double([[[1.0, 0.4], [0.0, 0.8]]]).expand(4, 2, 2)


def problem(energy=TARGET, start=START):
    return Problem(Counted(energy), start, torch.empty(0, start.dim, dtype=F64))


def ladder(factor=FULL, steps=(1.0, 1.3, 1.0, 0.8)):
    return Ladder(BETAS, double(steps), factor)


def laws():
    """``π_β`` of Gaussians: precisions are mixed, and so are they with means."""
    ends = [t.whiten.T @ t.whiten for t in (START, TARGET)]
    for b in BETAS.tolist():
        p = (1 - b) * ends[0] + b * ends[1]
        pull = (1 - b) * ends[0] @ START.mean + b * ends[1] @ TARGET.mean
        yield Gaussian(torch.linalg.solve(p, pull), torch.linalg.inv(p))


def exact(seed=0):
    g = seeded(seed)
    x = torch.stack([law.sample(CHAINS, dtype=F64, generator=g) for law in laws()])
    return placed(problem(), x)


def worst(x):
    """Largest z-score of means and second moments of each replica, (K, C, d)."""
    scores = []
    for points, law in zip(x, laws(), strict=True):
        u = (points - law.mean) @ law.whiten.T
        f = torch.cat([u, u.square() - 1, u.prod(1, keepdim=True)], 1)
        scores.append(z_score(f, 0.0).abs().max())
    return float(max(scores))


KINDS = {"mala": (FULL, 1, 2.0), "hmc": (DIAGONAL, 3, 2.0), "held back": (FULL, 2, 0.4)}


@pytest.mark.parametrize("kind", KINDS)
def test_sweeps_leave_the_tempered_laws_as_they_are(kind, monkeypatch):
    factor, leapfrog, reach = KINDS[kind]
    monkeypatch.setattr(bridge, "TAMED", reach)
    walkers, g = exact(), seeded(1)
    for n in range(12):
        walkers, accepted = explored(problem(), walkers, ladder(factor), leapfrog, generator=g)
        walkers = exchanged(walkers, BETAS, n % 2, generator=g)
    assert worst(walkers.x) < 4
    assert 0.3 < float(accepted.mean()) < 0.98


def test_small_steps_keep_the_energy_and_the_hottest_is_drawn_anew():
    before = exact()
    after, accepted = explored(problem(), before, ladder(FULL, [0.05] * 4), 3, generator=seeded(1))
    assert float(accepted.mean()) > 0.99
    assert (after.x != before.x).all(2).double().mean() > 0.98
    fresh, old = (w.x[0] - START.mean for w in (after, before))
    assert float(z_score(fresh * old / 4, 0.0).abs().max()) < 4
    near = (after.x[1:] - before.x[1:]).norm(dim=2)
    assert 0 < float(near.mean()) < 0.5


def test_exchanges_alone_leave_them_too_and_move_points():
    before = exact(3)
    after = exchanged(before, BETAS, 0, generator=seeded(4))
    assert worst(after.x) < 4
    moved = (after.x != before.x).any(2).double().mean(1)
    torch.testing.assert_close(moved[0], moved[1])
    expected = exchange_ratios(before, BETAS).clamp(max=0).exp().mean(1)
    assert abs(float(moved[0] - expected[0])) < 4 * 0.5 / math.sqrt(CHAINS)
    assert 0.2 < float(expected.min()) < float(expected.max()) < 1


@pytest.mark.parametrize("parity", [0, 1])
def test_neighbours_of_one_parity_exchange_everything_they_carry(parity):
    x = torch.arange(8, dtype=F64).reshape(4, 1, 2).expand(4, 3, 2)
    walkers = placed(problem(lambda x: 100 * x.square().sum(1)), x)  # the hot is the lower
    swapped = exchanged(walkers, BETAS, parity, generator=seeded(0))
    order = [1, 0, 3, 2] if parity == 0 else [0, 2, 1, 3]
    falls = placed(problem(lambda x: -100 * x.square().sum(1)), x)
    assert torch.equal(exchanged(falls, BETAS, parity, generator=seeded(0)).x, falls.x)
    assert (exchange_ratios(falls, BETAS) < -100).all()
    for new, old in zip(swapped, walkers, strict=True):
        assert torch.equal(new, old[order])


def test_ratio_of_an_exchange_is_that_of_the_laws():
    walkers, (a, b) = exact(5), (1, 2)
    law = [*laws()]
    x, y = walkers.x[a], walkers.x[b]
    log = law[a].log_prob(y) + law[b].log_prob(x) - law[a].log_prob(x) - law[b].log_prob(y)
    torch.testing.assert_close(exchange_ratios(walkers, BETAS)[a], log)


def test_walkers_know_their_energies_and_gradients():
    walkers = exact()
    energy, grad = walkers.tempered(BETAS)
    for k, law in enumerate(laws()):
        pull = (walkers.x[k] - law.mean) @ (law.whiten.T @ law.whiten)
        torch.testing.assert_close(grad[k], pull)
        gap = energy[k] - law(walkers.x[k])
        torch.testing.assert_close(gap, gap[0].expand(CHAINS))


# Walls and poles -------------------------------------------------------------------------------


def wall(x):
    return torch.where(x[:, 0] > 0, x.square().sum(1) / 2, torch.inf)


def half_normal(seed):
    """Exact draws of tempered laws where V is infinite on one side, and their deviations."""
    start = Gaussian([0.0], [[4.0]])
    deviations = (1 / ((1 - BETAS) / 4 + BETAS)).sqrt()
    x = deviations[:, None, None] * torch.randn(4, CHAINS, 1, dtype=F64, generator=seeded(seed))
    x[1:] = x[1:].abs()
    return problem(wall, start), x, deviations


def test_a_wall_reflects_none_and_lets_none_through():
    walled, x, deviations = half_normal(0)
    walkers, g = placed(walled, x), seeded(1)
    rungs = Ladder(BETAS, 0.8 * deviations, torch.ones(4, 1, 1, dtype=F64))
    for n in range(12):
        walkers, _ = explored(walled, walkers, rungs, 1, generator=g)
        walkers = exchanged(walkers, BETAS, n % 2, generator=g)
    u = walkers.x[:, :, 0] / deviations[:, None]
    assert (u[1:] > 0).all()
    assert abs(float((u[0] > 0).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(CHAINS)
    f = torch.stack([u[1:] - math.sqrt(2 / math.pi), u[1:].square() - 1], 2)
    assert max(float(z_score(part, 0.0).abs().max()) for part in f) < 4


def pole(x):
    return x.square().sum(1) ** -12


def test_poles_give_no_nan_and_are_left():
    steep = problem(pole)
    x = 1e-20 * torch.randn(4, 50, 2, dtype=F64, generator=seeded(0))
    x[:, 0] = 0.0
    walkers, g = placed(steep, x), seeded(1)
    assert walkers.value.isinf().all()
    for n in range(30):
        walkers, _ = explored(steep, walkers, ladder(), 1, generator=g)
        walkers = exchanged(walkers, BETAS, n % 2, generator=g)
    assert all(field.isfinite().all() for field in walkers[:2])
    assert (walkers.value[1:] < 1e3).all()


def test_a_huge_gradient_moves_points_no_further_than_its_reach():
    steep = problem(lambda x: 1e30 * x[:, 0].clamp(min=0))
    start = placed(steep, torch.ones(4, 200, 2, dtype=F64))
    rungs = ladder(torch.ones(4, 1, 2, dtype=F64))
    moved, accepted = hamiltonian(steep, start, rungs, 1, generator=seeded(0))
    assert accepted.isfinite().all()
    limit = rungs.steps.max() * (math.sqrt(2) + 5)
    assert (moved.x - 1).abs().max() < limit
    assert float((moved.x[1:, :, 0] < 0).double().mean()) > 0.5


def test_a_move_to_where_v_has_no_bottom_is_an_error_that_names_the_point():
    def broken(x):
        return torch.where(x[:, 0] > 0.5, -math.inf, x.square().sum(1))

    x = torch.full((4, 500, 2), 0.4, dtype=F64)
    with pytest.raises(ValueError, match=r"must be a number above -inf .* got -inf at x = \("):
        hamiltonian(problem(broken), placed(problem(broken), x), ladder(), 1, generator=seeded(0))


@pytest.mark.parametrize("outside", [math.inf, math.nan])
def test_no_move_is_accepted_outside_the_support(outside):
    def walled(x):
        return torch.where(x[:, 0] > 0.5, outside, x.square().sum(1))

    x = torch.full((4, 500, 2), 0.4, dtype=F64)
    start = placed(problem(walled), x)
    walkers, _ = hamiltonian(problem(walled), start, ladder(), 1, generator=seeded(0))
    assert (walkers.x[1:, :, 0] <= 0.5).all()
    assert walkers.value[1:].isfinite().all()


def test_draws_are_those_of_the_start():
    walkers = drawn(problem(), 3, 2000, generator=seeded(2))
    u = (walkers.x.flatten(0, 1) - START.mean) @ START.whiten.T
    assert float(z_score(torch.cat([u, u.square() - 1], 1), 0.0).abs().max()) < 4
    assert walkers.x.shape == (3, 2000, 2)
