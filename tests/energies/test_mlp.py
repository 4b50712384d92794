"""Networks: the formula of the docstring, its derivatives, its first law and its seeds."""

import math

import pytest
import torch
from problems import F64, seeded
from torch.autograd import gradcheck, gradgradcheck

from wgflow.energies.base import check_energy, energy_and_grad
from wgflow.energies.mlp import ACTIVATIONS, MLP, MLPSpec

NETS = {
    "points": ((2,), MLPSpec(width=12, features=5)),
    "deep": ((3,), MLPSpec(width=6, depth=4, features=3, activation="tanh")),
    "plain": ((2,), MLPSpec(width=12, depth=1, features=0)),
    "image": ((1, 4, 4), MLPSpec(width=8, features=6, frequency=0.5)),
}


@pytest.fixture(params=NETS)
def net(request):
    """A network with a head that is not zero, in float64, and points for it."""
    mlp = MLP(*NETS[request.param], generator=seeded(0)).double()
    torch.nn.init.normal_(mlp.head, generator=seeded(1))
    return mlp, torch.randn(7, *NETS[request.param][0], dtype=F64, generator=seeded(2))


@pytest.mark.parametrize("name", NETS)
def test_the_first_energy_is_zero(name):
    x = torch.randn(7, *NETS[name][0])
    mlp = MLP(*NETS[name], generator=seeded(0))
    check_energy(mlp, x)
    value, grad = energy_and_grad(mlp, x)
    assert not value.any()
    assert not grad.any()


def test_the_head_learns_from_zero():
    mlp = MLP(*NETS["points"], generator=seeded(0))
    mlp(torch.randn(7, 2, generator=seeded(1))).sum().backward()
    assert mlp.head.grad.abs().min() > 0


def test_the_formula_of_the_docstring():
    mlp = MLP((2,), MLPSpec(width=12, depth=2, features=5), generator=seeded(0)).double()
    torch.nn.init.normal_(mlp.head, generator=seeded(1))
    x = torch.randn(7, 2, dtype=F64, generator=seeded(2))
    b, a = mlp.frequencies, mlp.head
    w1, c1, w2, c2 = mlp.hidden.parameters()
    silu = torch.nn.functional.silu
    for point, value in zip(x, mlp(x), strict=True):
        h = torch.cat([point, (b.T @ point).cos(), (b.T @ point).sin()])
        expected = a @ silu(w2 @ silu(w1 @ h + c1) + c2)
        torch.testing.assert_close(value, expected)


def test_gradient_agrees_with_differences(net):
    mlp, x = net
    u = torch.randn(x.shape, dtype=F64, generator=seeded(3))
    h = 1e-5
    slope = (mlp(x + h * u) - mlp(x - h * u)).detach() / (2 * h)
    _, grad = energy_and_grad(mlp, x)
    torch.testing.assert_close((grad * u).flatten(1).sum(1), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_energies_are_smooth_to_the_second_derivative(activation):
    spec = MLPSpec(width=4, features=2, activation=activation)
    mlp = MLP((2,), spec, generator=seeded(0)).double()
    torch.nn.init.normal_(mlp.head, generator=seeded(1))
    x = torch.randn(3, 2, dtype=F64, generator=seeded(2)).requires_grad_()
    assert gradcheck(mlp, (x,))
    assert gradgradcheck(mlp, (x,))
    curvature = torch.autograd.functional.hessian(lambda y: mlp(y).sum(), x)
    assert curvature.abs().max() > 1e-3


def test_points_of_a_batch_do_not_see_each_other(net):
    mlp, x = net
    order = torch.randperm(7, generator=seeded(4))
    torch.testing.assert_close(mlp(x[order]), mlp(x)[order], rtol=0, atol=1e-13)
    torch.testing.assert_close(mlp(x[2:3]), mlp(x)[2:3], rtol=0, atol=1e-13)


def test_a_seed_is_a_network_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    first, again, other = (
        MLP((2,), MLPSpec(width=8), generator=seeded(s)).state_dict() for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if key != "head")


def test_initial_weights_have_the_law_of_the_docstring():
    frequency, features, width = 3.0, 2000, 400
    mlp = MLP((2,), MLPSpec(None, True, width, 1, features, frequency), generator=seeded(0))
    # E = 1, Var = 2; the dimension is 2.
    squares = 2 * mlp.frequencies.detach().flatten() ** 2 / frequency**2
    assert abs(float(squares.mean() - 1)) < 4 * math.sqrt(2 / len(squares))
    fan_in = 2 + 2 * features
    weights = next(mlp.hidden.parameters()).detach().flatten() * math.sqrt(fan_in)
    assert weights.abs().max() <= 1 + 1e-6
    assert abs(float(weights.mean())) < 4 * math.sqrt(1 / 3 / len(weights))
    assert abs(float((weights**2).mean()) - 1 / 3) < 4 * math.sqrt(4 / 45 / len(weights))


ERRORS = [
    ({"activation": "relu"}, "`activation` must be one of silu, gelu, softplus, tanh: got 'relu'"),
    ({"width": 0}, "`width` must be > 0 and finite: got 0"),
    ({"depth": 0}, "`depth` must be > 0 and finite: got 0"),
    ({"features": -1}, "`features` must be ≥ 0 and finite: got -1"),
]


@pytest.mark.parametrize(("arguments", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(arguments, match):
    with pytest.raises(ValueError, match=match):
        MLPSpec(**arguments)
