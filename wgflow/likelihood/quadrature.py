"""Quadrature in one and two dimensions: ``log Z``, KL and Fisher information of any energy.

The midpoint rule on a box. On a smooth integrand that vanishes at the walls it converges faster
than any power of the spacing, so a box a few scales wider than the distribution and a spacing of
half the narrowest scale give more digits than training can use. Energies are evaluated in chunks,
in the dtype of the nodes; the sums are float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow.energies.base import Energy, energy_and_grad

CELLS = {1: (400, 6400, 102_400), 2: (400, 800, 1600)}
"""Cells along each axis of the grids for standardised points, by the dimension."""

SETTLED = 0.01
"""Nats up to which log Z is to be known."""

LogDensity = Callable[[Tensor], Tensor]
"""``(batch, *event) -> (batch,)``, normalised; minus infinity where the density is zero."""


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: Tensor
    error: Tensor


class Divergences(NamedTuple):
    """KL both ways, in nats: ``forward = KL(target‖model)``, ``reverse = KL(model‖target)``."""

    forward: Tensor
    reverse: Tensor


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes of a quadrature with equal cells: ``∫f ≈ v Σ_i f(x_i)``.

    Args:
        nodes: ``x_i``, shape (nodes, d).
        volume: ``v``, of one cell.
        chunk: how many nodes an energy sees at a time; bounds the memory.
    """

    nodes: Tensor
    volume: float
    chunk: int = 2**15

    @classmethod
    def box(
        cls,
        low: Sequence[float],
        high: Sequence[float],
        points: int,
        *,
        chunk: int = 2**15,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Grid":
        """The midpoint rule on ``Π [low_j, high_j]`` with ``points`` cells along each axis.

        Raises:
            ValueError: unless both corners have one length and ``low < high`` on every axis.
        """
        if len(low) != len(high) or not low or any(a >= b for a, b in zip(low, high, strict=True)):
            got = f"{tuple(low)} and {tuple(high)}"
            raise ValueError(f"`low` must be < `high` on each of the same axes: got {got}.")
        check_positive(points=points, chunk=chunk)
        steps = [(b - a) / points for a, b in zip(low, high, strict=True)]
        middle = torch.arange(points, dtype=torch.float64, device=device) + 0.5
        axes = [a + h * middle for a, h in zip(low, steps, strict=True)]
        nodes = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        return cls(nodes.to(dtype), math.prod(steps), chunk)

    @property
    def dim(self) -> int:
        """Number of axes."""
        return self.nodes.shape[1]

    @property
    def every_other(self) -> Tensor:
        """Indices of every other node along each axis, of a box."""
        n, dim = round(len(self.nodes) ** (1 / self.dim)), self.dim
        index = torch.cartesian_prod(*[torch.arange(0, n, 2)] * dim).reshape(-1, dim)
        return (index @ torch.tensor([n**k for k in reversed(range(dim))])).to(self.nodes.device)

    @property
    def coarse(self) -> "Grid":
        """The rule with those nodes alone, whose cells are twice as wide."""
        return Grid(self.nodes[self.every_other], self.volume * 2**self.dim, self.chunk)


def box(
    shift: Tensor, scale: Tensor, dtype: torch.dtype, *, reach: float = 6.0, points: int = 400
) -> Grid:
    """The box ``m ± reach·s`` around data of mean m and deviation s, (d,), in their units."""
    low, high = (shift - reach * scale).tolist(), (shift + reach * scale).tolist()
    return Grid.box(low, high, points, dtype=dtype, device=shift.device)


@torch.no_grad()
def tabulate(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int = 2**15) -> Tensor:
    """``f(x_i)`` for many points, ``chunk`` at a time: (batch, *event) -> (batch,), float64.

    Raises:
        ValueError: if the function does not return one number per point, or returns NaN.
    """
    parts = [function(part) for part in x.split(chunk)]
    for part, points in zip(parts, x.split(chunk), strict=True):
        _check_values(part, points)
    return torch.cat(parts).double()


def log_integral(log_values: Tensor, grid: Grid) -> Tensor:
    """``log ∫f`` from ``log f(x_i)`` at the nodes, shape (nodes,): a scalar.

    Raises:
        ValueError: if it is not finite.
    """
    total = log_values.logsumexp(0) + math.log(grid.volume)
    if not total.isfinite():
        raise ValueError(f"log Z on the grid must be finite: got {float(total)}.")
    return total


def log_z(energy: Energy, grid: Grid) -> Tensor:
    """``log Z = log ∫ e^{-E}``, a scalar in nats.

    Raises:
        ValueError: if it is not finite: an energy of minus infinity, or infinite on all nodes.
    """
    return log_integral(-tabulate(energy, grid.nodes, grid.chunk), grid)


def refined_log_z(
    energy: Energy, grids: Sequence[Grid], tolerance: float, *, first: Tensor | None = None
) -> Estimate:
    """``log Z`` on the first grid whose every other node tells it to ``tolerance``, or the last.

    The error is that difference, which is far more than the error of the grid itself as soon as
    the integrand is smooth on its scale, and tells where it is not. A peak that lies between the
    nodes of two grids in a row is not seen by it.

    Args:
        energy: E.
        grids: boxes, from coarse to fine.
        tolerance: in nats.
        first: ``-E`` at the nodes of the first, if they are known.

    Raises:
        ValueError: as `log_z`.
    """
    grid, *finer = grids
    values = -tabulate(energy, grid.nodes, grid.chunk) if first is None else first
    value = log_integral(values, grid)
    error = (value - log_integral(values[grid.every_other], grid.coarse)).abs()
    if error <= tolerance or not finer:
        return Estimate(value, error)
    return refined_log_z(energy, finer, tolerance)


def standardised_log_z(energy: Energy, dim: int, dtype: torch.dtype) -> Estimate:
    """``log Z`` of an energy of standardised points, (batch, 1 or 2), by `refined_log_z`.

    Raises:
        ValueError: as `log_z`.
    """
    center = torch.zeros(dim)
    grids = [box(center, center + 1, dtype, points=points) for points in CELLS[dim]]
    return refined_log_z(energy, grids, SETTLED)


def log_density(energy: Energy, grid: Grid) -> Tensor:
    """``log p(x_i) = -E(x_i) - log Z`` at the nodes, shape (nodes,), normalised on the grid.

    Raises:
        ValueError: as `log_z`.
    """
    unnormalised = -tabulate(energy, grid.nodes, grid.chunk)
    return unnormalised - log_integral(unnormalised, grid)


def kl(log_p: Tensor, log_q: Tensor, grid: Grid) -> Tensor:
    """``KL(p‖q) = ∫ p log(p/q)`` from values at the nodes, a scalar in nats.

    A node where ``p = 0`` contributes nothing; one where ``q = 0`` and ``p > 0`` makes it
    infinite.

    Args:
        log_p: ``log p(x_i)``, shape (nodes,), normalised.
        log_q: ``log q(x_i)``, shape (nodes,), normalised (part of its mass may lie outside).
        grid: the nodes.

    Raises:
        ValueError: on another shape, or if the grid misses more than 1 % of p.
    """
    expected = (len(grid.nodes),)
    if log_p.shape != expected or log_q.shape != expected:
        got = f"{tuple(log_p.shape)} and {tuple(log_q.shape)}"
        raise ValueError(f"`log_p` and `log_q` must have shape {expected}: got {got}.")
    p = log_p.exp() * grid.volume
    if not abs(float(p.sum()) - 1) < 0.01:
        mass = float(p.sum())
        raise ValueError(f"The grid must hold p: got mass {mass}; widen the box or refine it.")
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum()


def kl_both(energy: Energy, target_log_prob: LogDensity, grid: Grid) -> Divergences:
    """KL both ways between the model ``e^{-E}/Z``, normalised on the grid, and a target.

    Raises:
        ValueError: as `log_z` and `kl`.
    """
    model = log_density(energy, grid)
    target = tabulate(target_log_prob, grid.nodes, grid.chunk)
    return Divergences(kl(target, model, grid), kl(model, target, grid))


def fisher(p: Energy, q: Energy, grid: Grid) -> Tensor:
    """Relative Fisher information ``E_p|∇log p - ∇log q|²`` of two energies, by autograd.

    No normaliser is needed; a log-density enters as the energy ``-log p``. Nodes where ``p = 0``
    contribute nothing.

    Raises:
        ValueError: if a gradient is not finite where ``p > 0``, or as `log_z`.
    """
    weight = (log_density(p, grid).exp() * grid.volume).split(grid.chunk)
    parts = zip(weight, grid.nodes.split(grid.chunk), strict=True)
    return torch.stack([_fisher_part(p, q, w, x) for w, x in parts]).sum()


def kl_gap(energy: Energy, target_log_prob: LogDensity, points: Tensor, grid: Grid) -> Estimate:
    """``KL(target‖model)`` from held-out data: the mean of ``log p_d(x_j) - log p_θ(x_j)``.

    The model is normalised on the grid. Unlike `kl` it counts what happens outside the box, and
    it needs no quadrature of the target.

    Args:
        energy: ``E_θ``.
        target_log_prob: ``log p_d``.
        points: exact samples of the target, never trained on; shape (batch, d), batch >= 2.
        grid: a box that holds the model.

    Returns:
        the mean in nats, with its standard error.

    Raises:
        ValueError: for fewer than two points, or as `log_z`.
    """
    if len(points) < 2:
        raise ValueError(f"`points` must be 2 or more: got {len(points)}.")
    model = -tabulate(energy, points, grid.chunk) - log_z(energy, grid)
    gap = tabulate(target_log_prob, points, grid.chunk) - model
    return Estimate(gap.mean(), gap.std() / len(gap) ** 0.5)


def _fisher_part(p: Energy, q: Energy, weight: Tensor, x: Tensor) -> Tensor:
    gap = energy_and_grad(q, x)[1] - energy_and_grad(p, x)[1]
    squared = gap.double().square().sum(1)
    if not squared[weight > 0].isfinite().all():
        bad = int((~squared[weight > 0].isfinite()).sum())
        raise ValueError(f"Gradients must be finite where p > 0: got {bad} that are not.")
    return torch.where(weight > 0, weight * squared, 0.0).sum()


def _check_values(values: Tensor, x: Tensor) -> None:
    if values.shape != (len(x),):
        expected, got = (len(x),), tuple(values.shape)
        raise ValueError(f"A function of points must return shape {expected}: got {got}.")
    if values.isnan().any():
        raise ValueError(
            f"A function of points must be a number: got {int(values.isnan().sum())} NaN."
        )
