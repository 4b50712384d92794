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
        """The outer walls of the cells at both ends."""
        halves = [(a[1] - a[0]) / 2 for a in self.axes]
        ends = zip(self.axes, halves, strict=True)
        walls = np.array([(a[0] - h, a[-1] + h) for a, h in ends])
        return Box(walls[:, 0], walls[:, 1])

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Chart":
        """The same nodes with other values."""
        return Chart(self.axes, function(self.values))


def box_of(x: np.ndarray, margin: float = 0.2) -> Box:
    """A box around all but the outermost points of (n, d), wider by a share of its width."""
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    wider = margin * np.maximum(high - low, 1e-12)
    return Box(low - wider, high + wider)


def tabulated(
    function: Callable[[Tensor], Tensor],
    box: Box,
    points: int = 200,
    *,
    dtype: torch.dtype = torch.float64,
) -> Chart:
    """A function of points (batch, d), d = 1 or 2, at the nodes of a box."""
    grid = _grid(box, points, dtype)
    return _chart(tabulate(function, grid.nodes, grid.chunk), grid, box, points)


def density_of(
    energy: Energy, box: Box, points: int = 200, *, dtype: torch.dtype = torch.float64
) -> Chart:
    """The density ``e^{-E}/Z`` at the nodes of a box, normalised on it."""
    grid = _grid(box, points, dtype)
    return _chart(log_density(energy, grid).exp(), grid, box, points)


def _grid(box: Box, points: int, dtype: torch.dtype) -> Grid:
    return Grid.box(box.low.tolist(), box.high.tolist(), points, dtype=dtype)


def _chart(values: Tensor, grid: Grid, box: Box, points: int) -> Chart:
    d = grid.nodes.shape[1]
    middles = (np.arange(points) + 0.5) / points
    axes = tuple(low + (high - low) * middles for low, high in zip(*box, strict=True))
    return Chart(axes, values.cpu().numpy().reshape((points,) * d))
