"""Metrics on hand cases, their invariances, their laws under the null; calibration."""

import math

import ot
import pytest
import torch

from wgflow.likelihood.calibration import best_temperature, grid_temperature
from wgflow.likelihood.quadrature import Grid
from wgflow.metrics.pairwise import median_distance, pairwise_distances
from wgflow.metrics.samples import (
    MMD,
    EnergyDistance,
    SlicedWasserstein,
    Wasserstein,
    evaluate,
    halves,
    mode_occupancy,
    occupancy_error,
    with_floor,
)

F64 = torch.float64
METRICS = [SlicedWasserstein(projections=50), Wasserstein(), EnergyDistance(), MMD()]
EVERY = pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(seed, n=60, shape=(3,)):
    return torch.randn(n, *shape, generator=seeded(seed), dtype=F64)


# Hand cases ------------------------------------------------------------------------------------

X = torch.tensor([[0.0], [2.0]], dtype=F64)
Y = torch.tensor([[1.0], [5.0]], dtype=F64)


def kernel(r):
    return math.exp(-(r**2) / 8)


HAND = [
    (SlicedWasserstein(), math.sqrt((1 + 9) / 2)),
    (Wasserstein(), math.sqrt((1 + 9) / 2)),
    (EnergyDistance(), 2 * (1 + 5 + 1 + 3) / 4 - 2 - 4),
    (MMD(bandwidth=2.0), kernel(2) + kernel(4) - 2 * (2 * kernel(1) + kernel(5) + kernel(3)) / 4),
    (MMD(), kernel(1) + kernel(2) - 2 * (2 * kernel(0.5) + kernel(2.5) + kernel(1.5)) / 4),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "expected"), HAND)
def test_two_points_against_two_points(metric, expected):
    assert float(metric(X, Y)) == pytest.approx(expected, rel=1e-9)


def test_wasserstein_between_different_sizes():
    y = torch.tensor([[0.0], [2.0], [2.0]], dtype=F64)  # a sixth of the mass moves by 2
    assert float(Wasserstein()(X, y)) == pytest.approx(math.sqrt(4 / 6), rel=1e-9)
    assert float(SlicedWasserstein()(X, y)) == pytest.approx(math.sqrt(4 / 6), rel=1e-9)


def test_wasserstein_of_a_small_translation_is_its_length():
    x, shift = cloud(0), torch.tensor([0.3, -0.4, 1.2], dtype=F64)
    assert float(Wasserstein()(x + shift, x)) == pytest.approx(1.3, rel=1e-6)


@pytest.mark.parametrize("dim", [2, 10])
def test_sliced_wasserstein_of_a_translation_is_its_length_over_root_dimension(dim):
    x, shift = cloud(0, shape=(dim,)), cloud(1, 1, (dim,))
    squares = float(SlicedWasserstein()(x + shift, x)) ** 2
    length = float(shift.square().sum())
    error = length * math.sqrt(2 * (dim - 1) / (dim**2 * (dim + 2)) / 1000)
    assert abs(squares - length / dim) < 4 * error


@pytest.mark.parametrize("count", [40, 70])
def test_sliced_wasserstein_averages_one_dimensional_distances(count):
    x, y = cloud(0, count, (1,)), 2 * cloud(1, 70, (1,))
    exact = float(ot.emd2([], [], pairwise_distances(x, y).square().numpy()))
    assert float(SlicedWasserstein()(x, y)) == pytest.approx(math.sqrt(exact), rel=1e-9)


def test_energy_distance_of_far_points_is_twice_their_distance():
    x, y = cloud(0) * 1e-3, cloud(1) * 1e-3 + torch.tensor([30.0, 0.0, 40.0], dtype=F64)
    assert float(EnergyDistance()(x, y)) == pytest.approx(100, abs=0.02)


def test_median_distance_counts_distinct_pairs():
    assert median_distance(torch.tensor([[0.0], [1.0], [5.0]])) == 4.0


# Invariances -----------------------------------------------------------------------------------


@EVERY
def test_order_of_the_points_does_not_matter(metric):
    x, y = cloud(0), cloud(1) + 1
    shuffled = metric(x[torch.randperm(60, generator=seeded(5))], y.flip(0))
    assert float(shuffled) == pytest.approx(float(metric(x, y)), rel=1e-9)


