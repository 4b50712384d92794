"""Energies with points at which they have no value: which points these are, in few calls."""

import math

import pytest
import torch

from wgflow.targets.failures import values_at


class Raising:
    """``Σx``; raises an error for a batch with a negative coordinate, and counts its calls."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __call__(self, x):
        self.calls += 1
        if (x < 0).any():
            raise self.error
        return x.sum(1)


NUMERICAL = [
    ValueError("scale"),
    ZeroDivisionError("by zero"),
    torch.linalg.LinAlgError("singular"),
]


@pytest.mark.parametrize("error", NUMERICAL, ids=lambda error: type(error).__name__)
def test_points_that_raise_have_no_value_and_others_theirs(error):
    x = torch.arange(1.0, 257.0).reshape(128, 2)
    x[[3, 100]] *= -1
    energy = Raising(error)
    value = values_at(energy, x)
    assert value.isnan().nonzero()[:, 0].tolist() == [3, 100]
    there = ~value.isnan()
    assert torch.equal(value[there], x.sum(1)[there])
    assert energy.calls <= 1 + 2 * 2 * 7


def test_gradients_of_the_others_are_theirs():
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(values_at(Raising(ValueError()), x).nansum(), x)
    assert grad[::2].tolist() == [[1.0, 1.0]] * 2


def test_a_batch_without_any_value_raises_and_a_single_point_does_not():
    energy = Raising(ValueError("closed"))
    with pytest.raises(ValueError, match="closed"):
        values_at(energy, -torch.ones(5, 2))
    assert math.isnan(values_at(energy, -torch.ones(1, 2)))


@pytest.mark.parametrize("error", [KeyError("name"), RuntimeError("shapes"), TypeError("none")])
def test_errors_that_are_not_of_numbers_are_raised(error):
    with pytest.raises(type(error), match=str(error)):
        values_at(Raising(error), torch.tensor([[1.0, 2.0], [-1.0, 2.0]]))


def test_an_error_of_an_empty_batch_is_raised():
    def energy(x):
        raise ValueError("empty")

    with pytest.raises(ValueError, match="empty"):
        values_at(energy, torch.empty(0, 2))
