"""Values and gradients of energies in bounded memory, and which points have none."""

import math
from functools import partial

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.montecarlo.base import Counted, Problem
from wgflow.targets.checks import FARTHEST
from wgflow.targets.failures import culprit

NUMBERS = 2**22
"""That an energy keeps for its gradient at a time: of points, or of points times rows of data."""

PROBE = 64
"""Points of which is seen how many numbers an energy keeps for each."""


def both(problem: Problem, x: Points) -> tuple[Values, Points, Values, Points]:
    """``E_0(x)``, ``∇E_0(x)``, ``V(x)`` and ``∇V(x)``.

    Raises:
        ValueError: as of `evaluated`.
    """
    return *evaluated(problem.start, x), *counted(problem.energy, x)


def counted(energy: Counted, x: Points) -> tuple[Values, Points]:
    """``V(x)`` and ``∇V(x)`` of a given energy; the gradient is 0 where V is infinite.

    V counts as infinite where it has no value or no finite gradient: with a scale of ``e^{-50}``
    one or the other is lost, and there is no mass. An energy that compares each point with all
    rows of a table keeps as many numbers a point, so that it is given fewer points at a time. Of
    how many is seen once of a few points, which are evaluated apart, so that a result does not
    depend on when that was seen, and are not counted.

    Raises:
        ValueError: V raises an error that is not of numbers, or is minus infinity somewhere.
    """
    if not energy.kept and len(x):
        energy.kept = max(x.shape[1], _kept(Counted(energy.energy), x[:PROBE]))
    value, grad = _in_parts(energy, x, at_once(energy, x.shape[1]))
    steep = _steep(value, grad)
    energy.excluded += int((steep & (value <= FARTHEST)).sum())
    return _bounded(value.masked_fill(steep, math.inf), grad, x)


def evaluated(energy: Energy, x: Points) -> tuple[Values, Points]:
    """``E(x)`` and ``∇E(x)`` of another energy; the gradient is 0 where E is infinite.

    Where E is beyond `FARTHEST` and the length of its gradient overflows, E counts as infinite.

    Args:
        energy: E.
        x: (batch, d).

    Raises:
        ValueError: E raises an error, is not a number somewhere, minus infinity, or finite without
            a gradient.
    """
    value, grad = _in_parts(energy, x, max(1, NUMBERS // x.shape[1]))
    steep = _steep(value, grad)
    _check("differentiable", ~steep | (value > FARTHEST), value, x)
    return _bounded(value.masked_fill(steep, math.inf), grad, x)


def at_once(energy: Counted, dim: int) -> int:
    """How many points a given energy may have at a time, by what it keeps of each."""
    return max(1, NUMBERS // max(energy.kept, dim))


def _in_parts(energy: Energy, x: Points, count: int) -> tuple[Values, Points]:
    """``E(x)`` and ``∇E(x)`` of so many points at a time."""
    parts = [_computed(energy, part) for part in x.split(count)]
    value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
    return value, grad


def _steep(value: Values, grad: Points) -> Tensor:
    """Where an energy is finite and the length of its gradient is not, (batch,)."""
    return value.isfinite() & ~grad.norm(dim=1).isfinite()


def _bounded(value: Values, grad: Points, x: Points) -> tuple[Values, Points]:
    """Both, with a gradient of 0 where the energy is infinite."""
    _check("a number above -inf", ~value.isnan() & (value > -math.inf), value, x)
    return value, torch.where((value == math.inf)[:, None], 0.0, grad)


def _kept(energy: Energy, x: Points) -> int:
    """How many numbers autograd keeps for each point."""
    count = 0

    def packed(kept: Tensor) -> Tensor:
        nonlocal count
        count += kept.numel()
        return kept

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda kept: kept):
        _computed(energy, x)
    return count // len(x)


def _computed(energy: Energy, x: Points) -> tuple[Values, Points]:
    """``E(x)`` and ``∇E(x)``; ValueError that names a point where E raises an error of its own."""
    try:
        return energy_and_grad(energy, x)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        at, own = culprit(partial(energy_and_grad, energy), x, error)
        said = " ".join(f"{type(own).__name__}: {own}".split())
        raise ValueError(
            f"`energy` must be computable at every point: got {said} at x = {_point(at)}."
        ) from error


def _point(x: Tensor) -> str:
    """The first coordinates of a point, to be read."""
    shown = ", ".join(f"{v:.4g}" for v in x[:4].tolist())
    return f"({shown}{', ...' if len(x) > 4 else ''})"


def _check(rule: str, kept: Tensor, value: Tensor, x: Tensor) -> None:
    if not kept.all():
        at = int((~kept).nonzero()[0])
        raise ValueError(
            f"`energy` must be {rule} at every point: got {float(value[at]):.4g} at "
            f"x = {_point(x[at])}" + (" without a finite gradient." if rule[0] == "d" else ".")
        )
