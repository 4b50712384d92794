"""Gradients by hand are those of autograd, to the last bit for the default energy of the plane."""

import pytest
import torch
from problems import seeded
from torch import nn

from wgflow.data.moments import Extent
from wgflow.energies import gradient
from wgflow.energies.base import energy_and_grad
from wgflow.energies.confined import Confined
from wgflow.energies.gradient import own_gradient, product, pulled_back
from wgflow.energies.mlp import ACTIVATIONS, MLP, MLPSpec


def by_autograd(energy, x):
    """``E`` and ``∇E`` of its forward."""
    x = x.clone().requires_grad_()
    value = energy(x)
    return value.detach(), *torch.autograd.grad(value.sum(), x)


def mlp(shape=(3,), *, width=16, **settings):
    net = MLP(shape, MLPSpec(width=width, **settings), generator=seeded(0))
    nn.init.normal_(net.head, generator=seeded(1))
    return net


def points(*shape, count=40):
    return torch.randn(count, *shape, generator=seeded(2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("features", [0, 9])
@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
def test_they_are_those_of_autograd(activation, features, shape):
    net = mlp(shape, activation=activation, features=features).double()
    dim = net.frequencies.shape[0]
    covariance = torch.eye(dim, dtype=torch.float64) + 0.3
    x = points(*shape).double()
    center = torch.full(shape, 0.2)
    # Some of the points are beyond the extent, and others within it.
    narrow = Confined(net, 1.3, center, covariance, Extent(float(dim) ** 0.5, 0.4))
    for energy in (net, Confined(net, 1.3), Confined(net, 1.3, center, covariance), narrow):
        own = own_gradient(energy, x)
        assert own is not None
        for got, expected in zip(own, by_autograd(energy, x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_they_round_as_those_of_autograd_do():
    energy, x = Confined(mlp((2,), width=MLPSpec.width), 2.0), points(2)
    for got, expected in zip(energy_and_grad(energy, x), by_autograd(energy, x), strict=True):
        assert torch.equal(got, expected)


def test_blocks_change_nothing(monkeypatch):
    energy, x = mlp(), points(3)
    whole = energy_and_grad(energy, x)
    rows = []
    inner = energy._value_and_grad
    monkeypatch.setattr(energy, "_value_and_grad", lambda x: (rows.append(len(x)), inner(x))[1])
    monkeypatch.setattr(gradient, "NUMBERS", 16 * 15)
    for got, expected in zip(energy_and_grad(energy, x), whole, strict=True):
        torch.testing.assert_close(got, expected)
    assert rows == [15, 15, 10]


def test_no_graph_is_built():
    x = points(3).requires_grad_()
    value, grad = energy_and_grad(Confined(mlp(), 1.5), x)
    assert not value.requires_grad
    assert not grad.requires_grad
    assert x.grad is None


def test_losses_of_the_gradient_have_a_graph():
    net = mlp()
    _, grad = energy_and_grad(net, points(3), create_graph=True)
    (found,) = torch.autograd.grad(grad.square().sum(), net.frequencies)
    assert found.any()


def test_a_free_part_that_does_not_know_its_gradient_has_autograds():
    energy = Confined(lambda x: x.pow(4).sum(1), 1.5)
    assert own_gradient(energy, points(3)) is None
    x = points(3)
    torch.testing.assert_close(energy_and_grad(energy, x)[1], 4 * x**3 + x / 1.5**2)


def test_mixed_precision_is_left_to_autograd():
    energy = mlp()
    with torch.autocast("cpu", torch.bfloat16):
        assert own_gradient(energy, points(3)) is None
    assert own_gradient(energy, points(3)) is not None


@pytest.mark.parametrize("columns", [2, 30])
def test_products_are_products(columns):
    h, weight = torch.randn(6, 20), torch.randn(20, columns)
    torch.testing.assert_close(product(h, weight), h @ weight)


def test_an_unknown_layer_is_named():
    h = points(3)
    with pytest.raises(TypeError, match=r"`layer` must have a known derivative: got Dropout\."):
        pulled_back(nn.Dropout(), h, h, h)
