"""Numbers on a regular grid of the line or the plane."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wgflow.energies.base import Energy
from wgflow.likelihood.quadrature import Grid, log_density, tabulate


class Box(NamedTuple):
    """Two opposite corners, each of shape (d,)."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Chart:
    """Numbers on a regular grid of the line or the plane.

    Args:
        axes: one array per dimension, the coordinates of the nodes.
        values: of shape ``(len(axes[0]), ...)``.
    """

    axes: tuple[np.ndarray, ...]
    values: np.ndarray

    @property
    def box(self) -> Box:
        """The outer edges of the cells at both ends."""
        halves = [(a[1] - a[0]) / 2 for a in self.axes]
        ends = [(a[0] - h, a[-1] + h) for a, h in zip(self.axes, halves, strict=True)]
        return Box(*np.array(ends).T)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Chart":
        """The same nodes with other values."""
        return Chart(self.axes, function(self.values))


def box_of(x: np.ndarray, margin: float = 0.2) -> Box:
    """A box around all but the outermost points of (n, d), wider by a share of its width."""
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    return around(low, high, margin)


def around(low: np.ndarray, high: np.ndarray, margin: float) -> Box:
    """A box wider than from low to high, (d,) each, by a share of its width.

    Where they are the same, as of a single point, it has a width that its digits hold.
    """
    size = np.maximum(np.abs(low), np.abs(high))
    wider = margin * np.maximum(high - low, np.where(size > 0, 1e-3 * size, 1e-3))
    return Box(low - wider, high + wider)


def tabulated(
    function: Callable[[Tensor], Tensor],
    box: Box,
    points: int = 200,
    *,
    dtype: torch.dtype = torch.float64,
) -> Chart:
    """A function of points (batch, d), d = 1 or 2, at the nodes of a box."""
    return _chart(lambda grid: tabulate(function, grid.nodes, grid.chunk), box, points, dtype)


def density_of(
    energy: Energy, box: Box, points: int = 200, *, dtype: torch.dtype = torch.float64
) -> Chart:
    """The density ``e^{-E}/Z`` at the nodes of a box, normalised on it."""
    return _chart(lambda grid: log_density(energy, grid).exp(), box, points, dtype)


def _chart(
    values_at: Callable[[Grid], Tensor], box: Box, points: int, dtype: torch.dtype
) -> Chart:
    grid = Grid.box(box.low.tolist(), box.high.tolist(), points, dtype=dtype)
    middles = (np.arange(points) + 0.5) / points
    axes = tuple(low + (high - low) * middles for low, high in zip(*box, strict=True))
    return Chart(axes, values_at(grid).cpu().numpy().reshape([points] * len(axes)))
