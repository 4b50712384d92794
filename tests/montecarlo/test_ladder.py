"""The ladder: equal rejection, its number of replicas, preconditioners by curvature."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.ladder import (
    FEWEST,
    MOST,
    curvature,
    equal_rejection,
    first_ladder,
    preconditioner,
    replicas_for,
)
from wgflow.montecarlo.replicas import drawn, placed

PRECISION = double([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 0.3]])
TARGET = Gaussian(torch.zeros(3), torch.linalg.inv(PRECISION))
START = Gaussian(torch.zeros(3), torch.diag(double([1.0, 4.0, 25.0])))


def problem(energy=TARGET):
    return Problem(Counted(energy), START, torch.empty(0, 3, dtype=F64))


def test_new_values_divide_the_barrier_equally():
    """Rejections of a barrier ``Λ(β) = 2√β``: equal parts are squares."""
    old = torch.linspace(0, 1, 200, dtype=F64)
    betas, index = equal_rejection(old, (2 * old.sqrt()).diff(), 9)
    expected = torch.linspace(0, 1, 9, dtype=F64) ** 2
    torch.testing.assert_close(betas, expected, atol=0.02, rtol=0)
    assert (betas[0], betas[-1], index[0], index[-1]) == (0, 1, 0, 199)
    assert (old[index] - betas).abs().max() < 0.02


def test_equal_rejection_is_where_it_stays():
    betas = double([0, 0.01, 0.2, 0.6, 1])
    again, index = equal_rejection(betas, torch.full((4,), 0.37, dtype=F64), 5)
    torch.testing.assert_close(again, betas)
    assert index.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rejection", [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
def test_values_rise_whatever_the_rejections_are(rejection):
    betas, _ = equal_rejection(double([0, 1e-9, 1e-3, 1]), double(rejection), 30)
    assert (betas.diff() > 0).all()
    assert (betas[0], betas[-1]) == (0, 1)


def test_there_are_twice_as_many_replicas_as_the_barrier_is_high():
    assert replicas_for(torch.full((19,), 0.5)) == 20
    assert replicas_for(torch.zeros(19)) == FEWEST
    assert replicas_for(torch.ones(1000)) == MOST


def test_the_first_ladder_begins_where_the_start_feels_v():
    steep = problem(lambda x: 50 * TARGET(x))
    walkers = drawn(steep, 12, 400, generator=seeded(0))
    ladder = first_ladder(walkers, "none")
    slopes = walkers.slopes().flatten()
    low, high = slopes.quantile(0.25), slopes.quantile(0.75)
    assert float(ladder.betas[1] * (high - low)) == pytest.approx(1)
    ratios = ladder.betas[2:] / ladder.betas[1:-1]
    torch.testing.assert_close(ratios, ratios[0].expand(10))
    assert (ladder.betas[0], ladder.betas[-1]) == (0, pytest.approx(1))


def test_the_first_scales_are_those_of_the_start():
    walkers = drawn(problem(), 12, 4000, generator=seeded(0))
    ladder = first_ladder(walkers, "diagonal")
    scales = ladder.factor[0, 0] * ladder.steps[0] * 3**0.25
    torch.testing.assert_close(scales, double([1.0, 2.0, 5.0]), rtol=0.05, atol=0)


def test_a_start_outside_of_the_support_is_refused():
    walkers = drawn(problem(lambda x: x.sum(1) * 0 + torch.inf), 4, 5, generator=seeded(0))
    with pytest.raises(ValueError, match="`start` must cover the support of V"):
        first_ladder(walkers, "none")


def target_walkers(count):
    return placed(problem(), TARGET.sample(count, dtype=F64, generator=seeded(1))[None])


def test_curvature_of_a_gaussian_is_its_precision():
    found = curvature(target_walkers(40_000), double([1.0]), "full")[0]
    # Few gradients are longer than four medians.
    torch.testing.assert_close(found, PRECISION, atol=0.1, rtol=0)
    diagonal = curvature(target_walkers(40_000), double([1.0]), "diagonal")[0, 0]
    torch.testing.assert_close(diagonal, found.diagonal())


def test_one_gradient_of_any_size_does_not_set_the_curvature():
    walkers = target_walkers(2000)
    walkers.value_grad[0, 7] = 1e20
    found = curvature(walkers, double([1.0]), "full")[0]
    torch.testing.assert_close(found, PRECISION, atol=0.6, rtol=0)


def test_preconditioners_are_roots_of_inverse_curvatures():
    many = 10**12  # no shrinkage
    factor, size = preconditioner(PRECISION[None], many, "full")
    product = factor @ factor.mT * size**2
    torch.testing.assert_close(product[0], torch.linalg.inv(PRECISION), rtol=1e-4, atol=1e-4)
    assert float(torch.linalg.det(factor)) == pytest.approx(1)
    diagonal, size = preconditioner(double([[[4.0, 0.25, 1.0]]]), many, "diagonal")
    torch.testing.assert_close(diagonal[0, 0] * size, double([0.5, 2, 1]), rtol=1e-4, atol=0)
    assert float(diagonal.log().sum()) == pytest.approx(0, abs=1e-12)


def test_few_draws_shrink_a_full_one_to_its_diagonal():
    factor, size = preconditioner(PRECISION[None], 3, "full")
    half = (PRECISION + torch.diag(PRECISION.diagonal())) / 2
    product = (factor @ factor.mT)[0] * size**2
    torch.testing.assert_close(product, torch.linalg.inv(half), rtol=1e-4, atol=1e-4)


def test_without_preconditioning_the_factor_is_one():
    factor, size = preconditioner(double([[[4.0, 0.25, 1.0]]]), 100, "none")
    assert torch.equal(factor, torch.ones_like(factor))
    assert float(size) == pytest.approx(1, rel=1e-4)
    assert math.isfinite(float(preconditioner(torch.zeros(1, 1, 3, dtype=F64), 9, "diagonal")[1]))
    assert preconditioner(torch.zeros(1, 3, 3, dtype=F64), 9, "full")[0].isfinite().all()
