"""Minima that particles lead down to, and the mass around those where hardly a particle is."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import GaussianMixture
from wgflow.montecarlo import evaluation
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.blocks import density_of, with_modes
from wgflow.montecarlo.density import LearnedDensity
from wgflow.montecarlo.minima import Mode, _around, missed
from wgflow.montecarlo.near_proximal import NearProximalFlow
from wgflow.targets.catalogue import named


def nested(dim, width=0.01, share=0.5):
    """``(1 - a) N(0, I) + a N(0, σ² I)``, of log Z 0."""

    def energy(x):
        square = x.square().sum(1)
        wide = math.log(1 - share) - square / 2
        narrow = math.log(share) - square / (2 * width**2) - dim * math.log(width)
        return dim / 2 * math.log(2 * math.pi) - torch.logaddexp(wide, narrow)

    return energy


def normal(count, dim, seed=0):
    return torch.randn(count, dim, dtype=F64, generator=seeded(seed))


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_a_narrow_mode_in_a_wide_one_is_found_with_its_mass_and_shape(dim):
    energy = nested(dim, 0.001)
    (mode,) = missed(Counted(energy), normal(1000, dim), math.log(0.5), generator=seeded(1))
    assert mode.share == pytest.approx(0.5, abs=0.01)
    assert mode.center.abs().max() < 1e-3
    assert mode.covariance == pytest.approx(1e-6 * torch.eye(dim), abs=2e-8)


@pytest.mark.parametrize("constant", [-9.0, 9.0])
def test_a_constant_in_v_changes_nothing(constant):
    energy, log_z = nested(3, 0.001), math.log(0.5)
    x = normal(1000, 3)
    (one,) = missed(Counted(energy), x, log_z, generator=seeded(1))
    shifted = Counted(lambda x: energy(x) + constant)
    (two,) = missed(shifted, x, log_z - constant, generator=seeded(1))
    assert two.share == pytest.approx(one.share, abs=1e-6)
    x[::2] *= 0.001
    assert missed(shifted, x, -constant, generator=seeded(1)) == []


def test_units_of_coordinates_do_not_matter():
    units = double([1.0, 1000.0, 1e-4])
    scaled = Counted(lambda x: nested(3, 0.001)(x / units))
    log_z = math.log(0.5) + float(units.log().sum())
    (mode,) = missed(scaled, normal(1000, 3) * units, log_z, generator=seeded(1))
    assert mode.share == pytest.approx(0.5, abs=0.01)
    assert (mode.center / units).abs().max() < 1e-4


def test_particles_may_agree_in_a_coordinate():
    x = normal(100, 3)
    x[:, 1] = 0.5
    (mode,) = missed(Counted(nested(3, 0.001)), x, math.log(0.5), generator=seeded(1))
    assert mode.center.abs().max() < 1e-4


@pytest.mark.parametrize("count", [1, 60])
def test_of_few_particles_none_may_be_there_by_chance(count):
    x = normal(count, 3)
    assert missed(Counted(nested(3, 0.001)), x, math.log(0.5), generator=seeded(1)) == []


def test_a_minimum_that_is_not_about_gaussian_has_no_mass():
    """A quartic one: of draws from the Gaussian with its Hessian hardly one counts."""
    quartic = Counted(lambda x: (x**4).sum(1) + 1e-6 * x.square().sum(1))
    assert _around(quartic, torch.zeros(3, dtype=F64), seeded(0)) is None


def test_a_mode_where_particles_are_is_not_missed():
    x = normal(1000, 3)
    x[:500] *= 0.001
    assert missed(Counted(nested(3, 0.001)), x, 0.0, generator=seeded(1)) == []
    few = torch.cat([x[:40], x[500:]])
    assert len(missed(Counted(nested(3, 0.001)), few, 0.0, generator=seeded(1))) == 1


def test_a_mode_of_hardly_any_mass_does_not_matter():
    energy = nested(3, 0.001, 0.005)
    assert missed(Counted(energy), normal(20_000, 3), 0.0, generator=seeded(1)) == []


@pytest.mark.parametrize("name", ["gmm", "25-gaussians", "mustache", "two-modes", "funnel"])
def test_exact_draws_miss_nothing(name):
    target = named(name)
    assert target.known is not None
    draws = target.known.sample(2000, dtype=F64, generator=seeded(0))
    found = missed(Counted(target.reduced), draws, target.known.log_z, generator=seeded(1))
    assert found == []


def test_the_mass_of_two_modes_without_particles_is_shared():
    law = GaussianMixture(double([[0.0], [4.0], [-4.0]]), 0.1, weights=[0.5, 0.3, 0.2])
    middle = law.sample(2000, dtype=F64, generator=seeded(0))
    middle = middle[middle[:, 0].abs() < 1]
    few = double([[3.9], [-4.1]]).repeat_interleave(torch.tensor([20, 12]), 0)
    ends = torch.cat([middle, few])
    found = missed(Counted(law), ends[-400:], math.log(0.5), generator=seeded(1))
    assert sorted(round(mode.share, 2) for mode in found) == [0.2, 0.3]


def bottomless(x):
    return x.square().sum(1).masked_fill(x.norm(dim=1) < 0.1, -math.inf)


def linear(x):
    return x.abs().sum(1)


@pytest.mark.parametrize("energy", [bottomless, linear])
def test_energies_without_a_hessian_or_a_minimum_say_nothing(energy):
    assert missed(Counted(energy), normal(200, 2), 0.0, generator=seeded(1)) == []


def test_an_energy_of_many_numbers_is_given_few_points_at_a_time(monkeypatch):
    """As one that compares points with the rows of a table; the answer is the same."""
    energy, largest = nested(3, 0.001), 0

    def heavy(x):
        nonlocal largest
        largest = max(largest, len(x))
        return energy(x)

    whole = missed(Counted(energy), normal(1000, 3), math.log(0.5), generator=seeded(1))
    monkeypatch.setattr(evaluation, "NUMBERS", 20)
    light = Counted(heavy, kept=10)
    (mode,) = missed(light, normal(1000, 3), math.log(0.5), generator=seeded(1))
    assert largest == 2
    assert mode.covariance == pytest.approx(whole[0].covariance, rel=1e-6, abs=1e-15)


def test_walls_do_not_stop_descents():
    def energy(x):
        return nested(2, 0.001)(x).masked_fill(x[:, 0] < -1e-2, math.inf)

    (mode,) = missed(Counted(energy), normal(1000, 2).abs(), -1.4, generator=seeded(1))
    assert mode.center.abs().max() < 1e-4


def test_a_density_with_a_mode_is_normalised_and_draws_its_share():
    plain = density_of(normal(1000, 2), torch.arange(1000) // 20)
    mode = Mode(double([5.0, 5.0]), 1e-4 * torch.eye(2, dtype=F64), 0.3)
    q = LearnedDensity(with_modes(plain, [mode]))
    drawn = q.sample(1000, dtype=F64, generator=seeded(0))
    assert int((drawn > 4).all(1).sum()) == 300
    far, inside = double([[0.0, 0.0]]), double([[5.0, 5.0]])
    ratio = q.log_prob(far) - LearnedDensity(plain).log_prob(far)
    assert float(ratio) == pytest.approx(math.log(0.7), abs=1e-6)
    top = math.log(0.3) - math.log(2 * math.pi * 1e-4)
    assert float(q.log_prob(inside)) == pytest.approx(top, abs=1e-3)
    assert with_modes(plain, []) is plain


def result_of(method, problem):
    generator = seeded(0)
    state = method.init(problem, generator=generator)
    while method.progress(state) < 1:
        state = method.step(problem, state, generator=generator)
    return method.result(problem, state, generator=generator)


def test_the_near_proximal_flow_has_the_narrow_mode_that_annealing_goes_past():
    start = named("gmm", 10).start
    problem = Problem(Counted(nested(10)), start, torch.empty(0, 10, dtype=F64))
    past = result_of(AnnealedSMC(particles=500), problem)
    there = result_of(NearProximalFlow(particles=500), problem)
    assert past.log_z.value < -0.5
    assert abs(there.log_z.value) < max(4 * there.log_z.error, 0.01)
    assert float((there.x.norm(dim=1) < 0.1).double().mean()) == pytest.approx(0.5, abs=0.05)
