"""Curvature that depends on the place: exact moves by it, what it finds and what it leaves."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Funnel, Gaussian
from wgflow.montecarlo import bridge
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Counted, Problem, run
from wgflow.montecarlo.bridge import Moves, chains_at, factor_of, log_step, moved
from wgflow.montecarlo.curvature import NOISE, Curvature, curvature_of
from wgflow.montecarlo.evaluation import evaluated
from wgflow.storage.checkpoint import load, save
from wgflow.targets.catalogue import named

DIM = 4
FUNNEL = Funnel(DIM)
START = Gaussian(torch.zeros(DIM), 9 * torch.eye(DIM))
ALONG = double([[1.0], [0.0], [0.0], [0.0]])
WIDER = double([[0.0], [-1.0], [-1.0], [-1.0]])
BY_HAND = Curvature(torch.zeros(DIM, dtype=F64), ALONG, WIDER)
"""Of the funnel: ``σ_i = e^{v/2}`` of all coordinates but v."""


def problem(energy, start=START):
    return Problem(Counted(energy), start, torch.empty(0, start.dim, dtype=F64))


def parts(x):
    """v over its deviation, and the others over theirs, which v is."""
    return x[:, :1] / 3, x[:, 1:] * (-x[:, :1] / 2).exp()


@pytest.mark.parametrize("leapfrog", [1, 3])
@pytest.mark.parametrize("curvature", [None, BY_HAND], ids=["usual", "curved"])
def test_moves_leave_the_funnel(curvature, leapfrog):
    x = FUNNEL.sample(20_000, dtype=F64, generator=seeded(0))
    chains, g = chains_at(problem(FUNNEL), x), seeded(1)
    moves = Moves(double(0.6), double([1.5, 1.0, 1.0, 1.0]), leapfrog, curvature=curvature)
    for _ in range(15):
        chains, acceptance = moved(problem(FUNNEL), chains, 1.0, moves, generator=g)
    v, u = parts(chains.x)
    found = torch.cat([v, v**2 - 1, v**4 - 3, u, u**2 - 1, v * u**2 - v, (v**2 - 1) * u**2], 1)
    assert z_score(found, 0).abs().max() < 4
    assert 0.2 < float(acceptance.mean()) < 0.99


def test_curved_moves_get_about_in_the_neck():
    """Of chains where the funnel is forty times narrower than in its middle."""
    x = FUNNEL.sample(2000, dtype=F64, generator=seeded(0))
    x[:, 1:] *= (-7.4 / 2 - x[:, :1] / 2).exp()
    x[:, 0] = -7.4
    gone = []
    for curvature in (None, BY_HAND):
        moves = Moves(double(0.6), double([1.5, 1.0, 1.0, 1.0]), 1, curvature=curvature)
        chains, g = chains_at(problem(FUNNEL), x), seeded(1)
        for _ in range(10):
            chains, _ = moved(problem(FUNNEL), chains, 1.0, moves, generator=g)
        gone.append(float((chains.x[:, 0] + 7.4).abs().mean()))
    assert gone[1] > 0.5
    assert gone[0] < 0.1


def test_the_funnel_is_found():
    """t is v up to a factor, and widths are its ``e^{v/2}``."""
    x = FUNNEL.sample(20_000, dtype=F64, generator=seeded(0))
    grad, none = evaluated(FUNNEL, x)[1], torch.zeros(len(x), dtype=F64)
    factor, found = curvature_of(x, grad, none, factor_of(x, grad, none))
    assert found is not None
    assert found.directions.shape == (DIM, 1)
    t = found.latent(x)[:, 0]
    assert float(torch.corrcoef(torch.stack([t, x[:, 0]]))[0, 1].abs()) > 0.99
    widths = found.widths(found.latent(x)).log()
    whiten = torch.linalg.inv(factor)
    narrow = (whiten[:, 1:].abs().sum(1) > whiten[:, 0].abs()).nonzero()[:, 0]
    assert len(narrow) == DIM - 1
    slope = torch.linalg.lstsq(x[:, :1], widths[:, narrow]).solution
    torch.testing.assert_close(slope, torch.full_like(slope, 0.5), atol=0.05, rtol=0)


def test_a_turned_funnel_gets_its_axes():
    turn = torch.linalg.qr(torch.randn(DIM, DIM, dtype=F64, generator=seeded(5)))[0]
    x = FUNNEL.sample(20_000, dtype=F64, generator=seeded(0))
    grad, none = evaluated(FUNNEL, x)[1] @ turn.T, torch.zeros(len(x), dtype=F64)
    x = x @ turn.T
    plain = factor_of(x, grad, none)
    factor, found = curvature_of(x, grad, none, plain)
    assert found is not None
    torch.testing.assert_close(factor @ factor.T, plain @ plain.T)  # turned alone
    axes = torch.linalg.inv(factor) @ turn  # rows: axes of L in the funnel's coordinates
    along = (axes[:, 0].abs() / axes.norm(dim=1)).sort().values
    assert float(along[-1]) > 0.95
    assert float(along[-2]) < 0.4


@pytest.mark.parametrize("case", ["gaussian", "few", "wide", "diagonal"])
def test_where_nothing_is_seen_nothing_changes(case):
    count, dim = {"few": (30, 4), "wide": (400, 300)}.get(case, (4000, 4))
    law = (
        Funnel(dim) if case in ("few", "diagonal") else Gaussian(torch.zeros(dim), torch.eye(dim))
    )
    x = law.sample(count, dtype=F64, generator=seeded(0))
    grad, none = evaluated(law, x)[1], torch.zeros(count, dtype=F64)
    factor = factor_of(x, grad, none)
    factor = factor.diagonal() if case == "diagonal" else factor
    same, found = curvature_of(x, grad, none, factor)
    assert found is None
    assert same is factor


def test_copies_have_no_curvature_and_raise_nothing():
    x = torch.ones(100, 2, dtype=F64)
    grad, none = torch.ones(100, 2, dtype=F64), torch.zeros(100, dtype=F64)
    assert curvature_of(x, grad, none, torch.eye(2, dtype=F64))[1] is None


def test_the_density_of_y_is_that_of_its_draws():
    x = torch.zeros(20_000, DIM, dtype=F64)
    y = BY_HAND.drawn(x, generator=seeded(0))
    assert z_score(y / NOISE, 0).abs().max() < 4
    assert z_score((y / NOISE) ** 2, 1).abs().max() < 4
    ratio = BY_HAND.log_density(y, x) - BY_HAND.log_density(y, x + ALONG.T)
    expected = ((y - 1).square() - y.square())[:, 0] / (2 * NOISE**2)
    torch.testing.assert_close(ratio, expected)


def test_steps_suit_forces_within_a_factor():
    """On a Gaussian of another width, and not far from the bulk."""
    d = 40
    force = torch.randn(1000, d, dtype=F64, generator=seeded(0))
    assert float(log_step(force).mean()) == pytest.approx(0, abs=0.03)
    assert float(log_step(1.5 * force).mean()) == pytest.approx(-math.log(1.5), abs=0.06)
    assert log_step(1e9 * force).unique().tolist() == [-bridge.UNEVEN]
    assert log_step(torch.full((1, d), 1e30)).tolist() == [[-bridge.UNEVEN]]


def test_the_neck_of_a_posterior_is_reached():
    """Of the eight schools log τ has the mean .80 and the deviation 1.17."""
    target = named("eight-schools")
    smc = AnnealedSMC(particles=2000)
    found = run(
        smc, Problem(Counted(target.energy), target.start, torch.empty(0, 10)), generator=seeded(0)
    )
    exact = target.known.sample(100_000, generator=seeded(1))[:, 1]
    log_tau = found.x[:, 1]
    assert abs(float(log_tau.mean() - exact.mean())) < 0.25
    assert float(log_tau.std()) > 0.72 * float(exact.std())


def test_a_kept_state_knows_the_curvature(tmp_path):
    method, p = AnnealedSMC(particles=500, relative_ess=0.7), problem(FUNNEL)

    def whole(kept):
        g = seeded(0)
        state = method.init(p, generator=g)
        while method.progress(state) < 1:
            if kept:
                save(tmp_path / "state", state)
                state = load(tmp_path / "state", method.state_types)
            state = method.step(p, state, generator=g)
        return state, method.result(p, state, generator=g)

    (state, plain), (_, again) = whole(False), whole(True)
    assert any(moves.curvature is not None for moves in state.schedule.moves)
    assert torch.equal(plain.x, again.x)
    assert plain.log_z == again.log_z
