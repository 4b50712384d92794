"""Monotone maps of the columns of a table: heavy tails and bounds, made easy to learn.

Column j is learned as ``y_j = g_j(z_j)``, ``z_j = (x_j - a_j)/b_j``, with one of five maps g, each
increasing, and from the real line onto it, so that a density of y is one of x:

- ``identity``: ``g = z``.
- ``yeo-johnson``: ``g = sign(z) ((1 + |z|)^κ - 1)/κ``, κ = λ above zero and 2 - λ below (Yeo and
  Johnson 2000). Outside of 0 ≤ λ ≤ 2 it is not onto, so λ stays there.
- ``asinh``: ``g = asinh z``, the logarithm of both tails, of columns with points far out.
- ``log``: ``g = L(z)``, of positive columns.
- ``logit``: ``g = L(z) - L(1 - z)``, of columns between two bounds.

L(z) is ``log z`` from δ on, the distance of the nearest known point from the bound, and below
``2 log δ - log(2δ - z)``, the same curve turned about (δ, log δ). That all of n known points lie
within a bound says that others do with a probability of about ``1 - 1/n``, not that none can lie
beyond; with the logarithm alone such a point would have no density at all.

A density of y is one of x after ``Σ_j log dy_j/dx_j``, `Transform.log_derivative`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

RULES = ("auto", "yeo-johnson")
"""How maps are chosen: among all of them, or without the two that have bounds."""

Function = Callable[[Tensor, Tensor], Tensor]
"""(numbers, shapes) -> numbers."""


class Map(NamedTuple):
    """A map ``g(z)`` of a shape, its inverse, ``log g'(z)``, and the bounds of known z."""

    forward: Function
    inverse: Function
    log_derivative: Function
    low: float = -math.inf
    high: float = math.inf


class Column(NamedTuple):
    """The map of a column: its kind, one of `MAPS`, a, b, and as its shape λ or δ, see above."""

    kind: str = "identity"
    location: float = 0.0
    spread: float = 1.0
    shape: float = 1.0


def _kappa(z: Tensor, power: Tensor) -> Tensor:
    # At κ = 0 the map is a logarithm, and this close to it the same in every digit.
    return torch.where(z >= 0, power, 2 - power).clamp(min=1e-12)


def _size(z: Tensor) -> Tensor:
    """|z| with a derivative of 1, not of 0, at zero."""
    return torch.where(z >= 0, z, -z)


def _yeo_johnson(z: Tensor, power: Tensor) -> Tensor:
    kappa = _kappa(z, power)
    size = torch.expm1(kappa * _size(z).log1p()) / kappa
    return torch.where(z >= 0, size, -size)


def _inverse_yeo_johnson(y: Tensor, power: Tensor) -> Tensor:
    kappa = _kappa(y, power)
    size = torch.expm1((kappa * _size(y)).log1p() / kappa)
    return torch.where(y >= 0, size, -size)


def _mirrored(z: Tensor, delta: Tensor) -> Tensor:
    """``δ + |z - δ|``, of which L is the logarithm and whose inverse is its derivative."""
    return torch.where(z >= delta, z, 2 * delta - z)


def _log(z: Tensor, delta: Tensor) -> Tensor:
    size = _mirrored(z, delta).log()
    return torch.where(z >= delta, size, 2 * delta.log() - size)


def _inverse_log(y: Tensor, delta: Tensor) -> Tensor:
    edge = delta.log()
    return torch.where(y >= edge, y.exp(), 2 * delta - (2 * edge - y).exp())


def _logit(z: Tensor, delta: Tensor) -> Tensor:
    return _log(z, delta) - _log(1 - z, delta)


def _inverse_logit(y: Tensor, delta: Tensor) -> Tensor:
    """By symmetry from below, where z solves ``(2δ - z)(1 - z) = δ² e^{-y}`` up to z = δ."""
    down = -y.abs()
    root = torch.hypot(1 - 2 * delta, 2 * (delta.log() - down / 2).exp())
    beyond = (1 + 2 * delta - root) / 2
    low = torch.where(down >= delta.logit(), down.sigmoid(), beyond)
    return torch.where(y < 0, low, 1 - low)


