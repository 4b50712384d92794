"""Clusters and the end of the data: known mixtures, exact points, and points that are off."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import GaussianMixture
from wgflow.metrics.alarms import ERRORS, SHARE
from wgflow.metrics.regions import Clusters, Reach, Shares, largest_difference

MEANS = double([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 1.0]])
WEIGHTS = double([0.5, 0.3, 0.2])
COVARIANCES = torch.stack([torch.diag(double([0.05, 0.2, 0.1]))] * 3)
TARGET = GaussianMixture(MEANS, covariances=COVARIANCES, weights=WEIGHTS)


def draw(n, seed, target=TARGET):
    return target.sample(n, dtype=F64, generator=seeded(seed))


@pytest.fixture(scope="module")
def clusters():
    return Clusters(draw(1500, 0))


def in_order(clusters, values):
    """Values of clusters in the order of `MEANS`."""
    return values[clusters.labels(MEANS)]


def test_the_parts_of_a_mixture_are_found(clusters):
    assert len(clusters) == 3
    assert sorted(clusters.labels(MEANS).tolist()) == [0, 1, 2]
    found = in_order(clusters, clusters.shares(draw(20_000, 1)).of)
    assert (found - WEIGHTS).abs().max() < 4 * math.sqrt(0.25 / 20_000)


def test_one_gaussian_is_one_cluster():
    assert len(Clusters(torch.randn(400, 4, dtype=F64, generator=seeded(2)))) == 1


def test_repeated_rows_and_one_column_have_clusters_too(recwarn):
    rows = double([[0.0], [1.0], [5.0]]).repeat(100, 1)
    clusters = Clusters(rows)
    assert len({int(label) for label in clusters.labels(rows[:3])}) == 3
    assert len(clusters.mixture(rows).means) >= 3
    assert not recwarn.list


def test_a_weighted_point_counts_as_often_as_its_weight(clusters):
    x, weights = MEANS.repeat(2, 1), double([1.0, 2.0, 5.0, 0.0, 0.0, 0.0])
    shares = clusters.shares(x, weights.log() + 7)
    assert in_order(clusters, shares.of) == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert shares.points == pytest.approx(8**2 / (1 + 4 + 25))
    assert clusters.shares(x).points == pytest.approx(6)


def test_the_mixture_of_the_clusters_is_the_mixture_a_little_wider(clusters):
    found = clusters.mixture(draw(6000, 3), spread=1.5)
    assert in_order(clusters, found.weights) == pytest.approx(WEIGHTS, abs=0.03)
    assert in_order(clusters, found.means) == pytest.approx(MEANS, abs=0.06)
    covariances = found.factors @ found.factors.mT
    assert in_order(clusters, covariances) == pytest.approx(1.5 * COVARIANCES, abs=0.03)


def test_the_largest_difference_is_in_its_errors():
    shares, data = Shares(double([0.3, 0.3, 0.4]), 400.0), Shares(double([0.1, 0.38, 0.52]), 100.0)
    off = largest_difference(shares, data)
    pooled = (400 * 0.3 + 100 * 0.1) / 500
    assert off.value == pytest.approx(0.2)
    assert off.error == pytest.approx(math.sqrt(pooled * (1 - pooled) * (1 / 400 + 1 / 100)))


def rings(off):
    return abs(off.value) > max(SHARE, ERRORS * off.error)


@pytest.mark.parametrize(("n", "m"), [(100, 1000), (2000, 60)])
def test_shares_of_exact_points_are_no_alarm(clusters, n, m):
    x, y = draw(100 * n, 4).split(n), draw(100 * m, 5).split(m)
    for a, b in zip(x, y, strict=True):
        assert not rings(largest_difference(clusters.shares(a), clusters.shares(b)))


def test_shares_that_are_off_are_one(clusters):
    other = GaussianMixture(MEANS, covariances=COVARIANCES, weights=[0.4, 0.3, 0.3])
    data = clusters.shares(draw(2000, 6))
    off = largest_difference(clusters.shares(draw(2000, 7, other)), data)
    assert rings(off)
    assert abs(off.value) == pytest.approx(0.1, abs=4 * off.error)


def heavy(n, seed):
    """Points whose tails have no variance: a Gaussian over the root of a uniform number."""
    generator = seeded(seed)
    z = torch.randn(n, 3, dtype=F64, generator=generator)
    return z / torch.rand(n, 1, dtype=F64, generator=generator).sqrt()


@pytest.mark.parametrize("law", [heavy, draw])
def test_exact_points_hardly_lie_outside_whatever_their_tails(law):
    points = law(1000, 8)
    for seed in range(100):
        rows = law(100, 100 + seed)
        reach = Reach(rows[:70], rows[70:])
        assert reach.floor == 0.09
        assert reach.outside(points).value < reach.floor
    assert Reach(points, points).floor == 0.01


def test_points_outside_are_counted_by_their_weights():
    rows = draw(1000, 9)
    reach = Reach(rows, 3 * rows[:1])
    assert reach.outside(rows).value == 0
    x = torch.cat([rows[:3], rows[:1] + 100])
    share, error = reach.outside(x, double([1.0, 1.0, 1.0, 5.0]).log())
    assert share == pytest.approx(5 / 8)
    assert error == pytest.approx(math.sqrt(15 / 64 * 28 / 64))
    assert Reach(rows, x).outside(x).value == 0


def test_a_row_is_as_far_as_if_it_had_been_left_out():
    """So that few rows of many coordinates are not found close to a mean that they made."""
    x = torch.randn(60, 20, dtype=F64, generator=seeded(11))
    x[0] *= 3
    reach = Reach(x, x[1:])
    left_out = Reach(x[1:], x[1:]).distance(x[:1])
    assert reach.radius == pytest.approx(float(left_out), rel=0.01)
    assert float(reach.distance(x).max()) < 0.8 * reach.radius


def test_distance_is_in_standard_deviations():
    x = torch.randn(20_000, 2, dtype=F64, generator=seeded(10)) * double([3.0, 0.5]) + 7
    squares = Reach(x, x).distance(x) ** 2
    # The ridge, .01 of the mean variance (9.25/2), is felt along the narrow axis.
    expected = 9 / (9 + 0.04625) + 0.25 / (0.25 + 0.04625)
    assert abs(float(z_score(squares[:, None], expected))) < 4
