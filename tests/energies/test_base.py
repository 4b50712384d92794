"""Compositions have the laws that they promise; the one gradient agrees with differences."""

import math

import pytest
import torch
from problems import F64, PROBLEMS, double, seeded
from torch import nn
from torch.autograd import gradcheck

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.energies.base import Mixture, Rescaled, Sum, Tempered, check_energy, energy_and_grad
from wgflow.energies.confined import Confined
from wgflow.energies.mlp import MLP, MLPSpec
from wgflow.likelihood.quadrature import Grid, log_z

MEANS = double([[0.5, -1.0], [-0.4, 0.3]])
COVARIANCES = double([[[0.5, 0.2], [0.2, 0.4]], [[0.9, -0.3], [-0.3, 0.7]]])
P, Q = (Gaussian(m, c) for m, c in zip(MEANS, COVARIANCES, strict=True))
X = torch.randn(64, 2, dtype=F64, generator=seeded(0))


def flat(x):
    return x.flatten(1).sum(1) * 0


def half_square(x):
    return x.flatten(1).square().sum(1) / 2


def normal(x):
    return half_square(x) + math.log(2 * math.pi) * x[0].numel() / 2


def quartic(x):
    x = x.flatten(1)
    return (x**4 / 4 - x[:, :1] * x).sum(1)


