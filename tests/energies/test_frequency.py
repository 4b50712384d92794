"""The frequency of Fourier features: what the number of points can show."""

import math

import pytest
import torch
from problems import seeded

from wgflow.data.moments import DataMoments, bandwidth
from wgflow.energies.frequency import FINEST, USUAL, frequency_of
from wgflow.energies.mlp import MLP, MLPSpec


def error(h, count, dim):
    """Asymptotic mean integrated square error of kernels of width h for a standard Gaussian."""
    noise = 1 / (count * h**dim)
    return (noise + h**4 / 4 * dim * (dim + 2) / 4) / (4 * math.pi) ** (dim / 2)


@pytest.mark.parametrize("dim", [1, 2, 10])
@pytest.mark.parametrize("count", [100, 10**6])
def test_the_bandwidth_has_the_least_error_for_a_gaussian(count, dim):
    h = bandwidth(count, dim)
    assert error(h, count, dim) < min(error(c * h, count, dim) for c in (0.99, 1.01))


def test_more_points_show_finer_structure():
    found = [frequency_of(None, DataMoments((2,), points=n)) for n in (1600, 500_000)]
    assert found[0] < found[1]
    ratio = (500_000 / 1600) ** (1 / 6)
    assert found[1] / found[0] == pytest.approx(ratio, rel=1e-12)
    assert found[1] * bandwidth(500_000, 2) == pytest.approx(FINEST, rel=1e-12)


def test_a_number_that_is_given_holds_and_a_usual_one_where_nothing_is_known():
    assert frequency_of(0.5, DataMoments((2,), points=100)) == 0.5
    assert frequency_of(None, DataMoments((2,))) == USUAL


def test_a_network_has_the_frequencies_of_its_points():
    spec = MLPSpec(width=4, features=4000, confined=False)
    moments = DataMoments((3,), points=10_000)
    mlp = spec.build(moments, generator=seeded(0))
    assert isinstance(mlp, MLP)
    squares = 3 * mlp.frequencies.detach().flatten() ** 2 / frequency_of(None, moments) ** 2
    assert abs(float(squares.mean() - 1)) < 4 * math.sqrt(2 / len(squares))
    given = MLPSpec(width=4, features=4000, confined=False, frequency=2.0)
    other = given.build(moments, generator=seeded(0))
    ratio = 2 / frequency_of(None, moments)
    torch.testing.assert_close(other.frequencies, ratio * mlp.frequencies)
