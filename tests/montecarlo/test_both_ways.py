"""log Z both ways: ratios without bias, islands, bounds and errors."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow._progress import watching
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.likelihood.annealing import bennett
from wgflow.montecarlo import both_ways as module
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.both_ways import (
    ISLANDS,
    Schedule,
    Way,
    annealed,
    between,
    both_ways,
    drawn,
    reverse,
)
from wgflow.montecarlo.bridge import Moves, chains_at

START = Gaussian(torch.zeros(2), 9 * torch.eye(2))
MODES = GaussianMixture(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5, weights=[0.25, 0.75])


def problem(energy=MODES, start=START, dtype=F64):
    return Problem(Counted(energy), start, torch.empty(0, 2, dtype=dtype))


def narrow(scale):
    """``N(m, s²I)`` unnormalised, from which exact draws begin the way back."""
    return Gaussian(double([0.5, 0.0]), scale**2 * torch.eye(2))


PATH = Schedule(
    [0.0, 0.03, 0.2, 1.0],
    [
        Moves(double(s), double([1.0, 1.0]), 2, n)
        for s, n in ((9.0, 9), (2.0, 1), (1.0, 3), (9.0, 9))
    ],
)
END = narrow(0.8)


@pytest.mark.parametrize("enough", [0.0, 0.5, 1.1], ids=["never", "uneven", "always"])
def test_ratios_are_unbiased_both_ways(enough, monkeypatch):
    """``E[R] = Z/Z_0`` down and ``E[R'] = Z_0/Z`` up, whenever particles are resampled."""
    monkeypatch.setattr(module, "ENOUGH", enough)
    p, g, gap = problem(END), seeded(0), END.log_z - START.log_z
    down, up = [], []
    for _ in range(60):
        down.append(annealed(p, chains_at(p, drawn(p, 128, g)), PATH, generator=g).log_ratio)
        model = chains_at(p, END.sample(128, dtype=F64, generator=g))
        up.append(annealed(p, model, reverse(PATH), generator=g).log_ratio)
    assert abs(float(z_score((torch.cat(down) - gap).exp(), 1.0))) < 4
    assert abs(float(z_score((torch.cat(up) + gap).exp(), 1.0))) < 4
    assert float(torch.cat(down).std()) > 0.05


def test_resampling_keeps_islands_apart(monkeypatch):
    """What is done to one changes no other."""
    monkeypatch.setattr(module, "ENOUGH", 1.1)
    p = problem(END)
    chains = chains_at(p, drawn(p, 64, seeded(0)))
    weights = torch.randn(8, ISLANDS, dtype=F64, generator=seeded(1))
    moved, after = module._resampled(chains, weights, seeded(2))
    old, new = (c.x.view(8, ISLANDS, 2) for c in (chains, moved))
    for island in range(ISLANDS):
        from_here = (new[:, None, island] == old[None, :, island]).all(2)
        assert from_here.any(1).all()
    torch.testing.assert_close(after.logsumexp(0), weights.logsumexp(0))


def test_errors_are_those_over_repetitions():
    p, g, found = problem(END), seeded(4), []
    for _ in range(60):
        model = chains_at(p, END.sample(256, dtype=F64, generator=g))
        found.append(both_ways(p, model, PATH, generator=g))
    off, told = double([f.value - END.log_z for f in found]), double([f.error for f in found])
    assert abs(float(off.mean() / off.std())) * math.sqrt(60) < 4
    assert 0.7 < float(off.square().mean() / told.square().mean()) ** 0.5 < 1.3
    low, high = (double([getattr(f, name) for f in found]) for name in ("lower", "upper"))
    assert float(z_score(low.exp(), math.exp(END.log_z))) < 4
    chance = 4 * float(low.std() + high.std()) / math.sqrt(60)
    assert float(low.mean()) - chance < END.log_z < float(high.mean()) + chance


def test_errors_know_of_relatives_side_by_side():
    """Of a model with sixteen distinct points in 256, as of sixteen and not of 256."""
    p, g, found = problem(END), seeded(6), []
    direct = Schedule([0.0, 1.0], [PATH.moves[0]] * 2)
    for _ in range(60):
        few = END.sample(16, dtype=F64, generator=g)
        model = chains_at(p, few.repeat_interleave(16, 0))
        found.append(both_ways(p, model, direct, generator=g))
    off, told = double([f.value - END.log_z for f in found]), double([f.error for f in found])
    assert 0.6 < float(off.square().mean() / told.square().mean()) ** 0.5 < 1.5


def way(works):
    """One change of β, islands in columns, weights equal."""
    works = double(works)[None]
    return Way(torch.zeros_like(works), works)


def test_bounds_that_contradict_each_other_leave_no_value():
    works = [[9.0, 9.5], [9.0, 9.5]]
    found = between(way(works), way(works))
    assert math.isnan(found.value)
    assert math.isinf(found.error)


def test_the_value_of_one_change_is_bennetts():
    g = seeded(7)
    forth = torch.randn(50, 2, dtype=F64, generator=g) - 0.5
    back = -torch.randn(50, 2, dtype=F64, generator=g) - 0.5
    found = between(way(forth.tolist()), way(back.tolist()), base=3.0)
    value, _ = bennett(forth.flatten(), -back.flatten())
    assert found.value == pytest.approx(3 + value, abs=1e-9)


def test_the_error_is_that_of_the_mean_of_islands():
    """Of small works Bennett's ratio is ``(mean W - mean W')/2``, whose jackknife is exact."""
    forth, back = 1e-3 * torch.randn(2, 5, 8, dtype=F64, generator=seeded(8))
    found = between(way(forth.tolist()), way(back.tolist()))
    islands = (forth.mean(0) - back.mean(0)) / 2
    assert found.value == pytest.approx(float(islands.mean()), rel=1e-2)
    assert found.error == pytest.approx(float(islands.std()) / math.sqrt(8), rel=1e-2)


def test_weights_count_as_copies():
    """Weights 2 and 1 are those of a point that is there twice."""
    works, others = double([[1.0, -0.5]]), double([[0.3, 0.9, 0.1]])
    log_w, even = double([[2.0, 1.0]]).log(), torch.zeros(1, 3, dtype=F64)
    found = module._bennett(log_w, works, even, others)
    copies = module._bennett(even, double([[1.0, 1.0, -0.5]]), even, others)
    torch.testing.assert_close(found, copies)


def test_points_outside_the_support_are_works_of_minus_infinity():
    """Half of the start is outside, and inside V is E_0: ``Z/Z_0`` is a half."""
    outside = [[-math.inf, -math.inf], [0.0, 0.0]]
    found = between(way(outside), way([[0.0, 0.0]] * 2))
    assert found.lower == pytest.approx(math.log(0.5))
    assert found.upper == pytest.approx(math.log(0.5) + 1 / 4)  # of four draws
    # σ(c)/2 + 1/2 = σ(-c): Bennett's equation of three kinds of works.
    assert 0.5 / (1 + math.exp(-found.value)) + 0.5 == pytest.approx(
        1 / (1 + math.exp(found.value))
    )


def test_both_ways_brackets_the_known_ratio():
    p, g = problem(END), seeded(3)
    model = chains_at(p, END.sample(2000, dtype=F64, generator=g))
    found = both_ways(p, model, PATH, generator=g)
    assert abs(found.value - END.log_z) < 4 * found.error < 0.2
    assert abs(found.lower - found.upper) < 1


def test_each_way_tells_how_far_it_is():
    seen, p = [], problem(END)
    with watching(lambda what, done, items, left: seen.append((what, done, items))):
        both_ways(p, chains_at(p, double([[0.5, 0.0]] * 40)), PATH, generator=seeded(0))
    assert seen == [("Annealing for log Z", done, 3) for done in (1, 2, 3)] * 2


def test_a_start_outside_the_support_is_told():
    def far(x):
        return torch.where((x > 50).all(1), 0 * x.sum(1), math.inf)

    p = problem(far)
    with pytest.raises(ValueError, match="`start` must cover the support of the energy"):
        both_ways(p, chains_at(p, double([[51.0, 51.0]] * 3)), PATH, generator=seeded(0))


def test_the_way_back_mirrors_the_way_there():
    back = reverse(PATH)
    assert back.betas == [1.0, 0.2, 0.03, 0.0]
    assert [float(m.step) for m in back.moves] == [9.0, 1.0, 2.0, 9.0]
    assert reverse(back) == PATH


def test_the_ratio_of_one_change_is_its_mean_weight():
    """Nothing moves: importance sampling. Particle i is in island i modulo their number."""
    p = problem()
    chains = chains_at(p, START.sample(19, dtype=F64, generator=seeded(0)))
    found = annealed(p, chains, Schedule([0.0, 1.0], PATH.moves[:2])).log_ratio
    weights = (START(chains.x) - MODES(chains.x)).exp()
    torch.testing.assert_close(found.exp(), (weights[:8] + weights[8:16]) / 2)
