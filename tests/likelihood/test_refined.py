"""log Z by quadrature on grids refined until two agree, against Gaussians of any width."""

import math

import pytest
import torch

from wgflow.likelihood.quadrature import CELLS, SETTLED, Grid, refined_log_z, standardised_log_z


def gaussian(deviation, dim, seen):
    """``|x|²/(2s²)`` away from the nodes, and its log Z; counts the nodes it has seen."""

    def energy(x):
        seen.append(len(x))
        return (x - 0.001).square().sum(1) / (2 * deviation**2)

    return energy, dim / 2 * math.log(2 * math.pi * deviation**2)


CASES = [(2, 0.3, 1), (2, 0.02, 2), (2, 0.012, 3), (1, 0.3, 1), (1, 0.004, 2), (1, 3e-4, 3)]


@pytest.mark.parametrize(("dim", "deviation", "grids"), CASES)
def test_as_many_grids_as_the_peak_needs(dim, deviation, grids):
    seen = []
    energy, exact = gaussian(deviation, dim, seen)
    value, error = standardised_log_z(energy, dim, torch.float64)
    assert sum(seen) == sum(n**dim for n in CELLS[dim][:grids])
    assert float(error) <= SETTLED
    assert abs(float(value) - exact) <= float(error) + 1e-12


@pytest.mark.parametrize(("dim", "deviation"), [(2, 2e-3), (1, 3e-5)])
def test_an_error_where_the_finest_grid_is_too_coarse(dim, deviation):
    energy, exact = gaussian(deviation, dim, [])
    value, error = standardised_log_z(energy, dim, torch.float64)
    assert float(error) > SETTLED
    assert abs(float(value) - exact) <= 2 * float(error)


def test_known_values_of_the_first_grid_are_not_computed_again():
    seen = []
    energy, exact = gaussian(0.3, 2, seen)
    grid = Grid.box([-6.0, -6.0], [6.0, 6.0], 400)
    first = -energy(grid.nodes)
    del seen[:]
    value, _ = refined_log_z(energy, [grid], SETTLED, first=first)
    assert not seen
    assert float(value) == pytest.approx(exact, abs=1e-12)
