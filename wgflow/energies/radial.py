"""Laws that depend on the distance from the origin alone: normaliser and exact draws."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points

CELLS = 2**14
"""Cells of the grid of radii."""


class Radial(NamedTuple):
    """The law ``q(u) = e^{-V(|u|)}/Z`` of points u of R^d.

    Its radius has the density ``S r^{d-1} e^{-V(r)}/Z``, S the area of the unit sphere, here by
    the midpoint rule; its direction is uniform.

    Attributes:
        dim: d.
        spacing: between two radii.
        below: probability of a radius below the end of each cell, (1 + cells,), float64, from 0.
        log_z: ``log Z``.
    """

    dim: int
    spacing: float
    below: Tensor
    log_z: float

    @classmethod
    def of(
        cls, potential: Callable[[Tensor], Tensor], dim: int, reach: float, cells: int = CELLS
    ) -> "Radial":
        """The law of a potential.

        Args:
            potential: V of radii (cells,), float64.
            dim: d.
            reach: a radius beyond which it has no mass to speak of.
            cells: of the midpoint rule on ``[0, reach]``.
        """
        spacing = reach / cells
        r = spacing * (torch.arange(cells, dtype=torch.float64) + 0.5)
        log_mass = (dim - 1) * r.log() - potential(r)
        area = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
        log_z = float(log_mass.logsumexp(0)) + math.log(spacing) + area
        mass = (log_mass - log_mass.max()).exp().cumsum(0)
        return cls(dim, spacing, torch.cat([mass.new_zeros(1), mass / mass[-1]]), log_z)

    def sample(self, like: Tensor, count: int, *, generator: Rng = None) -> Points:
        """``count`` draws (count, d), on the device and of the dtype of ``like``."""
        options = {"generator": generator, "device": like.device}
        u = torch.randn(count, self.dim, dtype=like.dtype, **options)
        level, below = torch.rand(count, dtype=torch.float64, **options), self.below.to(u.device)
        cell = torch.searchsorted(below, level, right=True) - 1
        start, end = below[cell], below[cell + 1]
        radius = self.spacing * (cell + (level - start) / (end - start))
        return u * (radius.to(u) / torch.linalg.vector_norm(u, dim=1))[:, None]