@EVERY
def test_a_common_translation_does_not_matter(metric):
    x, y, shift = cloud(0), cloud(1) + 1, torch.tensor([1e7, -3.0, 20.0], dtype=F64)
    assert float(metric(x + shift, y + shift)) == pytest.approx(float(metric(x, y)), rel=1e-7)


@EVERY
def test_units_scale_the_distance(metric):
    x, y = cloud(0), cloud(1) + 1
    factor = 1 if isinstance(metric, MMD) else 10
    assert float(metric(10 * x, 10 * y)) == pytest.approx(factor * float(metric(x, y)), rel=1e-9)


@EVERY
def test_events_are_flattened(metric):
    x, y = cloud(0, shape=(6,)), cloud(1, shape=(6,))
    assert torch.equal(metric(x.reshape(60, 2, 3), y.reshape(60, 2, 3)), metric(x, y))


@EVERY
def test_scores_repeat_and_ignore_the_global_seed(metric):
    x, y = cloud(0, 1200, (2,)), cloud(1, 1200, (2,))
    state = torch.get_rng_state()
    first = metric(x, y)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(metric(x, y), first)


@EVERY
def test_float32_points_are_compared_in_float64(metric):
    x, y = cloud(0).float(), cloud(1).float()
    assert metric(x, y).dtype == F64
    torch.testing.assert_close(metric(x, y), metric(x.double(), y.double()))


@pytest.mark.parametrize("pair", [
    (EnergyDistance(), EnergyDistance(chunk=17)),
    (MMD(), MMD(chunk=17)),
    (SlicedWasserstein(), SlicedWasserstein(chunk=33)),
])  # fmt: skip
def test_chunks_change_nothing(pair):
    x, y = cloud(0, 50), cloud(1, 73) + 1
    whole, chunked = (float(metric(x, y)) for metric in pair)
    assert chunked == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("metric", [SlicedWasserstein(), Wasserstein(points=20), MMD(points=20)])
def test_seed_changes_what_is_drawn(metric):
    x, y = cloud(0, 50), cloud(1, 50) + 1
    other = type(metric)(**{**vars(metric), "seed": 1})
    assert float(other(x, y)) != float(metric(x, y))


# The law of an unbiased statistic under the null -------------------------------------------------


@pytest.mark.parametrize("metric", [EnergyDistance(), MMD(bandwidth=1.0)])
@pytest.mark.parametrize("sizes", [(5, 5), (4, 15)])
def test_u_statistics_are_unbiased_between_samples_of_one_law(metric, sizes):
    generator = seeded(11)
    draws = [torch.randn(n, 3000, 2, generator=generator, dtype=F64) for n in sizes]
    scores = torch.stack([metric(draws[0][:, i], draws[1][:, i]) for i in range(3000)])
    assert abs(float(scores.mean())) < 4 * float(scores.std()) / math.sqrt(3000)


def test_u_statistics_are_unbiased_between_two_laws():
    generator, delta = seeded(12), 1.5
    x = torch.randn(6, 3000, generator=generator, dtype=F64)
    y = torch.randn(9, 3000, generator=generator, dtype=F64) + delta
    scores = torch.stack([MMD(bandwidth=1.0)(x[:, i], y[:, i]) for i in range(3000)])
    exact = 2 / math.sqrt(3) * (1 - math.exp(-(delta**2) / 6))
    assert abs(float(scores.mean()) - exact) < 4 * float(scores.std()) / math.sqrt(3000)


# Tables and floors -------------------------------------------------------------------------------


def test_evaluate_names_every_score():
    x, y = cloud(0), cloud(1)
    table = {"energy": EnergyDistance(), "mmd": MMD()}
    assert evaluate(x, y, table) == {k: float(m(x, y)) for k, m in table.items()}


def test_floor_is_the_score_of_exact_points_in_the_place_of_x():
    x, reference, second = cloud(0, 40) + 1, cloud(1, 60), cloud(2, 50)
    result = with_floor(MMD(), x, reference, second)
    assert result.score == float(MMD()(x, reference))
    assert result.floor == float(MMD()(second[:40], reference))


