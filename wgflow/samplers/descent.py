"""Descent of an energy: along its gradient, with noise that fades, and to a mode."""

import math
from collections.abc import Iterable, Iterator

import torch

from wgflow._check import check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, per_point, sum_event
from wgflow.energies.base import Energy, energy_and_grad

GROW, SHRINK, ENOUGH = 1.5, 0.5, 0.25
"""Of the step of `descend`: after a success, after a failure, and Armijo's constant."""


def cooling(hottest: float, steps: int) -> list[float]:
    """``steps`` temperatures from ``hottest`` down to 1, in equal ratios.

    Raises:
        ValueError: unless both are positive.
    """
    check_positive(hottest=hottest, steps=steps)
    return [hottest ** (1 - k / max(1, steps - 1)) for k in range(steps)]


def anneal(
    energy: Energy, x: Points, temperatures: Iterable[float], *, step: float, generator: Rng = None
) -> Iterator[Points]:
    """x, and x after each step of noisy descent ``x ← x - h∇E(x) + √(2hT) ξ``, one for each T.

    Each step is Langevin's for ``E/T``, of step ``hT``: T = 1 draws from ``exp(-E)`` with the bias
    of ULA, falling temperatures anneal (Kirkpatrick et al. 1983), T = 0 is plain descent.

    Args:
        energy: E.
        x: where to start, (batch, *event).
        temperatures: T ≥ 0, in order.
        step: h > 0, in squared units of x, below ``2/L`` for gradients of Lipschitz constant L.
        generator: source of randomness.

    Raises:
        ValueError: when the step is not positive, or a temperature is negative.
    """
    check_positive(step=step)
    yield x
    for temperature in temperatures:
        if not temperature >= 0:
            raise ValueError(
                f"A temperature must not be negative: expected ≥ 0, got {temperature}."
            )
        _, grad = energy_and_grad(energy, x)
        x = x - step * grad
        if temperature > 0:
            noise = noise_like(x, generator=generator)
            x = x + math.sqrt(2 * step * temperature) * noise
        yield x


def descend(energy: Energy, x: Points, steps: int, *, step: float = 0.01) -> Points:
    """Where gradient descent from x is after ``steps`` steps, (batch, *event): near a mode.

    Every point has a step size of its own, so none has to be tuned: a move is made only if it
    satisfies Armijo's condition ``E(x - h∇E) ≤ E(x) - h|∇E|²/4``, after which h grows by half;
    otherwise h is halved. The energy of no point ever rises. One gradient per step.

    Args:
        energy: E, one value per point that depends on that point alone.
        x: where to start.
        steps: how many.
        step: first h > 0, in squared units of x.

    Raises:
        ValueError: when a number is not positive.
    """
    check_positive(steps=steps, step=step)
    value, grad = energy_and_grad(energy, x)
    h = torch.full_like(value, step)
    for _ in range(steps):
        y = x - per_point(h, x) * grad
        there, slope = energy_and_grad(energy, y)
        lower = there <= value - ENOUGH * h * sum_event(grad**2)  # not where there is NaN
        x = torch.where(per_point(lower, x), y, x)
        grad = torch.where(per_point(lower, x), slope, grad)
        value = torch.where(lower, there, value)
        h = h * torch.where(lower, GROW, SHRINK)
    return x.detach()
