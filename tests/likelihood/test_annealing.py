"""log Z by annealing both ways: Bennett's ratio on exact works, Gaussians and a mixture."""

import math
from itertools import pairwise

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.energies.base import Sum
from wgflow.likelihood.annealing import (
    bennett,
    changed,
    geometric,
    joined,
    log_z,
    moment_match,
    schedule,
    work,
)
from wgflow.samplers import MALA, ULA

C = 3.7
MOVE = MALA(0.3)


def works(sigma, n, m, generator, c=C):
    """Works that obey Crooks, ``p'(w) = p(w) e^{w-c}``: Gaussians of variance σ², σ² apart."""
    forward = c - sigma**2 / 2 + sigma * torch.randn(n, dtype=F64, generator=generator)
    backward = c + sigma**2 / 2 + sigma * torch.randn(m, dtype=F64, generator=generator)
    return forward, backward


def correlated(d):
    """A Gaussian of dimension d with unequal, correlated coordinates."""
    a = torch.randn(d, d, dtype=F64, generator=seeded(d))
    return Gaussian(
        torch.linspace(-1, 1, d, dtype=F64), 0.3 * torch.eye(d, dtype=F64) + a @ a.T / d
    )


def isotropic(d, variance=1.0):
    return Gaussian(torch.zeros(d, dtype=F64), variance * torch.eye(d, dtype=F64))


# The path --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperatures", [1, 2, 7, 200])
def test_schedule_goes_from_0_to_1_symmetrically(temperatures):
    betas = schedule(temperatures)
    assert len(betas) == temperatures + 1
    assert (betas[0], betas[-1]) == (0, 1)
    assert all(a < b for a, b in pairwise(betas))
    assert betas == pytest.approx([1 - b for b in reversed(betas)], abs=1e-12)


def test_schedule_is_dense_at_both_ends():
    betas = schedule(200)
    assert betas[1] < 0.1 * (betas[101] - betas[100])


def test_a_geometric_path_stiffens_in_equal_ratios():
    betas = double(geometric(30, 399.0))
    assert (betas[0], betas[-1]) == (0, 1)
    ratio = (1 + 399 * betas[1:]) / (1 + 399 * betas[:-1])
    torch.testing.assert_close(ratio, torch.full_like(ratio, 400 ** (1 / 30)))


# Bennett ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sigma", "n", "m"),
    [(0.3, 200, 200), (1.0, 200, 200), (2.0, 400, 400), (1.0, 300, 60), (1.0, 60, 300)],
)
def test_bennett_is_right_and_knows_its_error(sigma, n, m):
    generator = seeded(1)
    runs = [bennett(*works(sigma, n, m, generator)) for _ in range(250)]
    values, errors = double(runs).T
    assert abs(float(z_score(values, C))) < 4
    assert float(errors.square().mean().sqrt() / values.std()) == pytest.approx(1, abs=0.25)


def test_bennett_beats_either_side_alone():
    generator = seeded(2)
    pairs = [works(1.5, 200, 200, generator) for _ in range(200)]
    both = double([bennett(*pair)[0] for pair in pairs])
    alone = torch.stack([forward.logsumexp(0) - math.log(200) for forward, _ in pairs])
    assert both.std() < 0.8 * alone.std()


def test_bennett_is_the_root_of_its_equation():
    """``Σ σ(W - c + log m/n) = Σ σ(c - log m/n - W')``, on hand-made works."""
    forward, backward = double([0.0, 1.0]), double([1.0, 2.0])
    assert bennett(forward, backward)[0] == pytest.approx(1, abs=1e-9)  # by symmetry
    forward, backward = works(1.0, 40, 25, seeded(3))
    c, _ = bennett(forward, backward)
    d = c - math.log(25 / 40)
    up, down = (forward - d).sigmoid().sum(), (d - backward).sigmoid().sum()
    assert float(up) == pytest.approx(float(down), rel=1e-8)


