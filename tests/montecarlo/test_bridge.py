"""Bridges: exact moves, forces that are cut, curvature and the next β."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.bridge import (
    TAMED,
    Chains,
    Moves,
    chains_at,
    factor_of,
    log_weights,
    moved,
    next_beta,
    tamed,
)
from wgflow.montecarlo.evaluation import evaluated

START = Gaussian(double([0.0, 1.0]), double([[4.0, 0.0], [0.0, 9.0]]))
TARGET = Gaussian(double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]]))
FULL = torch.linalg.cholesky(double([[1.2, 0.5], [0.5, 1.0]]))
DIAGONAL = double([1.1, 0.8])


def problem(energy=TARGET, start=START):
    return Problem(Counted(energy), start, torch.empty(0, start.dim, dtype=F64))


def between(beta):
    """The Gaussian of ``(1-β) E_0 + β V``."""
    ends = [(1 - beta, START), (beta, TARGET)]
    precisions = [a * g.whiten.T @ g.whiten for a, g in ends]
    covariance = torch.linalg.inv(sum(precisions))
    pull = sum(p @ g.mean for p, (_, g) in zip(precisions, ends, strict=True))
    return Gaussian(covariance @ pull, (covariance + covariance.T) / 2)


def box(x):
    """Zero on ``[-1, 1]²``; infinite outside, with a gradient that is not a number."""
    outside = (x.abs() > 1).any(1)
    return torch.where(outside, math.inf, 0 * (1 - x.square()).sqrt().sum(1))


def after(p, x, beta, moves, times):
    """Positions after some moves, and acceptance probabilities of the last."""
    chains, g = chains_at(p, x), seeded(1)
    for _ in range(times):
        chains, acceptance = moved(p, chains, beta, moves, generator=g)
    return chains, acceptance


def standard(u):
    """What has the means 0, 1, 0 and 3 of standard normal u."""
    return torch.cat([u, u**2 - 1, (u[:, 0] * u[:, 1])[:, None], u**4 - 3], 1)


@pytest.mark.parametrize("leapfrog", [1, 3])
@pytest.mark.parametrize("factor", [DIAGONAL, FULL], ids=["diagonal", "full"])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_moves_leave_the_law_at_every_beta(beta, factor, leapfrog):
    law = between(beta)
    x = law.sample(20_000, dtype=F64, generator=seeded(0))
    moves = Moves(double(0.8), factor, leapfrog)
    chains, acceptance = after(problem(), x, beta, moves, 10)
    u = (chains.x - law.mean) @ law.whiten.T
    assert z_score(standard(u), 0).abs().max() < 4
    assert 0.3 < float(acceptance.mean()) < 0.995
    assert float((chains.x != x).any(1).double().mean()) > 0.95


@pytest.mark.parametrize("leapfrog", [1, 3])
def test_a_law_on_a_box_stays_uniform(leapfrog):
    x = 2 * torch.rand(20_000, 2, dtype=F64, generator=seeded(0)) - 1
    moves = Moves(double(0.7), double([1.0, 1.0]), leapfrog)
    chains, acceptance = after(problem(box), x, 1.0, moves, 10)
    y = chains.x
    assert z_score(torch.cat([y, y**2 - 1 / 3, y**4 - 1 / 5], 1), 0).abs().max() < 4
    assert 0.1 < float(acceptance.mean()) < 0.9
    assert (y.abs() <= 1).all()


def test_chains_come_in_from_outside_the_support():
    x = double([[1.5, 0.0]]).expand(500, 2)
    chains, acceptance = after(problem(box), x, 1.0, Moves(double(1.0), double([1.0, 1.0])), 40)
    assert acceptance.isfinite().all()
    assert (chains.x.abs() <= 1).all(1).double().mean() > 0.9


def test_cut_forces_keep_the_law():
    """Of a Gaussian so narrow that the force of every other chain is cut."""
    law = Gaussian(torch.zeros(2), 0.04 * torch.eye(2))
    x = law.sample(20_000, dtype=F64, generator=seeded(0))
    moves = Moves(double(0.45), double([1.0, 1.0]))
    chains, acceptance = after(problem(law), x, 1.0, moves, 15)
    cut = (moves.step * evaluated(law, x)[1]).norm(dim=1) > TAMED * math.sqrt(2)
    assert 0.2 < float(cut.double().mean()) < 0.8
    assert z_score(standard(chains.x / 0.2), 0).abs().max() < 4
    assert float(acceptance.mean()) > 0.1


def test_long_forces_are_cut_and_others_are_not():
    force, step = double([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [3e9, 4e9]]), double([[2.0]] * 4)
    cut = tamed(force, step)
    torch.testing.assert_close(cut[1:3], force[1:3])
    assert (cut[[0, 3]].norm(dim=1) * 2).tolist() == pytest.approx([TAMED * math.sqrt(2)] * 2)
    torch.testing.assert_close(cut[0] / cut[0].norm(), double([0.6, 0.8]))


def test_what_is_known_of_moved_chains_is_right_and_was_evaluated_once():
    p = problem()
    start = chains_at(p, START.sample(50, dtype=F64, generator=seeded(0)))
    chains, _ = moved(p, start, 0.3, Moves(double(1.0), FULL, 3), generator=seeded(1))
    assert p.energy.evaluations == 50 * (1 + 3)
    for found, again in zip(chains, chains_at(p, chains.x), strict=True):
        torch.testing.assert_close(found, again)


def test_whitened_gradients_and_coloured_momenta():
    """``Lᵀg`` and ``Lp``: with ``LLᵀ = C`` their product is ``gᵀCp``."""
    g, p = double([[1.0, 2.0]]), double([[-1.0, 0.5]])
    full = Moves(double(1.0), FULL)
    torch.testing.assert_close(full.whiten(g), (FULL.T @ g[0])[None])
    torch.testing.assert_close(full.colour(p), (FULL @ p[0])[None])
    diagonal = Moves(double(1.0), DIAGONAL)
    torch.testing.assert_close(diagonal.whiten(g), double([[1.1, 1.6]]))
    torch.testing.assert_close(diagonal.colour(p), double([[-1.1, 0.4]]))


COVARIANCE = double([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 0.3]])
NONE = torch.zeros(20_000, dtype=F64)


def relative(factor, covariance):
    """``LLᵀ`` in units in which the covariance is the identity."""
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return whiten @ factor @ factor.T @ whiten.T


def test_the_factor_of_a_gaussian_is_that_of_its_covariance():
    law = Gaussian(double([1.0, 2.0, 3.0]), COVARIANCE)
    x = law.sample(20_000, dtype=F64, generator=seeded(0))
    found = relative(factor_of(x, evaluated(law, x)[1], NONE), COVARIANCE)
    assert float((found - torch.eye(3)).abs().max()) < 4 * math.sqrt(2 / 20_000)


def test_weights_count_in_the_factor():
    wide = Gaussian(torch.zeros(3), 1.7 * COVARIANCE)
    law = Gaussian(torch.zeros(3), COVARIANCE)
    x = wide.sample(20_000, dtype=F64, generator=seeded(0))
    found = relative(factor_of(x, evaluated(law, x)[1], wide(x) - law(x)), COVARIANCE)
    assert float((found - torch.eye(3)).abs().max()) < 0.07


def test_of_separate_modes_the_factor_is_that_of_the_covariance_within():
    law = GaussianMixture(double([[-9.0, 0.0], [9.0, 5.0]]), 0.5, weights=[0.3, 0.7])
    x = law.sample(20_000, dtype=F64, generator=seeded(0))
    found = relative(factor_of(x, evaluated(law, x)[1], NONE), 0.25 * torch.eye(2, dtype=F64))
    assert float((found - torch.eye(2)).abs().max()) < 0.05


def test_one_steep_place_does_not_hold_all_chains():
    grad = torch.randn(2000, 2, dtype=F64, generator=seeded(0))
    grad[0] = 1e9
    factor = factor_of(9 * grad, grad, torch.zeros(2000, dtype=F64))
    assert float((factor @ factor.T).diagonal().min()) > 0.85


def test_above_a_thousand_coordinates_the_factor_is_a_diagonal():
    scale = torch.linspace(0.1, 10, 1001, dtype=F64)
    grad = torch.randn(400, 1001, dtype=F64, generator=seeded(0)) / scale
    factor = factor_of(9 * scale**2 * grad, grad, torch.zeros(400, dtype=F64))
    assert factor.shape == (1001,)
    torch.testing.assert_close(factor, scale, rtol=0.25, atol=0)
    assert float((factor / scale).mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("grad", [torch.randn(10, 50, generator=seeded(0)), torch.zeros(10, 3)])
def test_the_factor_exists_with_few_particles_and_without_forces(grad):
    for x in (torch.randn(grad.shape, generator=seeded(1)), torch.ones(grad.shape)):
        factor = factor_of(x, grad, torch.zeros(10, dtype=F64))
        assert factor.isfinite().all()
        assert (torch.linalg.eigvalsh(factor.double() @ factor.double().T) > 0).all()


def test_where_the_energy_is_level_moves_are_of_the_width_of_the_space():
    """On ``[-2, 2] × [-1/2, 1/2]`` a coordinate has no force, and so the variance for ``F⁻¹``."""
    x = (torch.rand(20_000, 2, dtype=F64, generator=seeded(0)) - 0.5) * double([4.0, 1.0])
    found = factor_of(x, torch.zeros_like(x), NONE)
    torch.testing.assert_close(found.square(), torch.diag(x.var(0)), rtol=1e-3, atol=1e-12)


def fraction_at(chains, log_weight, old, new):
    """``(Σ W w)²/Σ W w²`` by hand."""
    weight = log_weight.exp() / log_weight.exp().sum()
    w = ((new - old) * (chains.start - chains.target)).exp()
    return float((weight * w).sum() ** 2 / (weight * w**2).sum())


@pytest.mark.parametrize(("old", "fraction"), [(0.0, 0.9), (0.0, 0.5), (0.02, 0.97)])
def test_the_next_beta_keeps_the_fraction(old, fraction):
    p = problem(lambda x: 20 * TARGET(x))
    chains = chains_at(p, START.sample(400, dtype=F64, generator=seeded(0)))
    log_weight = torch.randn(400, dtype=F64, generator=seeded(1)) + 100
    new = next_beta(chains, log_weight, old, fraction)
    assert old < new < 1
    assert fraction_at(chains, log_weight - 100, old, new) == pytest.approx(fraction, abs=1e-9)


def test_where_all_fit_the_next_beta_is_one():
    p = problem(lambda x: START(x) + 0.01 * x[:, 0])
    chains = chains_at(p, START.sample(100, dtype=F64, generator=seeded(0)))
    assert next_beta(chains, torch.zeros(100), 0.0, 0.97) == 1.0


def test_the_last_change_may_keep_less():
    p = problem()
    chains = chains_at(p, START.sample(400, dtype=F64, generator=seeded(0)))
    weights = torch.zeros(400, dtype=F64)
    kept = fraction_at(chains, weights, 0.3, 1.0)
    assert next_beta(chains, weights, 0.3, 0.99, kept - 1e-6) == 1.0
    by_small_steps = next_beta(chains, weights, 0.3, 0.99)
    assert next_beta(chains, weights, 0.3, 0.99, kept + 1e-6) == by_small_steps < 1


def test_beta_rises_where_many_chains_are_outside_the_support():
    chains = chains_at(problem(box), START.sample(300, dtype=F64, generator=seeded(0)))
    weights, new = torch.zeros(300, dtype=F64), 0.0
    for _ in range(2):
        old, new = new, next_beta(chains, weights, new, 0.9)
        assert new > old
        weights = weights + log_weights(chains, old, new)
    assert new > 1e-3  # outside has no weight any more
    assert torch.equal(weights == -math.inf, box(chains.x) == math.inf)


def test_weights_of_a_change():
    chains = chains_at(problem(), double([[0.5, 0.5], [2.0, -1.0]]).float())
    expected = chains.energy(0.2).double() - chains.energy(0.7).double()
    found = log_weights(chains, 0.2, 0.7)
    assert found.dtype == F64
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_start_is_finite_where_the_target_is_not():
    chains = chains_at(problem(box), double([[5.0, 0.0]]))
    assert chains.energy(0.0).isfinite().all()
    assert float(chains.energy(1e-9)) == math.inf
    assert torch.equal(chains.target_grad, torch.zeros(1, 2, dtype=F64))


def test_chains_interpolate_energies_and_gradients():
    chains = Chains(*(double([[v]]) if v % 2 else double([v]) for v in (1, 2, 3, 6, 7)))
    assert float(chains.energy(0.25)) == 3.0
    assert float(chains.grad(0.25)) == 4.0