def test_halves_are_a_partition_in_random_order():
    reference = torch.arange(11.0)[:, None]
    first, second = halves(reference)
    assert (len(first), len(second)) == (5, 6)
    assert not torch.equal(first, reference[:5])
    assert torch.equal(torch.cat([first, second]).sort(0).values, reference)


# Mode occupancy ----------------------------------------------------------------------------------

MEANS = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 4.0]], dtype=F64)


def test_occupancy_counts_the_nearest_mean():
    x = torch.tensor([[-5.0, 1.0], [3.0, 0.0], [4.0, -1.0], [5.0, 2.0]], dtype=F64)
    expected = torch.tensor([0.25, 0.75, 0.0], dtype=F64)
    torch.testing.assert_close(mode_occupancy(x, MEANS), expected)


def test_occupancy_of_weighted_points_ignores_their_normalisation():
    x = torch.tensor([[-5.0, 1.0], [3.0, 0.0], [0.0, 3.0]], dtype=F64)
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=F64)
    torch.testing.assert_close(mode_occupancy(x, MEANS, weights * 7), weights / 8)


def test_occupancy_of_exact_points_varies_as_its_error_says():
    generator, masses = seeded(1), torch.tensor([0.1, 0.3, 0.6], dtype=F64)
    labels = masses.multinomial(400 * 500, True, generator=generator).reshape(400, 500)
    found = torch.stack([mode_occupancy(MEANS[row], MEANS) for row in labels])
    z = (found - masses) / occupancy_error(masses, 500.0)
    assert float(z.mean(0).abs().max()) < 4 / math.sqrt(400)
    assert float((z.std(0) - 1).abs().max()) < 4 / math.sqrt(800)
    twice = (found[:200] - found[200:]) / occupancy_error(masses, 500.0, 500.0)
    assert float((twice.std(0) - 1).abs().max()) < 4 / math.sqrt(400)


# Calibration -------------------------------------------------------------------------------------

GRID = Grid.box([-12.0, -12.0], [12.0, 12.0], 160)


def wells(x):
    parts = [
        ((x - mean) ** 2).sum(1) / 2 + cost for mean, cost in zip(MEANS, (0, 1, 2), strict=True)
    ]
    return -torch.stack([-part for part in parts]).logsumexp(0)


def grid_points(temperature):
    """Equally weighted points whose mean energy is that of the law at T, within the draw."""
    log_weight = -wells(GRID.nodes) / temperature
    draw = torch.softmax(log_weight, 0).multinomial(200_000, True, generator=seeded(2))
    return GRID.nodes[draw]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_grid_temperature_recovers_the_temperature_of_the_data(temperature):
    points = grid_points(temperature)
    energies = wells(points)
    error = temperature**2 / float(energies.std()) / math.sqrt(len(points))
    assert abs(grid_temperature(wells, points, GRID) - temperature) < 4 * error


@pytest.mark.parametrize("factor", [0.25, 2.0, 5.0])
def test_an_energy_that_is_too_sharp_by_a_factor_has_that_temperature(factor):
    points = grid_points(1.0)
    scaled = grid_temperature(lambda x: factor * wells(x) + 3, points, GRID)
    assert scaled == pytest.approx(factor * grid_temperature(wells, points, GRID), rel=1e-8)


def test_grid_temperature_maximises_the_likelihood():
    points = grid_points(1.0)[:500]
    best = grid_temperature(lambda x: 2 * wells(x), points, GRID)

    def log_likelihood(temperature):
        nodes = torch.logsumexp(-2 * wells(GRID.nodes) / temperature, 0)
        return float((-2 * wells(points) / temperature).mean() - nodes)

    assert log_likelihood(best) > max(log_likelihood(best * 1.01), log_likelihood(best / 1.01))
    slope = (log_likelihood(best + 1e-4) - log_likelihood(best - 1e-4)) / 2e-4
    assert slope == pytest.approx(0, abs=1e-7)


def test_particles_recover_the_temperature_of_a_gaussian_energy():
    x = torch.randn(100_000, generator=seeded(3), dtype=F64)
    data = 1.2 * torch.randn(100_000, generator=seeded(4), dtype=F64)  # E = x²/2 at T = 1.44
    best = best_temperature(data**2 / 2, x**2 / 2)
    assert best == pytest.approx(1.44, abs=0.05)


