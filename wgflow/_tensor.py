"""Names of shapes, and the one home of batch-layout helpers."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Points = Float[Tensor, " batch *event"]
"""A batch of points ``x``."""
Values = Float[Tensor, " batch"]
"""One number per point, such as ``E(x)``."""


def per_point(values: Tensor, x: Tensor) -> Tensor:
    """View ``(batch,)`` values so that they broadcast over points ``(batch, *event)``."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def rows(x: Tensor) -> Tensor:
    """Points as rows: ``(batch, *event) -> (batch, d)``."""
    # Views that change nothing take a few chains as long as sums over them.
    return x if x.ndim == 2 else x.flatten(1)


def shaped(u: Tensor, x: Tensor) -> Tensor:
    """Rows ``(batch, d)`` in the shape of points x."""
    return u if x.ndim == 2 else u.view_as(x)


def dot_event(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of points: ``(batch, *event)`` twice -> ``(batch,)``."""
    return torch.linalg.vecdot(rows(x), rows(y))


def sum_event(x: Tensor) -> Tensor:
    """Sum over everything but the batch: ``(batch, *event) -> (batch,)``."""
    return x.flatten(1).sum(1)


def standard_error(values: Values) -> float:
    """That of the mean of independent values; NaN of a single one, which does not tell it."""
    n = len(values)
    return float(values.std()) / math.sqrt(n) if n > 1 else math.nan
