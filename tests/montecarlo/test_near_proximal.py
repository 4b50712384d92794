"""The near-proximal flow: masses, log Z, its steps, and resumption."""

import math
from dataclasses import replace

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.montecarlo.base import Counted, Problem, run
from wgflow.montecarlo.density import LearnedDensity
from wgflow.montecarlo.near_proximal import NearProximalFlow, started
from wgflow.storage.checkpoint import load, save

START = Gaussian(torch.zeros(2), 9 * torch.eye(2))
MODES = GaussianMixture(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5, weights=[0.2, 0.8])
SHIFT = 7.0
QUICK = NearProximalFlow(particles=400, steps=1, relative_ess=0.85, moves=1)


def energy(x):
    return MODES(x) - SHIFT


def problem(dtype=F64):
    return Problem(Counted(energy), START, torch.empty(0, 2, dtype=dtype))


def last(method, generator, p):
    """The state of the last step."""
    state = method.init(p, generator=generator)
    while method.progress(state) < 1:
        state = method.step(p, state, generator=generator)
    return state


@pytest.fixture(scope="module")
def found():
    return [run(QUICK, problem(), generator=seeded(s)) for s in range(5)]


def test_masses_of_modes_are_those_of_the_target(found):
    masses = double([float((f.x[:, 0] > 0).double().mean()) for f in found])
    assert abs(float(masses.mean()) - 0.8) < 4 * math.sqrt(0.2 * 0.8 / 400 / 5)
    assert float(masses.std()) < 0.04


def test_log_z_is_within_its_errors(found):
    z = double([(f.log_z.value - SHIFT) / f.log_z.error for f in found])
    assert abs(float(z.mean())) * math.sqrt(5) < 4
    assert float(z.abs().max()) < 4
    assert max(f.log_z.error for f in found) < 0.15


def test_points_are_those_of_the_target(found):
    right = [f.x[f.x[:, 0] > 0] for f in found]
    means = torch.stack([x.mean(0) for x in right])
    assert z_score(means, double([3.0, 1.0])).abs().max() < 5
    assert float(torch.cat(right).var(0).mean()) == pytest.approx(0.25, rel=0.15)


def test_the_learned_density_is_near_the_target_and_is_the_next_start():
    p = problem()
    state = last(QUICK, seeded(0), p)
    density = LearnedDensity(state.density)
    x = MODES.sample(2000, dtype=F64, generator=seeded(1))
    gap = MODES.log_prob(x) - density.log_prob(x)
    assert 0 < float(gap.mean()) < 0.15
    assert state.number == 1
    assert state.length >= 3  # values of β on the way before
    told = QUICK.metrics(p, state)
    assert told["density"] == 1
    assert told["log_z"] == pytest.approx(SHIFT, abs=0.2)
    source = started(p, state.density)
    assert source.energy is p.energy
    torch.testing.assert_close(source.start(x), density(x))
    assert started(p, None) is p


def test_without_steps_it_is_annealed_from_the_start():
    method = NearProximalFlow(particles=1000, steps=0, relative_ess=0.85, moves=1)
    state = last(method, seeded(0), problem())
    assert (state.number, state.density) == (0, None)
    log_z = method.result(problem(), state, generator=seeded(1)).log_z
    assert abs(log_z.value - SHIFT) < 4 * log_z.error < 1


def test_a_close_density_is_not_learned_again():
    """Of a Gaussian, whose density one step finds: the other steps would bring nothing."""
    method = NearProximalFlow(particles=400, steps=5, relative_ess=0.85, moves=1)
    law = Gaussian(double([1.0, 0.0]), double([[1.0, 0.5], [0.5, 1.0]]))
    p = problem()._replace(energy=Counted(law))
    state = last(method, seeded(0), p)
    assert state.number == 1
    assert state.annealed.schedule.betas == [0.0, 1.0]


def test_walls_do_not_keep_a_density_from_being_used():
    """Draws of it beyond them have no weight, whatever β is: the others decide."""

    def ball(x):
        square = x.square().sum(1)
        return (0 * square).where(square < 1, math.inf)

    start = Gaussian(torch.zeros(4), 0.5 * torch.eye(4))
    p = Problem(Counted(ball), start, torch.empty(0, 4).double())
    method = replace(QUICK, particles=1000, relative_ess=0.95)
    state = last(method, seeded(0), p)
    assert not state.refused
    assert state.number == 1
    found = method.result(p, state, generator=seeded(1)).log_z
    assert abs(found.value - math.log(math.pi**2 / 2)) < 4 * found.error
    assert found.error < 0.05


def test_progress_rises_from_nothing_to_one():
    state, g = QUICK.init(problem(), generator=seeded(0)), seeded(1)
    progress = [QUICK.progress(state)]
    while progress[-1] < 1:
        state = QUICK.step(problem(), state, generator=g)
        progress.append(QUICK.progress(state))
    assert progress[0] == 0
    assert progress == sorted(progress)


def test_resumed_equals_uninterrupted(tmp_path, found):
    p, g = problem(), seeded(0)
    state = QUICK.init(p, generator=g)
    while QUICK.progress(state) < 1:
        save(tmp_path / "state", state)
        state = QUICK.step(p, load(tmp_path / "state", QUICK.state_types), generator=g)
    save(tmp_path / "state", state)
    state = load(tmp_path / "state", QUICK.state_types)
    again = QUICK.result(p, state, generator=g)
    assert torch.equal(again.x, found[0].x)
    assert (again.log_z, again.ess) == (found[0].log_z, found[0].ess)


REFUSED = [
    ({"particles": 0}, "`particles` must be > 0 and finite: got 0"),
    ({"steps": -1}, "`steps` must be ≥ 0 and finite: got -1"),
    ({"relative_ess": 0.0}, r"`relative_ess` must be in \(0, 1\): got 0.0"),
    ({"moves": 0}, "`moves` must be > 0 and finite: got 0"),
    ({"leapfrog": 0}, "`leapfrog` must be > 0 and finite: got 0"),
]


@pytest.mark.parametrize(("options", "match"), REFUSED)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=match):
        NearProximalFlow(**options)
