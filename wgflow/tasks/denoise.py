"""Denoising: mode and moments of the posterior under Gaussian noise, with the energy as prior."""

from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.energies.base import Energy
from wgflow.energies.conditional import Observed
from wgflow.samplers import Sampler, iterate
from wgflow.samplers.descent import descend


class Denoised(NamedTuple):
    """Statistics of the posterior, each of shape (batch, *event).

    Attributes:
        mode: the most probable point.
        mean: the point of least expected squared error.
        deviation: the standard deviation per coordinate.
    """

    mode: Tensor
    mean: Tensor
    deviation: Tensor


def denoise(
    energy: Energy,
    y: Points,
    sigma: float | Tensor,
    sampler: Sampler[Any],
    steps: int,
    *,
    burn_in: int = 100,
    descent: int = 200,
    draws: int = 1,
    start: Tensor | None = None,
    chunk: int = 256,
    generator: Rng = None,
) -> Denoised:
    """Mode, mean and deviation of ``p(x | y) ∝ exp(-E(x) - |y-x|²/(2σ²))``.

    The mode by descent; the moments as averages over chains that start at the mode. In many
    dimensions the mode is smoother than any typical point, and the mean has the least expected
    squared error, as far as E is right. Energies of images have spurious local minima between y
    and the images: start beyond them.

    Args:
        energy: E, of points without noise.
        y: what was observed, (batch, *event).
        sigma: σ of the noise, in the units of y; a tensor broadcasts over events.
        sampler: moves the chains.
        steps: that the averages are over.
        burn_in: steps of the chains before those.
        descent: steps to the mode.
        draws: chains per point.
        start: of the descent, of the shape of y; None for y.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range, or a start of another shape.
    """
    check_positive(steps=steps, draws=draws, chunk=chunk)
    start = y if start is None else start
    if start.shape != y.shape:
        raise ValueError(
            "Every point has a place to start: expected shape "
            f"{tuple(y.shape)}, got {tuple(start.shape)}."
        )
    check_nonnegative(burn_in=burn_in)
    parts = []
    size = max(1, chunk // draws)
    for part, begin in zip(y.split(size), start.split(size), strict=True):
        mode = descend(Observed(energy, part, sigma), begin, descent, step=sampler.step_size)
        posterior = Observed(energy, part.repeat_interleave(draws, 0), sigma)
        chain = iterate(sampler, posterior, mode.repeat_interleave(draws, 0), generator=generator)
        visited = (state.x for state, _ in islice(chain, burn_in, burn_in + steps))
        mean, deviation = _moments(visited, steps, draws, mode)
        parts.append(Denoised(mode, mean, deviation))
    return Denoised(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _moments(visited: Any, steps: int, draws: int, origin: Points) -> tuple[Points, Points]:
    """Mean and deviation per point of everything visited, summed about ``origin``."""
    first, second = torch.zeros_like(origin), torch.zeros_like(origin)
    for x in visited:
        shift = x.reshape(len(origin), draws, *origin.shape[1:]) - origin[:, None]
        first += shift.mean(1) / steps
        second += shift.square().mean(1) / steps
    return origin + first, (second - first**2).clamp(min=0).sqrt()
