"""Paths between points that keep to the valleys of an energy."""

from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._tensor import Points, Values, per_point, sum_event
from wgflow.energies.base import Energy, energy_and_grad


class Path(NamedTuple):
    """Points from one end to the other, and their energies.

    Attributes:
        x: points at equal distances along the path, ends included, (points, *event).
        energy: ``E`` there, (points,).
    """

    x: Tensor
    energy: Tensor

    @property
    def barrier(self) -> float:
        """How far the path climbs above its higher end, in nats; 0 if it never does."""
        return float(self.energy.max() - torch.maximum(self.energy[0], self.energy[-1]))


def straight(energy: Energy, a: Tensor, b: Tensor, points: int = 21) -> Path:
    """The straight path from a to b, both (*event,), at equal distances.

    Raises:
        ValueError: unless the ends are two points of one shape, and ``points`` at least 3.
    """
    return _at(energy, _line(a, b, points))


def interpolate(
    energy: Energy, a: Tensor, b: Tensor, steps: int, *, points: int = 21, step: float = 1e-3
) -> Path:
    """A path from a to b of least energy nearby: ``∇E`` has no component across it.

    The string method (E, Ren and Vanden-Eijnden 2002, 2007): each step moves the points between
    the fixed ends by ``-h∇E``, less its component along the path, then spaces them evenly by arc
    length. Where the path has settled, its highest point is near a saddle: the barrier
    between a and b. It is that of one path; another start may find a lower one. A path through
    the typical points of many dimensions does not stay typical: it sinks to the floor of the
    valley, where points are smoother than draws are.

    Args:
        energy: E.
        a: one end, (*event,).
        b: the other.
        steps: of the relaxation, from the straight path; each takes ``points - 2`` gradients.
        points: along the path, ends included.
        step: h > 0, in squared units of x, below ``2/L`` for gradients of Lipschitz constant L.

    Raises:
        ValueError: unless the ends are two points of one shape, and the numbers in their ranges.
    """
    check_positive(steps=steps, step=step)
    x = _line(a, b, points)
    for _ in range(steps):
        _, grad = energy_and_grad(energy, x[1:-1])
        moved = x[1:-1] - step * across(grad, x)
        x = respaced(torch.cat([x[:1], moved, x[-1:]]))
    return _at(energy, x)


def respaced(x: Points) -> Points:
    """As many points on the polygon through x, at equal distances along it; the ends stay."""
    flat = x.flatten(1)
    length = torch.linalg.vector_norm(flat.diff(dim=0), dim=1).cumsum(0)
    length = torch.cat([length.new_zeros(1), length])
    where = torch.linspace(0, 1, len(x), dtype=x.dtype, device=x.device) * length[-1]
    # The piece that each new point is on: 0 to len(x) - 2.
    piece = torch.searchsorted(length[1:-1].contiguous(), where, right=True)
    share = (where - length[piece]) / (length[piece + 1] - length[piece])
    inner = flat[piece].lerp(flat[piece + 1], share[:, None])[1:-1]
    return torch.cat([flat[:1], inner, flat[-1:]]).reshape(x.shape)


def across(grad: Tensor, x: Tensor) -> Tensor:
    """``g - (g·τ)τ/|τ|²`` with ``τ_i = x_{i+1} - x_{i-1}``, normal to x inside it."""
    along = x[2:] - x[:-2]
    share = sum_event(grad * along) / sum_event(along**2)
    return grad - per_point(share, grad) * along


def _line(a: Tensor, b: Tensor, points: int) -> Points:
    if a.shape != b.shape or torch.equal(a, b):
        raise ValueError(
            "A path leads from one point to another: expected two different points of one shape, "
            f"got shapes {tuple(a.shape)} and {tuple(b.shape)}"
            + (", equal." if a.shape == b.shape else ".")
        )
    if points < 3:
        raise ValueError(f"A path has points between its ends: expected at least 3, got {points}.")
    t = torch.linspace(0, 1, points, dtype=a.dtype, device=a.device)
    return torch.lerp(a[None], b[None], t.reshape(-1, *[1] * a.ndim))


def _at(energy: Energy, x: Points) -> Path:
    with torch.no_grad():
        value: Values = energy(x)
    return Path(x.detach(), value)