def test_particles_with_weights_stand_for_the_law_they_are_weighted_to():
    x = 1.5 * torch.randn(100_000, generator=seeded(3), dtype=F64)
    data = 1.2 * torch.randn(100_000, generator=seeded(4), dtype=F64)
    log_weight = -(x**2) / 2 + (x / 1.5) ** 2 / 2
    assert best_temperature(data**2 / 2, x**2 / 2, log_weight) == pytest.approx(1.44, abs=0.03)
    assert best_temperature(data**2 / 2, x**2 / 2) != pytest.approx(1.44, abs=0.5)


def test_temperature_solves_the_stationarity_equation_and_its_first_order():
    x, data = cloud(0, 500, (1,))[:, 0] ** 2 / 2, 1.01 * cloud(0, 500, (1,))[:, 0] ** 2 / 2
    best = best_temperature(data, x)
    weights = torch.softmax(-(1 / best - 1) * x, 0)
    assert float(weights @ x) == pytest.approx(float(data.mean()), rel=1e-10)
    first_order = float((x.mean() - data.mean()) / x.var(correction=0))
    assert 1 / best - 1 == pytest.approx(first_order, rel=0.05)


def test_data_of_the_mean_energy_of_the_particles_are_calibrated():
    x = cloud(0, 500, (1,))[:, 0] ** 2
    assert best_temperature(x.flip(0), x) == pytest.approx(1, abs=1e-10)


def test_nodes_of_infinite_energy_carry_nothing():
    def half(x):
        return torch.where(x[:, 0] > 0, wells(x), math.inf)

    points = grid_points(1.0)
    points = points[points[:, 0] > 0]
    assert grid_temperature(half, points, GRID) == pytest.approx(1, abs=0.02)


# Errors ------------------------------------------------------------------------------------------


@EVERY
def test_metrics_refuse_what_they_cannot_compare(metric):
    x = cloud(0)
    with pytest.raises(ValueError, match=r"the shape \(2,\) of the reference: got \(3,\)"):
        metric(x, x[:, :2])
    with pytest.raises(ValueError, match="points: got 0 and 60"):
        metric(x[:0], x)
    bad = x.clone()
    bad[3, 1], bad[7, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match="got 2 that are not, and 0 of the reference"):
        metric(bad, x)


@pytest.mark.parametrize("metric", [EnergyDistance(), MMD()])
def test_u_statistics_need_two_points(metric):
    with pytest.raises(ValueError, match="must have 2 points: got 60 and 1"):
        metric(cloud(0), cloud(1, 1))


ENERGIES = torch.tensor([1.0, 2.0, 3.0])
ERRORS = [
    (lambda: MMD(bandwidth=0.0), r"`bandwidth` must be > 0 and finite: got 0\.0"),
    (
        lambda: MMD()(cloud(0), torch.zeros(5, 3)),
        r"between points must be > 0: got 0",
    ),
    (
        lambda: with_floor(MMD(), cloud(0), cloud(1), cloud(2, 10)),
        "must have 60 points or more: got 10",
    ),
    (
        lambda: mode_occupancy(cloud(0, 4, (2,)), MEANS, torch.ones(3)),
        r"not all zero, of shape \(4,\): got shape \(3,\)",
    ),
    (lambda: mode_occupancy(cloud(0, 2, (2,)), MEANS, torch.tensor([1.0, -1.0])), "must be ≥ 0"),
    (
        lambda: occupancy_error(torch.tensor([1.5]), 10.0),
        r"`masses` must be in \[0, 1\].* got \[1\.5",
    ),
    (lambda: best_temperature(ENERGIES[:0], ENERGIES), r"got \(0,\) and \(3,\)"),
    (
        lambda: best_temperature(ENERGIES, ENERGIES, ENERGIES[:2]),
        r"shape \(3,\): got \(2,\)",
    ),
    (lambda: best_temperature(ENERGIES * math.nan, ENERGIES), "Energies must be finite"),
    (lambda: best_temperature(ENERGIES - 3, ENERGIES), "got -1.0, which is below every particle"),
    (lambda: best_temperature(ENERGIES + 3, ENERGIES), "got 5.0, which is above the average"),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()
