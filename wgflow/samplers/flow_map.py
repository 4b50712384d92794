"""The probability flow between noise levels as an invertible map whose Jacobian is exact.

Implicit midpoint steps of ``dx/dσ = σ∇E(x, log σ²)``, from x at a to y at b: with c = (a + b)/2
and ``h = c (b - a)``,

    m = x + (h/2) ∇E_c(m),      y = x + h ∇E_c(m) = 2m - x.

Since ``m = y - (h/2) ∇E_c(m)`` too, the step from y at b to a is the inverse. With
``K = (h/2) ∇²E_c(m)``,

    log |det ∂y/∂x| = log det(I + K) - log det(I - K),

exactly for the discretised map, of order 2.
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wgflow._tensor import Values
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.energies.noise_levels import At

ITERATIONS = 100
"""Of the fixed-point iteration for m, at most."""

STEEPEST = 0.5
"""Of the eigenvalues of K: the iteration converges below 1, and here by a bit in each."""

ROUNDING = 8
"""Last bits by which m may be off."""

POWER = 7
"""Levels are in equal steps of ``σ^{1/7}`` (Karras et al. 2022)."""


class Carried(NamedTuple):
    """Points that a map brought from one level to another.

    Attributes:
        x: they, (batch, d).
        log_det: of the Jacobian of the map, (batch,); NaN where it is not seen to be invertible.
    """

    x: Tensor
    log_det: Values


def carried(energy: Any, x: Tensor, a: Values, b: Values, steps: int) -> Carried:
    """Points of the levels σ = a brought to levels b, each point by its own.

    From b to a it is the inverse, to rounding. A step takes about ten gradients, until m is found
    to rounding, and one Hessian, of d products.

    Args:
        energy: E of x and the level.
        x: points, (batch, d).
        a: their levels, (batch,).
        b: other levels, (batch,).
        steps: of the map.
    """
    log_det = torch.zeros_like(a)
    low, high = a ** (1 / POWER), b ** (1 / POWER)
    grid = [(low + (high - low) * k / steps) ** POWER for k in range(steps + 1)]
    for here, there in itertools.pairwise(grid):
        x, change = midpoint_step(energy, x, here, there)
        log_det = log_det + change
    return Carried(x, log_det)


def midpoint_step(energy: Any, x: Tensor, a: Values, b: Values) -> Carried:
    """One step, where eigenvalues of K are at most `STEEPEST` in size.

    Larger ones, with which m may not be found from one of the ends, are a property of m alone: to
    leave out such steps leaves out the same pairs of x and y both ways.
    """
    c, half = (a + b) / 2, (b - a) * (a + b) / 4
    m, lost = midpoint(energy, x, c, half)
    k = half[:, None, None] * hessian(At(energy, c), m)
    k = torch.linalg.eigvalsh(k.nan_to_num(1.0, 1.0, 1.0))  # too steep where it is not finite
    lost = lost | (k.abs().amax(1) >= STEEPEST)
    log_det = (k.log1p() - (-k).log1p()).sum(1)
    return Carried(2 * m - x, log_det.masked_fill(lost, torch.nan))


def midpoint(energy: Any, x: Tensor, c: Values, half: Values) -> tuple[Tensor, Tensor]:
    """``m = x + (h/2) ∇E_c(m)``, (batch, d), and where it was not found, (batch,), bool."""
    m, rounding = x.clone(), ROUNDING * torch.finfo(x.dtype).eps
    left = torch.arange(len(x), device=x.device)
    for _ in range(ITERATIONS):
        _, grad = energy_and_grad(At(energy, c[left]), m[left])
        moved = x[left] + half[left, None] * grad
        near = (moved - m[left]).abs() <= rounding * (1 + moved.abs())
        m[left] = moved
        left = left[~near.all(1)]
        if not len(left):
            break
    return m, torch.zeros_like(c, dtype=torch.bool).index_fill(0, left, value=True)


def hessian(energy: Energy, x: Tensor) -> Tensor:
    """``∇²E``, (batch, d, d), by a derivative of each coordinate of the gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
        rows = [torch.autograd.grad(g, x, retain_graph=True)[0] for g in grad.sum(0)]
    return torch.stack(rows, 1)
