"""Columns one by one and in pairs: known distances, their law, and dependence that is seen."""

import math

import numpy as np
import pytest
from scipy.stats import kstwobign

from wgflow.metrics.columns import dependent_pairs, kolmogorov, kolmogorov_floor
from wgflow.plots import POOR

RNG = np.random.default_rng(0)


def test_the_distance_of_kolmogorov_by_hand():
    x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    y = np.array([[1.5, 0.0], [2.5, 2.0]])
    assert kolmogorov(x, y) == pytest.approx([0.5, 0.5])
    assert kolmogorov(x, x).tolist() == [0, 0]
    assert kolmogorov(np.exp(x), np.exp(y)) == pytest.approx(kolmogorov(x, y))


def test_the_floor_is_what_exact_points_score_on_average():
    n, m = 300, 120
    scores = kolmogorov(RNG.normal(size=(n, 1500)), RNG.normal(size=(m, 1500)))
    error = scores.std() / math.sqrt(1500)
    # The statistic of finite samples is a little below its limit: by 1/(6n) at each side.
    assert kolmogorov_floor(n, m) - scores.mean() == pytest.approx(0.002, abs=0.002 + 4 * error)
    assert kolmogorov_floor(n, m) == pytest.approx(kstwobign.mean() * math.sqrt(1 / n + 1 / m))


def test_one_exact_column_in_a_thousand_is_poor():
    assert kstwobign.sf(POOR * kstwobign.mean()) == pytest.approx(1e-3, rel=0.3)


def rows(n=3000):
    """A ring in columns 1 and 4, a line in 0 and 2, and two columns on their own."""
    angle = 2 * math.pi * RNG.random(n)
    x = RNG.normal(size=(n, 6))
    x[:, 1], x[:, 4] = np.cos(angle), np.sin(angle)
    x[:, 2] = -3 * x[:, 0] + x[:, 2]
    return x + 0.05 * RNG.normal(size=x.shape)


def test_lines_and_rings_are_the_pairs_to_look_at():
    x = rows()
    assert set(dependent_pairs(x, 2)) == {(0, 2), (1, 4)}
    scaled = x * np.array([1e3, 1, -1, 1, 1e-3, 1])
    assert set(dependent_pairs(scaled, 2)) == {(0, 2), (1, 4)}


def test_no_column_takes_all_pairs_while_others_are_left():
    z = RNG.normal(size=(2000, 1))
    x = np.concatenate([z + s * RNG.normal(size=z.shape) for s in (0.0, 0.1, 0.1, 0.1, 3, 3)], 1)
    pairs = dependent_pairs(x, 5)
    assert len(set(pairs)) == 5
    assert max(np.bincount(np.array(pairs).ravel())) == 2
    assert len(dependent_pairs(x[:, :3], 5)) == 3
