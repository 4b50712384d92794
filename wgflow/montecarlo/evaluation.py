"""Values and gradients of energies in bounded memory, and which points have none."""

import math
from functools import partial

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.montecarlo.base import Counted, Problem
from wgflow.targets.checks import FARTHEST, culprit

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
    """`evaluated`, for an energy of unknown needs: of memory, seen once of a few points.

    An energy that compares each point with all rows of a table keeps as many numbers a point, so
    that it is given fewer points at a time. The few are evaluated apart, so that a result does not
    depend on when that was seen, and are not counted.

    Raises:
        ValueError: as of `evaluated`.
    """
    if not energy.kept and len(x):
        energy.kept = max(x.shape[1], _kept(energy.energy, x[:PROBE]))
    return evaluated(energy, x, energy.kept)


def evaluated(energy: Energy, x: Points, kept: int = 0) -> tuple[Values, Points]:
    """``E(x)`` and ``∇E(x)``; the gradient is 0 where E is infinite.

    Where E is beyond `FARTHEST` and the length of its gradient overflows, E counts as infinite.

    Args:
        energy: E.
        x: (batch, d).
        kept: numbers that are held for each point on the way, at least d.

    Raises:
        ValueError: E raises an error, is not a number somewhere, minus infinity, or finite without
            a gradient.
    """
    at_once = max(1, NUMBERS // max(kept, x.shape[1]))
    parts = [_computed(energy, part) for part in x.split(at_once)]
    value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
    _check("a number above -inf", ~value.isnan() & (value > -math.inf), value, x)
    overflows = (value > FARTHEST) & ~grad.norm(dim=1).isfinite()
    value = value.masked_fill(overflows, math.inf)
    outside = value == math.inf
    _check("differentiable", outside | grad.isfinite().all(1), value, x)
    return value, torch.where(outside[:, None], 0.0, grad)


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
