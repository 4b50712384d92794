"""Values and gradients of energies: bounded memory, and sentences about energies that are none."""

import math

import pytest
import torch
from problems import F64, double, seeded
from torch.nn import functional as F

from wgflow.data.targets import Gaussian
from wgflow.montecarlo import evaluation
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.bridge import Chains, Moves, moved
from wgflow.montecarlo.evaluation import PROBE, counted, evaluated

LAW = Gaussian(double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]]))
DESIGN = torch.randn(2**14, 3, dtype=F64, generator=seeded(1))
W = torch.randn(1000, 3, dtype=F64, generator=seeded(2))


class Seen:
    """An energy, and at how many points at a time it was evaluated."""

    def __init__(self, energy):
        self.energy, self.sizes = energy, []

    def __call__(self, x):
        self.sizes.append(len(x))
        return self.energy(x)


def regression(w):
    return F.softplus(w @ DESIGN.T).sum(1)


def square(x):
    return x.square().sum(1)


@pytest.mark.parametrize("kept", [0, 4])
def test_evaluations_in_parts_are_those_at_once(kept, monkeypatch):
    x = LAW.sample(23, dtype=F64, generator=seeded(0))
    whole, seen = evaluated(LAW, x), Counted(Seen(LAW), kept=kept or 2)
    monkeypatch.setattr(evaluation, "NUMBERS", 8)
    for part, expected in zip(counted(seen, x), whole, strict=True):
        torch.testing.assert_close(part, expected)
    assert max(seen.energy.sizes) == (2 if kept else 4)


def test_an_energy_of_many_rows_gets_few_points_at_a_time():
    """As of a regression: what it holds at once is bounded, whoever wrote it."""
    seen = Seen(regression)
    value, grad = counted(Counted(seen), W)
    assert seen.sizes[0] == PROBE
    assert sum(seen.sizes[1:]) == 1000
    assert (
        max(seen.sizes[1:]) * len(DESIGN) <= evaluation.NUMBERS < 4 * seen.sizes[1] * len(DESIGN)
    )
    torch.testing.assert_close(value, regression(W))
    torch.testing.assert_close(grad, (W @ DESIGN.T).sigmoid() @ DESIGN)


def test_a_light_energy_gets_all_points_at_once_and_is_looked_at_once():
    seen = Seen(square)
    energy = Counted(seen)
    for _ in range(3):
        counted(energy, W)
    assert seen.sizes == [PROBE, 1000, 1000, 1000]
    assert energy.evaluations == 3000


def test_what_is_known_of_memory_changes_no_bit():
    """A run that goes on looks again, where one that was not stopped knows."""
    fresh, energy = Counted(regression), Counted(regression)
    counted(energy, W)
    for one, other in zip(counted(energy, W), counted(fresh, W), strict=True):
        assert torch.equal(one, other)


def test_no_points_tell_nothing_of_memory():
    energy = Counted(square)
    value, grad = counted(energy, W[:0])
    assert value.shape == (0,)
    assert grad.shape == (0, 3)
    assert energy.kept == 0


def hole(value):
    return lambda x: torch.where(x[:, 0] > 1, value, x.square().sum(1))


def raising(error):
    """An energy that raises an error where a coordinate is above one."""

    def energy(x):
        if (x[:, 0] > 1).any():
            raise error
        return x.square().sum(1)

    return energy


def unscaled(x):
    """A normal of scale ``1 - x``, as PyTorch's distributions have it."""
    return -torch.distributions.Normal(0.0, 1 - x[:, 0]).log_prob(x[:, 1])


def singular(x):
    """A factorisation of a matrix that is negative where a coordinate is above one."""
    return torch.linalg.cholesky((1 - x[:, :1, None]) * torch.eye(2, dtype=x.dtype)).sum((1, 2))


X = double([[0.5, 0.0], [2.0, 0.0], [-1.0, 1.0], [3.0, 1.0]])