@pytest.mark.parametrize("gap", [50.0, 450.0, 800.0])
@pytest.mark.parametrize("n", [16, 1000])
def test_the_error_is_as_wide_as_the_sandwich_where_works_do_not_overlap(gap, n):
    noise = 3 * torch.randn(2, n, dtype=F64, generator=seeded(5))
    forward, backward = noise[0] - gap, noise[1] + gap
    found = joined(forward, backward)
    assert found.lower < -0.8 * gap
    assert found.upper > 0.8 * gap
    assert found.error >= 0.999 * (found.upper - found.lower) / 2


@pytest.mark.parametrize(("n", "m"), [(50, 50), (80, 20)])
def test_bennett_turns_with_the_direction_and_shifts_with_the_works(n, m):
    forward, backward = works(1.0, n, m, seeded(4))
    c, error = bennett(forward, backward)
    assert bennett(-backward, -forward) == pytest.approx((-c, error), abs=1e-8)
    for shift in (-1000.0, 5.0):
        moved = bennett(forward + shift, backward + shift)
        assert moved == pytest.approx((c + shift, error), abs=1e-8)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1)])
def test_bennett_needs_two_works_a_side(n, m):
    with pytest.raises(ValueError, match="must have 2 works each or more"):
        bennett(torch.zeros(n, dtype=F64), torch.zeros(m, dtype=F64))


# Works -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("betas", [[0.0, 1.0], schedule(10), schedule(10)[::-1]])
def test_no_work_is_done_from_a_law_to_itself(betas):
    target = correlated(2)
    x = target.sample(50, dtype=F64, generator=seeded(5))
    w = work(target, target, x, betas, MOVE, generator=seeded(6))
    assert w.dtype == F64
    torch.testing.assert_close(w, torch.zeros(50, dtype=F64), rtol=0, atol=1e-12)


def test_one_step_of_work_is_the_difference_of_energies():
    start, end = isotropic(2), correlated(2)
    x = start.sample(50, dtype=F64, generator=seeded(5))
    w = work(start, end, x, [0.0, 1.0], MOVE, generator=seeded(6))
    torch.testing.assert_close(w, start(x) - end(x))


@pytest.mark.parametrize("sampler", [MALA(0.3, adaptation=0.0), ULA(0.2)], ids=["mala", "ula"])
def test_works_are_unbiased_both_ways(sampler):
    """``E[e^W] = Z/Z_0`` and ``E[e^{-W'}] = Z_0/Z``, with few temperatures, even unadjusted."""
    start, end = isotropic(2), isotropic(2, 0.4)
    betas, generator = schedule(4), seeded(7)
    x = start.sample(20_000, dtype=F64, generator=generator)
    w = work(start, end, x, betas, sampler, generator=generator)
    assert w.std() > 0.1
    assert abs(float(z_score((w - end.log_z + start.log_z).exp(), 1))) < 4
    x = end.sample(20_000, dtype=F64, generator=generator)
    w = work(start, end, x, betas[::-1], sampler, generator=generator)
    assert abs(float(z_score((w + end.log_z - start.log_z).exp(), 1))) < 4


@pytest.mark.parametrize(("old", "new"), [(0.0, 0.3), (0.3, 0.7), (0.7, 1.0), (0.7, 0.0)], ids=str)
def test_a_change_of_beta_is_known_without_the_energy(old, new):
    """Energies are linear in β: nothing but the reference is evaluated, except from there."""
    start, end, asked = isotropic(3), correlated(3), []

    def counted(x):
        asked.append(len(x))
        return end(x)

    def at(beta):
        return Sum([start, counted], [1 - beta, beta])

    x = start.sample(20, dtype=F64, generator=seeded(8))
    state = MOVE.init(at(old), x)
    asked.clear()
    found = changed(start, at(new), state, old, new)
    assert bool(asked) is (old == 0)
    expected = MOVE.init(at(new), x)
    torch.testing.assert_close(found.energy, expected.energy)
    torch.testing.assert_close(found.grad, expected.grad)


