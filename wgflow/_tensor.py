"""Names of shapes, and the one home of batch-layout helpers."""

import math

from jaxtyping import Float
from torch import Tensor

Points = Float[Tensor, " batch *event"]
"""A batch of points ``x``."""
Values = Float[Tensor, " batch"]
"""One number per point, such as ``E(x)``."""


def per_point(values: Tensor, x: Tensor) -> Tensor:
    """View ``(batch,)`` values so that they broadcast over points ``(batch, *event)``."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def sum_event(x: Tensor) -> Tensor:
    """Sum over everything but the batch: ``(batch, *event) -> (batch,)``."""
    return x.flatten(1).sum(1)


def standard_error(values: Values) -> float:
    """That of the mean of independent values; NaN of a single one, which does not tell it."""
    n = len(values)
    return float(values.std()) / math.sqrt(n) if n > 1 else math.nan
