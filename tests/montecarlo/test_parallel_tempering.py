"""The method: masses of modes, log Z, resumption, work, and what it refuses."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.metrics.samples import mode_occupancy
from wgflow.montecarlo.base import Counted, Problem, run
from wgflow.montecarlo.parallel_tempering import ParallelTempering
from wgflow.storage.checkpoint import load, save

MODES = GaussianMixture(double([[-4.0, 0.0], [4.0, 1.0]]), 0.5, weights=[0.25, 0.75])
SMALL = ParallelTempering(particles=120, chains=30, replicas=6, warm_up=32, thin=2)
QUICK = ParallelTempering(particles=300, chains=60, warm_up=64, thin=5)


def problem(energy=MODES, scale=4.0, dtype=F64):
    start = Gaussian(torch.zeros(2), scale**2 * torch.eye(2))
    return Problem(Counted(energy), start, torch.empty(0, 2, dtype=dtype))


def shares(chains):
    """Mass of the right mode by each independent chain."""
    return (chains[:, :, 0] > 0).double().mean(0)


@pytest.mark.parametrize("leapfrog", [1, 3])
def test_modes_between_which_no_move_crosses_have_their_masses(leapfrog):
    method = ParallelTempering(300, 60, warm_up=64, thin=5, leapfrog=leapfrog)
    found = run(method, problem(), generator=seeded(1))
    by_chain = shares(found.chains)
    error = float(by_chain.std()) / math.sqrt(60)
    assert abs(float(by_chain.mean()) - 0.75) < 4 * error < 0.16
    assert abs(found.log_z.value) < 4 * found.log_z.error < 0.4
    assert found.log_z.lower < found.log_z.value + 4 * found.log_z.error
    right = found.x[found.x[:, 0] > 0]
    assert ((right - double([4.0, 1.0])) ** 2).mean() == pytest.approx(0.25, rel=0.2)


def test_errors_of_log_z_and_of_masses_are_those_over_repetitions():
    method = ParallelTempering(60, 20, replicas=5, warm_up=32, thin=4)
    found = [run(method, problem(), generator=seeded(s)) for s in range(6)]
    z = double([f.log_z.value / f.log_z.error for f in found])
    assert abs(float(z.mean())) * math.sqrt(6) < 4
    assert 0.3 < float(z.std()) < 2.2
    masses = double([float(mode_occupancy(f.x, MODES.means)[1]) for f in found])
    assert abs(float(masses.mean()) - 0.75) < 4 * float(masses.std()) / math.sqrt(6)


def test_shifted_energies_have_shifted_log_z():
    found = run(SMALL, problem(lambda x: MODES(x) - 100.0), generator=seeded(1))
    plain = run(SMALL, problem(), generator=seeded(1))
    assert found.log_z.value - plain.log_z.value == pytest.approx(100, abs=1e-6)


def test_resumed_equals_uninterrupted(tmp_path):
    method = ParallelTempering(90, 20, warm_up=32, thin=3)
    whole, g = run(method, problem(), generator=seeded(5)), seeded(5)
    state = method.init(problem(), generator=g)
    while method.progress(state) < 1:
        save(tmp_path / "state", state)
        state = method.step(problem(), load(tmp_path / "state", method.state_types), generator=g)
    found = method.result(problem(), state, generator=g)
    assert torch.equal(found.x, whole.x)
    assert torch.equal(found.chains, whole.chains)
    assert found.log_z == whole.log_z
    assert found.ess == whole.ess


def test_the_ladder_is_frozen_while_it_measures():
    method, p, g = ParallelTempering(180, 60, warm_up=64), problem(), seeded(0)
    state = method.init(p, generator=g)
    while state.sweep < method.warm_up:
        state = method.step(p, state, generator=g)
    frozen, shifts = state.ladder, state.shifts
    assert method.warm_up <= state.sweep < method.warm_up + method.thin
    while method.progress(state) < 1:
        state = method.step(p, state, generator=g)
    assert all(torch.equal(a, b) for a, b in zip(frozen, state.ladder, strict=True))
    assert torch.equal(shifts, state.shifts)
    assert state.tally.sweeps == method.sweeps - method.warm_up
    rejection = state.tally.rejection / state.tally.sweeps
    assert float(rejection.max() - rejection.min()) < 0.2
    assert 0.3 < float(rejection.mean()) < 0.6
    acceptance = state.tally.acceptance / state.tally.sweeps
    assert float((acceptance - 0.574).abs().max()) < 0.15


def test_every_evaluation_is_counted():
    method, p = ParallelTempering(60, 10, replicas=5, warm_up=16, thin=4, leapfrog=2), problem()
    run(method, p, generator=seeded(0))
    assert method.sweeps == 16 + 4 * 6
    assert p.energy.evaluations == 10 * (5 + method.sweeps * (1 + 4 * 2))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_result_has_the_size_and_type_that_were_asked_for(dtype):
    found = run(ParallelTempering(70, 16, warm_up=16), problem(dtype=dtype), generator=seeded(0))
    assert (found.x.shape, found.x.dtype) == ((70, 2), dtype)
    assert found.chains.shape == (5, 16, 2)
    assert torch.equal(found.x, found.chains.flatten(0, 1)[10:])
    assert 1 < found.ess <= 70


def test_metrics_tell_both_phases():
    method, p, g = SMALL, problem(), seeded(0)
    state = method.init(p, generator=g)
    assert method.progress(state) == 0
    state = method.step(p, state, generator=g)
    first = method.metrics(p, state)
    assert math.isnan(first["log_z"])
    while method.progress(state) < 1:
        state = method.step(p, state, generator=g)
    last = method.metrics(p, state)
    assert last["log_z"] == pytest.approx(method.result(p, state).log_z.value)
    assert 0 < last["ess"] <= 1
    assert last["barrier"] == pytest.approx((1 - last["swaps"]) * (len(state.ladder.betas) - 1))


def test_overlapping_particles_of_the_start_do_no_harm():
    """A pole at the origin: a pair of particles that repel each other, as in a cluster."""

    def pair(x):
        r = x.square().sum(1)
        return r**-6 + r / 2

    found = run(QUICK, problem(pair, 1.0, torch.float32), generator=seeded(2))
    r = torch.linspace(0.01, 12, 200_000, dtype=F64)
    density = r * torch.exp(-(r**-12) - r**2 / 2)
    exact = math.log(2 * math.pi * float(torch.trapezoid(density, r)))
    assert abs(found.log_z.value - exact) < 4 * found.log_z.error < 0.4
    lengths = found.chains.double().norm(dim=2).mean(0)
    mean = float(torch.trapezoid(r * density, r) / torch.trapezoid(density, r))
    assert abs(float(lengths.mean()) - mean) < 4 * float(lengths.std()) / math.sqrt(60)


REFUSED = [
    ({"particles": 0}, "`particles` must be > 0 and finite: got 0"),
    ({"thin": 0}, "`thin` must be > 0 and finite: got 0"),
    ({"leapfrog": 0}, "`leapfrog` must be > 0 and finite: got 0"),
    ({"chains": 1}, "`chains` must be ≥ 2: got 1"),
    ({"replicas": 1}, "`replicas` must be ≥ 2: got 1"),
    ({"warm_up": 7}, "`warm_up` must be ≥ 8: got 7"),
    ({"precondition": "mass"}, "`precondition` must be one of none, diagonal, full: got 'mass'"),
]


@pytest.mark.parametrize(("options", "match"), REFUSED)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=match):
        ParallelTempering(**options)