# log Z -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [(2,), (10,), (1, 2, 5)], ids=str)
def test_log_z_of_gaussians(event):
    d = math.prod(event)
    target, reference = correlated(d), isotropic(d, 1.3)
    found = []
    for seed in range(12):
        x = target.sample(150, dtype=F64, generator=seeded(seed)).reshape(150, *event)
        found.append(
            log_z(
                lambda x: target(x.flatten(1)),
                x,
                reference,
                temperatures=25,
                sampler=MOVE,
                generator=seeded(100 + seed),
            )
        )
    value, error, lower, upper = double(found).T
    assert ((value - target.log_z) / error).abs().max() < 4
    assert abs(float(z_score(value, target.log_z))) < 4
    assert error.max() < 0.5
    assert float(error.square().mean().sqrt() / value.std()) == pytest.approx(1, abs=0.6)
    assert float(z_score(lower, target.log_z)) < 4
    assert float(z_score(upper, target.log_z)) > -4
    assert float(z_score(upper - lower, 0)) > -4


def test_log_z_of_a_law_much_narrower_than_its_reference():
    d, stiffness = 5, 99.0
    target, reference = isotropic(d, 1 / (1 + stiffness)), isotropic(d)
    found = []
    for seed in range(12):
        x = target.sample(60, dtype=F64, generator=seeded(seed))
        options = {"temperatures": 100, "generator": seeded(100 + seed)}
        found.append(log_z(target, x, reference, stiffness=stiffness, **options))
    value, error, lower, upper = double(found).T
    assert ((value - target.log_z) / error).abs().max() < 4
    assert abs(float(z_score(value, target.log_z))) < 4
    assert error.max() < 1
    assert 0 < float((upper - lower).mean()) < 1  # steps fit the stiffness: hardly any lag


@pytest.mark.parametrize(("stiffness", "sampler"), [(0.0, None), (-1.0, None), (9.0, MOVE)])
def test_a_stiffness_is_positive_and_chooses_the_steps(stiffness, sampler):
    with pytest.raises(ValueError, match=r"`stiffness` must be > 0|must be None with a stiffness"):
        log_z(isotropic(2), torch.zeros(4, 2), isotropic(2), stiffness=stiffness, sampler=sampler)


def test_the_sandwich_opens_when_annealing_is_hasty():
    """With few works far from equilibrium both bounds are biased, to their own sides."""
    target, bounds = isotropic(10, 0.3), []
    for seed in range(60):
        x = target.sample(4, dtype=F64, generator=seeded(seed))
        found = log_z(target, x, isotropic(10), temperatures=2, generator=seeded(100 + seed))
        bounds.append((found.lower, found.upper))
    lower, upper = double(bounds).T
    assert float(z_score(lower, target.log_z)) < -4
    assert float(z_score(upper, target.log_z)) > 4


def test_log_z_adds_a_constant_of_the_energy():
    target = correlated(2)
    x = target.sample(50, dtype=F64, generator=seeded(0))
    plain, raised = (
        log_z(Sum([target, constant]), x, isotropic(2), temperatures=5, generator=seeded(1))
        for constant in (lambda x: 0 * x[:, 0], lambda x: 0 * x[:, 0] + 7)
    )
    assert raised == pytest.approx((*(plain[0] - 7, plain[1]), plain[2] - 7, plain[3] - 7))


def test_one_temperature_is_plain_importance_sampling_both_ways():
    target, reference = correlated(2), isotropic(2, 2.0)
    x = target.sample(400, dtype=F64, generator=seeded(8))
    found = log_z(target, x, reference, temperatures=1, generator=seeded(9))
    start = reference.sample(400, dtype=F64, generator=seeded(9))
    forward, backward = reference(start) - target(start), reference(x) - target(x)
    c, error = bennett(forward, backward)
    assert found.value == pytest.approx(reference.log_z + c)
    assert found.error == pytest.approx(error)
    assert found.lower == pytest.approx(reference.log_z + math.log(forward.exp().mean()))
    assert found.upper == pytest.approx(reference.log_z - math.log((-backward).exp().mean()))
    assert abs(found.value - target.log_z) < 4 * found.error


