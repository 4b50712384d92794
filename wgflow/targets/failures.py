"""Points at which an energy has no value: it raises an error there, or it is not a number."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wgflow._tensor import Points, Values

NUMERICAL = (
    *(ValueError, ArithmeticError),
    torch.linalg.LinAlgError,  # pyright: ignore[reportPrivateImportUsage]
)
"""Errors about the numbers of single points: a scale that underflows to 0, as distributions of
PyTorch tell it, or a matrix that is not positive definite."""


def values_at(energy: Callable[[Points], Any], x: Points) -> Any:
    """``E(x)``, with NaN at points where E raises one of the errors `NUMERICAL`.

    A batch in which a point raises one is halved, until that point is alone. What E returns is
    not looked at, as of a function that nothing is known of.

    Raises:
        Exception: E raises another error, or a numerical one at every one of several points.
    """
    try:
        return energy(x)
    except NUMERICAL as error:
        found = _without(energy, x, error)
        if len(x) > 1 and found.isnan().all():
            raise
        return found


def _without(energy: Callable[[Points], Values], x: Points, error: Exception) -> Values:
    """The values of a batch that raised an error."""
    if len(x) == 1:
        return x.sum(1) * math.nan
    if not len(x):
        raise error
    found = []
    for half in x.tensor_split(2):
        try:
            found.append(energy(half))
        except NUMERICAL as own:
            found.append(_without(energy, half, own))
    return torch.cat(found)


def culprit(
    function: Callable[[Points], object], x: Points, error: Exception
) -> tuple[Tensor, Exception]:
    """A point at which a function raises an error even alone, (d,), and that error.

    Args:
        function: of points.
        x: (batch, d), at which it raised an error.
        error: that one; it and the first point are the answer where only the batch raises it.
    """
    if len(x) == 1:
        return x[0], error
    for half in x.tensor_split(2):
        try:
            function(half)
        except Exception as own:
            return culprit(function, half, own)
    return x[0], error