class Quartic(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return quartic(x) * self.scale.to(x.dtype)


def product():
    """The law of ``P^1.5 Q^0.5``: precisions add, and precision-weighted means."""
    precisions = double([1.5, 0.5])[:, None, None] * torch.linalg.inv(COVARIANCES)
    covariance = torch.linalg.inv(precisions.sum(0))
    return Gaussian(covariance @ (precisions @ MEANS[:, :, None]).sum(0)[:, 0], covariance)


# Laws ------------------------------------------------------------------------------------------

SCALE = double([0.5, 3.0])
NORMALISED = [lambda x: -P.log_prob(x), lambda x: -Q.log_prob(x)]
SAME_LAW = {
    "sum": (Sum([P, Q], [1.5, 0.5]), product()),
    "plain sum": (Sum([P, P]), Gaussian(MEANS[0], COVARIANCES[0] / 2)),
    "mixture": (Mixture(NORMALISED), GaussianMixture(MEANS, covariances=COVARIANCES)),
    "weighted mixture": (
        Mixture(NORMALISED, [3.0, 1.0]),
        GaussianMixture(MEANS, covariances=COVARIANCES, weights=[3.0, 1.0]),
    ),
    "tempered": (Tempered(P, 2.5), Gaussian(MEANS[0], 2.5 * COVARIANCES[0])),
    "confined": (Confined(flat, 2.0, MEANS[1]), Gaussian(MEANS[1], 4 * torch.eye(2))),
    "rescaled": (Rescaled(normal, MEANS[0], SCALE), Gaussian(MEANS[0], SCALE.square().diag())),
}
WITH_NORMALISER = ["mixture", "weighted mixture", "rescaled"]


@pytest.mark.parametrize("name", SAME_LAW)
def test_composition_has_the_known_law(name):
    energy, law = SAME_LAW[name]
    gap = energy(X) - law(X)
    torch.testing.assert_close(gap, gap[:1].expand(64), rtol=0, atol=1e-12)
    torch.testing.assert_close(energy_and_grad(energy, X)[1], energy_and_grad(law, X)[1])


@pytest.mark.parametrize("name", WITH_NORMALISER)
def test_composition_of_normalised_parts_is_normalised(name):
    energy, law = SAME_LAW[name]
    torch.testing.assert_close(energy(X), -law.log_prob(X), rtol=0, atol=1e-12)


def test_coefficients_multiply_values():
    torch.testing.assert_close(Sum([P, Q], [2.0, -0.5])(X), 2 * P(X) - Q(X) / 2)


def test_mixture_survives_parts_that_underflow():
    far = Mixture([lambda x: half_square(x) + 2000, lambda x: half_square(x) + 2001])
    expected = half_square(X) + 2000 - math.log((1 + math.exp(-1)) / 2)
    torch.testing.assert_close(far(X), expected)


@pytest.mark.parametrize("name", PROBLEMS)
def test_rescaling_keeps_log_z(name):
    target = PROBLEMS[name].target
    shift = double([0.5, -1.0])
    rescaled = Rescaled(target, shift, SCALE)
    box = Grid.box((shift - 16 * SCALE).tolist(), (shift + 16 * SCALE).tolist(), 240)
    assert float(log_z(rescaled, box)) == pytest.approx(target.log_z, abs=1e-7)


def test_rescaling_follows_the_chain_rule():
    rescaled = Rescaled(quartic, MEANS[0], SCALE)
    _, grad = energy_and_grad(quartic, (X - MEANS[0]) / SCALE)
    torch.testing.assert_close(energy_and_grad(rescaled, X)[1], grad / SCALE)


def test_one_scale_counts_once_per_pixel():
    x = torch.randn(5, 1, 4, 4, dtype=F64, generator=seeded(1))
    rescaled = Rescaled(half_square, double(0.5), double(0.1))
    torch.testing.assert_close(rescaled(x), half_square((x - 0.5) / 0.1) + 16 * math.log(0.1))


# The gradient ----------------------------------------------------------------------------------


def net(shape):
    mlp = MLP(shape, MLPSpec(width=8, features=4), generator=seeded(3)).double()
    nn.init.normal_(mlp.head, generator=seeded(4))
    return mlp


ENERGIES = {
    "function": lambda shape: quartic,
    "lambda": lambda shape: lambda x: x.flatten(1).cos().prod(1),
    "module": lambda shape: Quartic(),
    "net": net,
    "sum": lambda shape: Sum([quartic, net(shape)], [0.5, 2.0]),
    "mixture": lambda shape: Mixture([quartic, half_square], [1.0, 2.0]),
    "tempered": lambda shape: Tempered(Quartic(), 3.0),
    "confined": lambda shape: Confined(quartic, 0.5, torch.full(shape, 0.3, dtype=F64)),
    "rescaled": lambda shape: Rescaled(quartic, double(0.2), torch.full(shape, 2.0, dtype=F64)),
}
SHAPES = [(2,), (1, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ENERGIES)
def test_gradient_agrees_with_differences(name, shape):
    energy = ENERGIES[name](shape)
    x, u = torch.randn(2, 6, *shape, dtype=F64, generator=seeded(5))
    value, grad = energy_and_grad(energy, x)
    h = 1e-5
    with torch.no_grad():
        slope = (energy(x + h * u) - energy(x - h * u)) / (2 * h)
        torch.testing.assert_close(value, energy(x))
    torch.testing.assert_close((grad * u).flatten(1).sum(1), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ENERGIES)
def test_an_energy_follows_the_dtype_of_its_points(name, shape):
    energy = ENERGIES[name](shape)
    x = torch.randn(6, *shape, dtype=F64, generator=seeded(5))
    exact = energy_and_grad(energy, x)
    if name in ("net", "sum"):
        energy = energy.float()
    check_energy(energy, x.float())
    for single, double_ in zip(energy_and_grad(energy, x.float()), exact, strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double_, rtol=1e-4, atol=1e-4)


def test_constants_keep_double_precision():
    point = double([[0.1, 0.1]])
    assert float(Confined(flat, 1.0, 0.1)(point)) == 0


def test_create_graph_keeps_the_graph_of_the_parameters():
    def value_and_grad(a, b):
        def energy(x):
            return (a * x**4).sum(1) + (b * x).sum(1).cos()

        return energy_and_grad(energy, X[:3], create_graph=True)

    parameters = [double([0.3, 0.8]).requires_grad_(), double([1.0, -2.0]).requires_grad_()]
    assert all(result.requires_grad for result in value_and_grad(*parameters))
    assert gradcheck(value_and_grad, parameters)


def test_plain_gradients_leave_no_trace():
    energy, x = Quartic(), X.clone()
    with torch.no_grad():
        results = energy_and_grad(energy, x)
    assert not any(r.requires_grad for r in results)
    assert energy.scale.grad is None
    assert not x.requires_grad
    assert torch.equal(x, X)


def test_parameters_of_the_parts_are_found_once():
    inner = Quartic()
    energy = Confined(Tempered(Sum([Mixture([inner, flat]), lambda x: flat(x)]), 2.0), 1.0)
    assert [id(p) for p in energy.parameters()] == [id(inner.scale)]


# Errors ----------------------------------------------------------------------------------------

ERRORS = [
    (
        lambda: check_energy(lambda x: 0.0, X),
        r"tensor of shape \(64,\) for x of shape \(64, 2\): got float\.",
    ),
    (
        lambda: check_energy(lambda x: x[:, :1], X),
        r"tensor of shape \(64,\) for x of shape \(64, 2\): got \(64, 1\)\.",
    ),
    (
        lambda: check_energy(lambda x: x.sum(1).float(), X),
        r"keep the dtype of x, torch\.float64: got torch\.float32\.",
    ),
    (
        lambda: check_energy(lambda x: torch.arange(64).to(F64).log(), X),
        "`energy` must be finite: got 1 of 64 that are not",
    ),
    (lambda: Sum([]), "`energies` must be at least one: got none"),
    (lambda: Mixture([]), "`energies` must be at least one: got none"),
    (lambda: Sum([P, Q], [1.0]), "`coefficients` must be 2, one per energy: got 1"),
    (lambda: Mixture([P, Q], [1.0]), r"`weights` must be 2 positive numbers.*: got \[1\.0\]"),
    (lambda: Mixture([P, Q], [1.0, 0.0]), r"`weights` must .* got \[1\.0, 0\.0\]"),
    (lambda: Tempered(P, 0.0), r"`temperature` must be > 0 and finite: got 0\.0"),
    (lambda: Tempered(P, math.nan), "`temperature` must be > 0 and finite: got nan"),
    (lambda: Confined(P, -1.0), r"`scale` must be > 0 and finite: got -1\.0"),
    (
        lambda: Rescaled(P, MEANS[0], double([1.0, 0.0])),
        r"`scale` must be > 0 and finite: got 0\.0",
    ),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_good_energy_passes_its_check():
    assert check_energy(quartic, X) is None