MAPS = {
    "identity": Map(lambda z, _: z, lambda y, _: y, lambda z, _: torch.zeros_like(z)),
    "yeo-johnson": Map(
        _yeo_johnson,
        _inverse_yeo_johnson,
        lambda z, power: (_kappa(z, power) - 1) * _size(z).log1p(),
    ),
    "asinh": Map(
        lambda z, _: z.asinh(),
        lambda y, _: y.sinh(),
        lambda z, _: -z.square().log1p() / 2,
    ),
    "log": Map(
        _log,
        _inverse_log,
        lambda z, delta: -_mirrored(z, delta).log(),
        low=0.0,
    ),
    "logit": Map(
        _logit,
        _inverse_logit,
        lambda z, delta: (1 / _mirrored(z, delta) + 1 / _mirrored(1 - z, delta)).log(),
        low=0.0,
        high=1.0,
    ),
}
"""The maps by name."""


@dataclass(frozen=True)
class Transform:
    """The maps of all columns, in double precision, differentiable in x.

    Args:
        columns: one a coordinate.
    """

    columns: tuple[Column, ...]

    def forward(self, x: Tensor) -> Tensor:
        """``g(x)``, (..., d) to (..., d), float64."""
        return self._mapped(self._reduced(x), lambda g, z, shape: g.forward(z, shape))

    def inverse(self, y: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The x of ``y = g(x)``, in ``dtype``, default y's; of few y it is beyond a bound."""
        a, b, _ = (number.to(y.device) for number in self._numbers)
        z = self._mapped(y.double(), lambda g, v, shape: g.inverse(v, shape))
        return (a + b * z).to(dtype or y.dtype)

    def within(self, x: Tensor) -> Tensor:
        """Points strictly within their bounds: those beyond are reflected, to ``δ b`` at most."""
        low, high = (bound.to(x) for bound in self.bounds)
        far = (self._numbers[1] * self._numbers[2]).to(x)
        x = torch.where(x < low, low + torch.minimum(low - x, far), x)
        x = torch.where(x > high, high - torch.minimum(x - high, far), x)
        return x.clamp(_next(low, math.inf), _next(high, -math.inf))

    def log_derivative(self, x: Tensor) -> Tensor:
        """``log dy_j/dx_j``, (..., d), float64."""
        found = self._mapped(self._reduced(x), lambda g, z, shape: g.log_derivative(z, shape))
        return found - self._numbers[1].to(x.device).log()

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Of known points, (d,) each, float64; infinite where there are none."""
        maps = [MAPS[column.kind] for column in self.columns]
        a, b, _ = self._numbers
        low, high = (
            a + b * torch.tensor(ends, dtype=torch.float64)
            for ends in ([g.low for g in maps], [g.high for g in maps])
        )
        return low, high

    def state(self) -> list[dict[str, Any]]:
        """Plain values, of which `from_state` makes the same maps."""
        return [column._asdict() for column in self.columns]

    @classmethod
    def from_state(cls, state: Iterable[Mapping[str, Any]] | None) -> "Transform | None":
        """The maps of a state; None for None."""
        return None if state is None else cls(tuple(Column(**column) for column in state))

    @cached_property
    def _numbers(self) -> tuple[Tensor, ...]:
        numbers = [column[1:] for column in self.columns]
        return torch.tensor(numbers, dtype=torch.float64).unbind(1)

    @cached_property
    def _groups(self) -> dict[str, Tensor]:
        """The columns of each kind."""
        kinds = [column.kind for column in self.columns]
        return {k: torch.tensor([j for j, v in enumerate(kinds) if v == k]) for k in set(kinds)}

    def _reduced(self, x: Tensor) -> Tensor:
        a, b, _ = (number.to(x.device) for number in self._numbers)
        return (x.double() - a) / b

    def _mapped(self, v: Tensor, function: Callable[[Map, Tensor, Tensor], Tensor]) -> Tensor:
        result, shapes = v, self._numbers[2].to(v.device)
        for kind, columns in self._groups.items():
            index = columns.to(v.device)
            part = function(MAPS[kind], v[..., index], shapes[index])
            result = result.index_copy(-1, index, part)
        return result


def _next(bound: Tensor, toward: float) -> Tensor:
    """The next number from a bound, none that a processor may flush to zero."""
    beyond = torch.full_like(bound, toward)
    step = math.copysign(torch.finfo(bound.dtype).tiny, toward)
    return torch.where(
        bound == 0, step, torch.where(bound.isinf(), bound, bound.nextafter(beyond))
    )
