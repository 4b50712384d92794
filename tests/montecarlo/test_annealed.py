"""Annealed sequential Monte Carlo: log Z, masses, halves, works both ways, resumption."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.montecarlo.annealed import AnnealedSMC, halves, resampled
from wgflow.montecarlo.base import Counted, Problem, run
from wgflow.montecarlo.both_ways import at, log_mean
from wgflow.montecarlo.bridge import chains_at, factor_of, log_weights
from wgflow.storage.checkpoint import load, save

START = Gaussian(torch.zeros(2), 9 * torch.eye(2))
GAUSSIAN = Gaussian(double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]]))
MODES = GaussianMixture(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5, weights=[0.25, 0.75])
QUICK = AnnealedSMC(particles=300, relative_ess=0.85, moves=2, around=0.3)


def problem(energy=MODES, start=START, dtype=F64):
    return Problem(Counted(energy), start, torch.empty(0, 2, dtype=dtype))


def states(method, p, generator):
    """Every state from the first to the last."""
    state = method.init(p, generator=generator)
    while method.progress(state) < 1:
        yield state
        state = method.step(p, state, generator=generator)
    yield state


@pytest.mark.parametrize(
    ("energy", "leapfrog"), [(GAUSSIAN, 1), (GAUSSIAN, 3), (MODES, 1)], ids=str
)
def test_log_z_is_within_its_errors_over_seeds(energy, leapfrog):
    method = replace(QUICK, leapfrog=leapfrog)
    found = [run(method, problem(energy), generator=seeded(s)).log_z for s in range(8)]
    z = double([(f.value - energy.log_z) / f.error for f in found])
    assert abs(float(z.mean())) * math.sqrt(8) < 4
    assert 0.3 < float(z.std()) < 2.2
    assert max(f.error for f in found) < 0.3
    bounds = double([[f.lower - energy.log_z, energy.log_z - f.upper] for f in found])
    assert float(bounds.mean()) < 4 * float(bounds.std()) / math.sqrt(16)


def test_weights_alone_estimate_z_without_bias():
    """``E[mean e^A] = Z/Z_0``: of few particles, to see what adaptation does to it."""
    method = AnnealedSMC(60, 0.85, 1)
    ends = [list(states(method, problem(), seeded(s)))[-1] for s in range(30)]
    ratios = double([s.log_ratio + START.log_z for s in ends]).exp()
    assert abs(float(z_score(ratios, 1.0))) < 4
    assert float(ratios.std()) < 1


def test_masses_and_moments_are_those_of_the_modes():
    found = [run(QUICK, problem(), generator=seeded(s)).x for s in range(8)]
    masses = double([float((x[:, 0] > 0).double().mean()) for x in found])
    assert abs(float(z_score(masses, 0.75))) < 4
    assert float(masses.std()) < 0.1
    right = torch.stack([x[x[:, 0] > 0].mean(0) for x in found])
    assert z_score(right, double([3.0, 1.0])).abs().max() < 4
    squares = torch.stack([x[x[:, 0] > 0].var(0) for x in found])
    assert z_score(squares, 0.25).abs().max() < 4


def test_a_box_has_its_volume():
    def box(x):
        return torch.where((x.abs() < 1).all(1), 0 * x.sum(1), math.inf)

    start = Gaussian(torch.zeros(2), torch.eye(2))
    found = [run(QUICK, problem(box, start), generator=seeded(s)) for s in range(16)]
    z = double([(f.log_z.value - math.log(4)) / f.log_z.error for f in found])
    assert abs(float(z.mean())) * math.sqrt(16) < 4
    bounds = double([[f.log_z.lower, f.log_z.upper] for f in found]).mean(0) - math.log(4)
    assert -0.1 < float(bounds[0]) < 0.05  # of a start with 47 % of its mass in the box
    assert -0.1 < float(bounds[1]) < 0.1
    x = torch.cat([f.x for f in found])
    assert float(x.abs().max()) < 1
    assert float(x.square().mean()) == pytest.approx(1 / 3, abs=0.03)


def test_shifted_energies_have_shifted_log_z():
    plain = run(QUICK, problem(), generator=seeded(1))
    found = run(QUICK, problem(lambda x: MODES(x) - 1000.0), generator=seeded(1))
    assert found.log_z.value - plain.log_z.value == pytest.approx(1000, abs=1e-6)


def test_particles_stay_in_their_half():
    """Each half is one point, and the second has nearly all the weight."""
    x = double([[0.0, 0.0]] * 5 + [[1.0, 1.0]] * 6)
    weights = torch.cat([torch.zeros(5), torch.full((6,), 9.0)]).double()
    chains, _ = resampled(chains_at(problem(), x), weights, seeded(0))
    assert torch.equal(chains.x, x)
    assert halves(11) == (slice(0, 5), slice(5, 11))


def test_resampling_keeps_the_mean_weight_of_either_half():
    x = START.sample(40, dtype=F64, generator=seeded(0))
    weights = 3 * torch.randn(40, dtype=F64, generator=seeded(1))
    _, new = resampled(chains_at(problem(), x), weights, seeded(2))
    for half in halves(40):
        torch.testing.assert_close(new[half], weights[half].exp().mean().log().expand(20))
    torch.testing.assert_close(log_mean(new), log_mean(weights))


def test_resampling_leaves_weighted_means_unbiased():
    x = START.sample(40, dtype=F64, generator=seeded(0))
    weights = torch.randn(40, dtype=F64, generator=seeded(1))
    chains, g = chains_at(problem(), x), seeded(2)
    means = []
    for _ in range(300):
        new, w = resampled(chains, weights, g)
        means.append((w.exp()[:, None] * new.x).mean(0))
    assert z_score(torch.stack(means), (weights.exp()[:, None] * x).mean(0)).abs().max() < 4


def test_chains_on_record_moved_by_the_gradients_of_the_other_half():
    g, p = seeded(0), problem()
    before = QUICK.init(p, generator=g)
    after = QUICK.step(p, before, generator=g)
    new = after.schedule.betas[-1]
    weights = log_weights(before.chains, 0.0, new)
    second = slice(150, 300)
    chains = before.chains
    expected = factor_of(chains.x[second], chains.grad(new)[second], weights[second])
    torch.testing.assert_close(after.schedule.moves[-1].factor, expected)
    torch.testing.assert_close(after.log_weight, weights)


def test_steps_settle_at_the_acceptance():
    path = list(states(AnnealedSMC(300, 0.95, 2, rounds=1), problem(), seeded(0)))
    late = [float(s.acceptance) for s in path[len(path) // 2 :]]
    assert sum(late) / len(late) == pytest.approx(0.6, abs=0.1)


def test_a_support_that_no_particle_of_a_half_has_found_is_told():
    def small(x):
        return torch.where((x - 2).abs().amax(1) > 1e-3, math.inf, 0 * x.sum(1))

    with pytest.raises(ValueError, match="`start` must cover the support of the energy: got 0 of"):
        run(QUICK, problem(small), generator=seeded(0))


def ring(x):
    """A thin ring, along which energies are forgotten slowly by short moves."""
    return 200 * (x.square().sum(1) - 4).square() + x[:, 0]


def test_trajectories_grow_where_energies_are_not_forgotten_and_shrink_back():
    method = AnnealedSMC(200, 0.8, 1, rounds=1, longest=4)
    path = [s.leapfrog for s in states(method, problem(ring), seeded(0))]
    assert max(path) > 1
    assert max(path) <= 4
    assert all(abs(a - b) <= 1 for a, b in pairwise(path))
    easy = [s.leapfrog for s in states(AnnealedSMC(200, 0.8, 9), problem(GAUSSIAN), seeded(0))]
    assert easy[-1] == 1


def test_moves_on_record_are_those_that_were_made():
    """Each evaluates V at all particles once a leapfrog step."""
    p = problem(ring)
    *_, end = states(AnnealedSMC(200, 0.8, 3, rounds=4, longest=5), p, seeded(0))
    moves = end.schedule.moves
    assert p.energy.evaluations == 200 * (1 + sum(m.made * m.leapfrog for m in moves))


def test_resumed_equals_uninterrupted(tmp_path):
    whole, g = run(QUICK, problem(), generator=seeded(5)), seeded(5)
    state = QUICK.init(problem(), generator=g)
    while QUICK.progress(state) < 1:
        save(tmp_path / "state", state)
        state = QUICK.step(problem(), load(tmp_path / "state", QUICK.state_types), generator=g)
    found = QUICK.result(problem(), state, generator=g)
    assert torch.equal(found.x, whole.x)
    assert (found.log_z, found.ess) == (whole.log_z, whole.ess)


def test_progress_rises_to_one_and_metrics_tell():
    path = list(states(QUICK, problem(), seeded(0)))
    progress = [QUICK.progress(s) for s in path]
    assert progress[0] == 0
    assert progress == sorted(set(progress))
    assert progress[-1] == 1
    told = QUICK.metrics(problem(), path[-1])
    assert told["beta"] == 1
    assert 0 < told["acceptance"] < 1
    assert 0 < told["ess"] <= 1
    assert len(path[-1].schedule.betas) == len(path[-1].schedule.moves) == len(path)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_result_has_the_size_and_type_that_were_asked_for(dtype):
    found = run(AnnealedSMC(101, 0.8), problem(dtype=dtype), generator=seeded(0))
    assert (found.x.shape, found.x.dtype) == ((101, 2), dtype)
    assert 1 < found.ess <= 101


def test_a_half_without_weight_is_no_harm():
    """All points of the model come from the second half."""
    state = list(states(QUICK, problem(), seeded(0)))[-1]
    weights = torch.cat([torch.full((150,), -1e4), torch.zeros(150)]).double()
    found = QUICK.result(problem(), state._replace(log_weight=weights), generator=seeded(1))
    assert math.isfinite(found.log_z.error)


@pytest.mark.parametrize("particles", [4, 7])
def test_few_particles_are_enough_to_run(particles):
    assert (
        run(AnnealedSMC(particles, 0.5, 1), problem(), generator=seeded(0)).x.shape[0] == particles
    )


def test_some_chains_keep_all_that_is_known():
    chains = chains_at(problem(), START.sample(9, dtype=F64, generator=seeded(0)))
    for some, every in zip(at(chains, torch.tensor([4, 4, 1])), chains, strict=True):
        assert torch.equal(some, every[[4, 4, 1]])


REFUSED = [
    ({"particles": 0}, "`particles` must be > 0 and finite: got 0"),
    ({"particles": 3}, "`particles` must be ≥ 4: got 3"),
    ({"moves": 0}, "`moves` must be > 0 and finite: got 0"),
    ({"longest": 0}, "`longest` must be > 0 and finite: got 0"),
    ({"leapfrog": 0}, "`leapfrog` must be > 0 and finite: got 0"),
    ({"relative_ess": 1.0}, r"`relative_ess` must be in \(0, 1\): got 1.0"),
    ({"whole": 1.5}, "`whole` must be between 0 and 1: got 1.5"),
    ({"around": 1.5}, "`around` must be between 0 and 1: got 1.5"),
]


@pytest.mark.parametrize(("options", "match"), REFUSED)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=match):
        AnnealedSMC(**options)
