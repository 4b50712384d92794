"""Energies after maps of the columns: the same distribution, in the units of the data."""

import pytest
import torch

from wgflow.data.transforms import Column, Transform
from wgflow.energies.base import Rescaled, energy_and_grad
from wgflow.energies.transformed import Transformed, original
from wgflow.likelihood.quadrature import Grid, log_z

SHIFT, SCALE = torch.tensor([0.3]).double(), torch.tensor([0.7]).double()
COLUMNS = {
    "yeo-johnson": (Column("yeo-johnson", 2.0, 0.5, 0.2), -3.0, 40.0),
    "log": (Column("log", 0.0, 3.0, 0.2), -60.0, 150.0),
    "logit": (Column("logit", -1.0, 2.0, 0.05), -4.0, 4.0),
    "identity": (Column(), -7.0, 7.0),
}


def double_well(u):
    return ((u.square() - 1).square() + 0.3 * u + 2).squeeze(1)


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_normaliser_is_the_same_in_both_units(kind):
    column, low, high = COLUMNS[kind]
    energy = Transformed(double_well, SHIFT, SCALE, Transform((column,)))
    expected = log_z(double_well, Grid.box([-6.0], [6.0], 4000))
    found = log_z(energy, Grid.box([low], [high], 40_000))
    assert abs(float(found - expected)) < 1e-6


def normal(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def one_of_each():
    maps = Transform(tuple(column for column, _, _ in COLUMNS.values()))
    shift, scale = 0.1 * torch.arange(4).double(), 0.5 + 0.1 * torch.arange(4).double()
    return Transformed(lambda u: u.square().sum(1) / 2, shift, scale, maps)


def test_the_density_is_that_of_mapped_gaussian_points():
    """By the change of variables, with the derivative of the inverse by autograd."""
    energy, u = one_of_each(), normal(50, 4).requires_grad_()
    x = energy.unstandardise(u)
    (slope,) = torch.autograd.grad(x.sum(), u)  # the Jacobian is diagonal
    torch.testing.assert_close(energy(x), u.square().sum(1) / 2 + slope.log().sum(1))
    torch.testing.assert_close(energy.standardise(x), u.detach(), rtol=1e-8, atol=1e-8)


def test_the_gradient_is_that_of_the_energy():
    energy = one_of_each()
    x, way = energy.unstandardise(normal(20, 4)), torch.tensor([1.0, -0.5, 0.01, 2.0]).double()
    value = [energy(x + h * way) for h in (-1e-5, 1e-5)]
    slope = energy_and_grad(energy, x)[1] @ way
    torch.testing.assert_close(slope, (value[1] - value[0]) / 2e-5, rtol=1e-5, atol=1e-5)


def test_an_energy_in_units_of_the_data_is_undone():
    energy, u = one_of_each(), normal(20, 4)
    again = energy.around(energy.undone(energy))
    x = energy.unstandardise(u)
    torch.testing.assert_close(energy.undone(energy)(u), u.square().sum(1) / 2)
    torch.testing.assert_close(again(x), energy(x))


def test_beyond_a_bound_the_energy_is_finite_and_its_gradient_leads_back():
    energy, x = one_of_each(), torch.tensor([[2.0, 1.0, 0.0, 0.0]]).double().repeat(4, 1)
    x[1, 1], x[2, 2], x[3, 0] = -1.0, 1.2, -1e6
    value, slope = energy_and_grad(energy, x)
    assert value.isfinite().all()
    assert (value[1:] > value[0] + 1).all()
    assert slope.isfinite().all()
    assert slope[1, 1] < 0 < slope[2, 2]


def test_an_energy_keeps_the_precision_of_the_points():
    energy = one_of_each()
    x = energy.unstandardise(normal(20, 4))
    assert energy(x.float()).dtype == torch.float32
    torch.testing.assert_close(energy(x.float()), energy(x).float(), rtol=1e-4, atol=1e-4)


def test_without_maps_it_is_a_rescaled_energy():
    plain = original(double_well, SHIFT, SCALE)
    assert type(plain) is Rescaled
    assert plain.transform is None
    same = original(double_well, SHIFT, SCALE, Transform((Column(),)))
    x = normal(9, 1)
    torch.testing.assert_close(same(x), plain(x))
    torch.testing.assert_close(plain.undone(plain)(x), double_well(x))


def test_levels_of_noise_are_refused():
    with pytest.raises(ValueError, match="`level` must be none for data with maps"):
        one_of_each()(normal(2, 4), torch.zeros(2).double())
