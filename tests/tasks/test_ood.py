"""Outliers: areas by brute force and with ties, intervals that cover, scores by hand."""

import math

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import Gaussian
from wgflow.tasks.ood import auroc, energy_scores, mean_zscore, shares_below, typicality


def brute_force(inside, outside):
    pairs = outside[:, None] - inside
    return float((pairs > 0).double().mean() + (pairs == 0).double().mean() / 2)


@pytest.mark.parametrize("levels", [None, 6, 2], ids=["continuous", "ties", "two-levels"])
@pytest.mark.parametrize("sizes", [(50, 70), (2, 5), (200, 3)], ids=str)
def test_the_area_is_the_mann_whitney_statistic(levels, sizes):
    generator = seeded(sum(sizes))
    inside, outside = (torch.rand(n, generator=generator, dtype=F64) for n in sizes)
    outside = outside**0.7
    if levels:
        inside, outside = ((levels * s).floor() for s in (inside, outside))
    found = auroc(inside, outside)
    assert found.value == pytest.approx(brute_force(inside, outside), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    mirrored = auroc(outside, inside)
    assert mirrored.value == pytest.approx(1 - found.value)
    assert mirrored.low == pytest.approx(1 - found.high)


def test_delong_by_hand():
    """Inside 1, 3, 5; outside 2, 4, 6, 6: V = (1, 3/4, 1/2), W = (1/3, 2/3, 1, 1)."""
    found = auroc(double([1.0, 3.0, 5.0]), double([2.0, 4.0, 6.0, 6.0]))
    assert found.value == pytest.approx(0.75)
    variance = 0.0625 / 3 + double([1 / 3, 2 / 3, 1, 1]).var().item() / 4
    width = 1.959964 * math.sqrt(variance) / (0.75 * 0.25)
    odds = [math.log(3) - width, math.log(3) + width]
    assert found[1:] == pytest.approx([1 / (1 + math.exp(-o)) for o in odds], rel=1e-6)


@pytest.mark.parametrize(("shift", "sizes"), [(0.5, (60, 60)), (1.5, (60, 150)), (0.0, (30, 80))])
def test_intervals_cover_the_area(shift, sizes):
    """Of N(0, 1) against N(δ, 1) it is ``Φ(δ/√2)``; 95 % of intervals hold it."""
    truth = 0.5 * (1 + math.erf(shift / 2))
    generator, repeats, held = seeded(1), 800, 0
    for _ in range(repeats):
        inside = torch.randn(sizes[0], generator=generator)
        outside = shift + torch.randn(sizes[1], generator=generator)
        found = auroc(inside, outside)
        held += found.low <= truth <= found.high
    error = math.sqrt(0.95 * 0.05 / repeats)
    assert held / repeats == pytest.approx(0.95, abs=4 * error)


def test_sides_apart_leave_what_independent_pairs_leave():
    low = 0.025 ** (1 / 5)
    assert auroc(torch.arange(5.0), torch.arange(10.0, 18.0)) == pytest.approx((1.0, low, 1.0))
    assert auroc(torch.arange(10.0, 18.0), torch.arange(5.0)) == pytest.approx((0, 0, 1 - low))


def test_equal_scores_tell_nothing():
    assert auroc(torch.zeros(5), torch.zeros(9)).value == 0.5


def test_infinite_energies_are_the_strangest():
    outside = torch.tensor([math.inf, math.inf, 1.0])
    assert auroc(torch.tensor([0.0, 2.0]), outside).value == pytest.approx(5 / 6)


def test_scores_by_hand():
    target = Gaussian(double([0.0]), double([[1.0]]))
    background = Gaussian(double([1.0]), double([[4.0]]))
    x = double([[0.0], [3.0]])
    scores = energy_scores(target, x, background=background, chunk=1)
    assert set(scores) == {"energy", "slope", "likelihood_ratio"}
    assert torch.allclose(scores["energy"], double([0.0, 4.5]))
    ratio = double([0.0 - 1 / 8, 4.5 - 4 / 8])
    assert torch.allclose(scores["likelihood_ratio"], ratio)
    assert torch.allclose(scores["slope"], double([0.0, 9.0]))
    assert set(energy_scores(target, x)) == {"energy", "slope"}


def test_typicality_by_hand():
    """Held-out energies ½, 2, ½: mean 1, deviation √¾."""
    found = typicality(double([0.0, 4.5]), double([0.5, 2.0, 0.5]))
    assert torch.allclose(found, double([1.0, 3.5]) / math.sqrt(0.75))


def test_the_mode_has_little_energy_and_is_not_typical():
    """In 100 dimensions the energy of N(0, I) is 50 ± 7 nats above its mode."""
    target = Gaussian(torch.zeros(100, dtype=F64), torch.eye(100, dtype=F64))
    draws = target(target.sample(600, dtype=F64, generator=seeded(2)))
    dull = target(0.1 * target.sample(100, dtype=F64, generator=seeded(3)))
    assert auroc(draws[:300], dull).value == 0.0
    inside, outside = (typicality(energies, draws[300:]) for energies in (draws[:300], dull))
    assert auroc(inside, outside).value == 1.0


def test_ranks_among_points_of_one_law_are_p_values():
    """Of 9 points and one more all 10 ranks are equally likely."""
    x, trials = torch.rand(4000, 10, generator=seeded(5), dtype=F64), 4000
    ranks = torch.cat([shares_below(row[:1], row[1:]) for row in x])
    counts = torch.bincount((9 * ranks).round().long(), minlength=10)
    assert (counts - trials / 10).abs().max() < 4 * math.sqrt(trials * 0.09)
    assert shares_below(double([1.0, 2.0]), double([1.0, 1.0, 3.0])).tolist() == [1 / 3, 2 / 3]


def test_mean_zscore_by_hand():
    """Held out 1, 3 and 2, 6: means 2 and 4, deviations √2 and √8."""
    held_out = double([[1.0, 2.0], [3.0, 6.0]])
    found = mean_zscore(double([[4.0, 4.0], [2.0, 0.0]]), held_out)
    assert torch.allclose(found, double([1.0, -1.0]) / math.sqrt(2))


@pytest.mark.parametrize("held_out", [[[1.0, 2.0]], [[1.0, 2.0], [1.0, 3.0]]], ids=str)
def test_mean_zscore_needs_a_spread(held_out):
    with pytest.raises(ValueError, match="expected at least 2 that differ, got"):
        mean_zscore(double([[1.0, 1.0]]), double(held_out))


REFUSED = {
    r"shape \(1,\) with 0 NaN": (torch.zeros(1), torch.zeros(5)),
    r"shape \(3, 1\)": (torch.zeros(5), torch.zeros(3, 1)),
    "with 1 NaN": (torch.zeros(5), torch.tensor([0.0, math.nan])),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError, match=message):
        auroc(*REFUSED[message])


@pytest.mark.parametrize("held_out", [[], [1.0], [2.0, 2.0]], ids=str)
def test_typicality_needs_a_spread(held_out):
    with pytest.raises(ValueError, match="expected at least 2 that differ, got"):
        typicality(double([1.0]), double(held_out))
