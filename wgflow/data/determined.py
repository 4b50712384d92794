"""Columns that others determine: rows that fill no volume have no density."""

from typing import NamedTuple

import torch
from torch import Tensor

WIDTH = 3e-4
"""Deviation of what others leave of a column, in its own, below which they determine it."""

PART = 1e-3
"""Standardised coefficient below which a column is not named."""


class Determined(NamedTuple):
    """A column that others determine.

    Attributes:
        column: its place.
        by: those of the others.
        left: deviation of what they leave of it, in its own.
    """

    column: int
    by: tuple[int, ...]
    left: float


def determined(x: Tensor) -> list[Determined]:
    """The columns that are linear functions of earlier ones, but for `WIDTH` of their deviation.

    A Cholesky factor of their correlations grows by a row for every other column, whose square on
    the diagonal is what the earlier ones leave of it (Golub and Van Loan, Matrix Computations).

    Args:
        x: rows, (n, d), in the units of learning, since one far out makes all columns
            proportional; fewer than twice as many as columns tell nothing.
    """
    n, d = x.shape
    if n < 2 * d:
        return []
    u = x.double() - x.double().mean(0)
    u = u / u.square().mean(0).sqrt()
    correlation, free, found = u.T @ u / n, list[int](), list[Determined]()
    factor = torch.zeros_like(correlation)
    for j in range(d):
        k = len(free)
        lower, against = factor[:k, :k], correlation[free, j][:, None]
        row = torch.linalg.solve_triangular(lower, against, upper=False)[:, 0]
        left = float((correlation[j, j] - row @ row).clamp(min=0).sqrt())
        if left < WIDTH:
            slope = torch.linalg.solve_triangular(lower.T, row[:, None], upper=True)[:, 0]
            by = [i for i, part in zip(free, slope.abs().tolist(), strict=True) if part > PART]
            found.append(Determined(j, tuple(by), left))
            continue
        factor[k, :k], factor[k, k] = row, left
        free.append(j)
    return found
