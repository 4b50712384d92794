"""The map of the probability flow: its inverse, its Jacobian, and closed forms of Gaussians."""

import math

import pytest
import torch
from tilts import SPEC, seeded, tilted

from wgflow.data.mixtures import Gaussians
from wgflow.energies.mixture import NoisyMixture
from wgflow.energies.noise_mlp import NoiseMLP
from wgflow.samplers.flow_map import carried


def points(count, dim, sigma):
    x = 2 * torch.randn(count, dim, generator=seeded(3), dtype=torch.float64)
    return x, torch.full((count,), sigma, dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 3])
def test_the_way_back_is_the_inverse(dim):
    energy = tilted(dim, size=0.2)
    x, low = points(100, dim, 0.1)
    high = torch.linspace(1.0, 4.0, 100, dtype=torch.float64)
    up = carried(energy, x, low, high, 6)
    down = carried(energy, up.x, high, low, 6)
    fine = up.log_det.isfinite() & down.log_det.isfinite()
    assert float(fine.double().mean()) > 0.8
    torch.testing.assert_close(down.x[fine], x[fine], rtol=0, atol=1e-11)
    torch.testing.assert_close(down.log_det[fine], -up.log_det[fine], rtol=0, atol=1e-10)


def test_the_jacobian_is_that_of_the_map():
    energy = tilted(2, size=0.2)
    x, low = points(20, 2, 0.1)
    high, h = low + 2.0, 1e-5
    columns = []
    for direction in torch.eye(2, dtype=torch.float64):
        ends = (carried(energy, x + sign * h * direction, low, high, 3).x for sign in (1, -1))
        columns.append((next(ends) - next(ends)) / (2 * h))
    numerical = torch.stack(columns, 2).det().log()
    exact = carried(energy, x, low, high, 3).log_det
    torch.testing.assert_close(exact, numerical, rtol=0, atol=1e-7)


def test_one_gaussian_is_carried_as_in_closed_form():
    """``x √((v+b²)/(v+a²))``, and its logarithm for the Jacobian, by errors of second order."""
    eye = torch.eye(1, dtype=torch.float64)
    gaussian = Gaussians(eye.new_ones(1), eye.new_zeros(1, 1), 2 * eye[None])
    energy = NoiseMLP(SPEC, NoisyMixture([gaussian]), gaussian).double()
    x, low = points(5, 1, 0.1)
    high = torch.full_like(low, 4.0)
    factor = math.sqrt((2 + 16) / (2 + 0.01))
    found = [carried(energy, x, low, high, steps) for steps in (16, 32)]
    errors = [float((y - factor * x).abs().max()) for y, _ in found]
    assert errors[1] < 4e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    torch.testing.assert_close(
        found[1].log_det, torch.full_like(low, math.log(factor)), rtol=0, atol=2e-3
    )


def test_steps_that_may_have_no_inverse_are_told():
    """A step across all levels at once, where the energy is steep."""
    energy = tilted(2, size=0.2)
    x, low = points(100, 2, 0.1)
    _, log_det = carried(energy, x, low, low + 3.9, 1)
    assert bool(log_det.isnan().any())


def test_points_that_are_lost_leave_the_others_alone():
    energy = tilted(2, size=0.2)
    x, low = points(3, 2, 0.1)
    alone = carried(energy, x, low, low + 0.1, 2)
    x[1] = torch.nan
    y, log_det = carried(energy, x, low, low + 0.1, 2)
    assert log_det.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(y[::2], alone.x[::2])
    torch.testing.assert_close(log_det[::2], alone.log_det[::2])