def test_log_z_of_two_modes():
    means = torch.zeros(2, 4, dtype=F64)
    means[:, 0] = double([-3.0, 2.0])
    target = GaussianMixture(means, 0.7, weights=[0.3, 0.7])
    x = target.sample(2000, dtype=F64, generator=seeded(10))
    reference = moment_match(x, torch.full((2000,), 1 / 2000))
    found = log_z(
        lambda x: target(x) + 11, x, reference, temperatures=60, sampler=MOVE, generator=seeded(11)
    )
    assert abs(found.value + 11) < 4 * found.error
    assert found.error < 0.1
    assert found.lower - 4 * found.error < -11 < found.upper + 4 * found.error


def test_moment_match_is_weighted_with_a_small_ridge():
    x = torch.randn(30, 1, 2, 2, generator=seeded(12))
    weights = torch.rand(30, generator=seeded(13))
    weights /= weights.sum()
    found = moment_match(x, weights)
    flat, w = x.reshape(30, 4).double(), weights.double()
    mean = (w[:, None] * flat).sum(0)
    covariance = torch.cov(flat.T, aweights=w, correction=0)
    ridge = 1e-3 * covariance.trace() / 4
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-6)
    expected = covariance + ridge * torch.eye(4, dtype=F64)
    torch.testing.assert_close(found.factor @ found.factor.T, expected, rtol=0, atol=1e-6)


def test_moment_match_of_points_on_a_line_is_not_singular():
    x = torch.arange(10.0)[:, None].expand(-1, 3)
    assert math.isfinite(moment_match(x, torch.full((10,), 0.1)).log_z)


def test_log_z_refuses():
    target = isotropic(2)
    x = target.sample(10, dtype=F64, generator=seeded(0))
    with pytest.raises(ValueError, match="`model` must have 2 points or more: got 1"):
        log_z(target, x[:1], target)
    with pytest.raises(ValueError, match="`temperatures` must be > 0 and finite: got 0"):
        log_z(target, x, target, temperatures=0)

    def hollow(x):
        """Infinite outside the unit disc."""
        return torch.where(x.square().sum(1) > 1, torch.inf, x.sum(1))

    with pytest.raises(ValueError, match="Works of annealing must be finite"):
        log_z(hollow, 0.1 * x, target, temperatures=3)


def test_points_of_another_law_are_found_out():
    """Points that are all too deep in the wells: heating them takes more than cooling gave."""
    target, reference = isotropic(10), isotropic(10, 1.3)
    x = target.sample(100, dtype=F64, generator=seeded(9))
    honest = log_z(target, x, reference, temperatures=10, generator=seeded(10))
    assert math.isfinite(honest.value)

    def shallow(x):
        return target(x) + 40.0 * (x[:, 0] > 0)

    kept = x[x[:, 0] > 0]  # of the half that is hardly in the law
    found = log_z(shallow, kept, reference, temperatures=10, generator=seeded(10))
    assert found.lower - found.upper > 14
    assert math.isnan(found.value)
    assert math.isinf(found.error)


def test_a_bound_far_beyond_the_value_refutes_it():
    """One chain from the reference found e^13 times the mass, where bounds cross by 11 nats alone.

    By Markov's inequality the lower bound is 13 nats above log Z with probability e^-13 at most.
    """
    forward = torch.linspace(61, 63, 16, dtype=F64)
    backward = torch.linspace(64.5, 66, 16, dtype=F64)
    forward[7] = 72.0
    near = joined(forward, backward)
    assert near.lower > near.value + near.error  # by chance, it may be
    assert math.isfinite(near.error)
    forward[7] = 79.0
    far = joined(forward, backward)
    assert far.lower - far.upper < 14
    assert far.lower > bennett(forward, backward)[0] + 12
    assert math.isnan(far.value)
    assert math.isnan(joined(-backward, -forward).value)  # as for the upper one
    assert math.isinf(far.error)