HOSTILE = {
    "raising": (
        raising(KeyError("off\nthe map")),
        r"computable at every point: got KeyError: 'off\\nthe map' at x = \(2, 0\)",
    ),
    "bottomless": (
        hole(-math.inf),
        r"a number above -inf at every point: got -inf at x = \(2, 0\)",
    ),
}
WITHOUT = {
    "not a number": hole(math.nan),
    "kink": lambda x: (x[:, 0] - 2).clamp(min=0).sqrt() + (3 - x[:, 0]).abs().sqrt(),
    "distribution": unscaled,
    "overflow": raising(OverflowError("math range error")),
    "factorisation": singular,
}
"""No value, or no finite gradient, at the second and the last point."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_energies_are_told_with_the_point(name):
    energy, match = HOSTILE[name]
    for found in (lambda: evaluated(energy, X), lambda: counted(Counted(energy), X)):
        with pytest.raises(ValueError, match=f"`energy` must be {match}"):
            found()


@pytest.mark.parametrize("name", WITHOUT)
def test_given_energies_are_infinite_where_they_have_no_value(name):
    """And as they are elsewhere, with their gradients, however the batch is cut."""
    energy = Counted(WITHOUT[name])
    value, grad = counted(energy, X)
    for _ in range(2):
        value, grad = counted(energy, X)
    assert (energy.evaluations, energy.excluded) == (12, 6)
    assert value[1::2].tolist() == [math.inf] * 2
    assert grad[1::2].tolist() == [[0.0, 0.0]] * 2
    for part, expected in zip((value, grad), evaluated(WITHOUT[name], X[::2]), strict=True):
        torch.testing.assert_close(part[::2], expected)


@pytest.mark.parametrize("name", WITHOUT)
def test_other_energies_must_have_a_value_everywhere(name):
    with pytest.raises(ValueError, match=r"`energy` must be .* at x = \(2, 0\)"):
        evaluated(WITHOUT[name], X)


def test_an_energy_that_raises_everywhere_is_no_energy():
    for error in (ValueError("closed"), OverflowError("closed")):
        with pytest.raises(ValueError, match=rf"got {type(error).__name__}: closed at x = \(2"):
            counted(Counted(raising(error), kept=2), X[1::2])


def test_where_a_gradient_overflows_there_is_no_mass():
    """A scale of ``e^{-30}``: finite in single precision, as its slope is not."""
    x = torch.tensor([[0.0, 1.0], [-30.0, 3e4], [-44.0, 3e4]])

    def energy(x):
        return (x[:, 1] * (-x[:, 0]).exp()).square() / 2

    given = Counted(energy)
    for value, grad in (evaluated(energy, x), counted(given, x)):
        assert value.tolist()[0] == 0.5
        assert value.tolist()[1:] == [math.inf, math.inf]
        assert grad.tolist()[1:] == [[0.0, 0.0]] * 2
    assert given.excluded == 0


def still(energy):
    """Points after moves that hardly move."""
    problem = Problem(Counted(energy), LAW, X[:0])
    zeros = (torch.zeros(s, dtype=F64) for s in (len(X), X.shape, len(X), X.shape))
    moves = Moves(double(1e-9), double([0.0, 0.0]))
    return moved(problem, Chains(X, *zeros), 0.5, moves, generator=seeded(0))


@pytest.mark.parametrize("name", HOSTILE)
def test_moves_onto_hostile_places_are_told_with_the_point(name):
    with pytest.raises(ValueError, match=r"at x = \(2, 0\)"):
        still(HOSTILE[name][0])


def test_only_the_first_coordinates_of_a_point_are_told():
    for x, told in ([1.0, 2.5, 1 / 3], r"\(1, 2.5, 0.3333\)"), (range(7), r"\(0, 1, 2, 3, ...\)"):
        with pytest.raises(ValueError, match=f"at x = {told}"):
            evaluated(lambda x: math.nan * square(x), double([list(x)]))
