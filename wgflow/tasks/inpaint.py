"""Inpainting: draws of hidden coordinates given the known ones, by the unconditional energy.

E with the known coordinates fixed is the energy of the conditional distribution.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_choice, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points
from wgflow.energies.base import Energy
from wgflow.energies.conditional import Conditioned, check_mask
from wgflow.samplers import Sampler, sample
from wgflow.samplers.descent import anneal, descend


def inpaint(
    energy: Energy,
    x: Points,
    mask: Tensor,
    sampler: Sampler[Any],
    steps: int,
    *,
    draws: int = 1,
    start: Tensor | None = None,
    temperatures: Sequence[float] = (),
    chunk: int = 256,
    generator: Rng = None,
) -> Tensor:
    """Draws from ``p(hidden | known)``, (batch, draws, *event); known coordinates stay.

    Chains run in the hidden coordinates alone: `MALA` leaves their conditional distribution
    invariant, `ULA` is biased by its step and never rejects. With many modes chains stay near
    their start, so start at noise and cool, or at points of a flow.

    Args:
        energy: E.
        x: points with known coordinates; values of the hidden ones are ignored.
        mask: True where a coordinate is hidden, (*event,), bool.
        sampler: moves the hidden coordinates.
        steps: of the sampler.
        draws: how many per point.
        start: of the hidden coordinates, (batch * draws, *event), the draws of a point
            next to each other; None for N(0, I), which suits standardised units.
        temperatures: of `anneal` before the sampler, with its first step size.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: on a mask or starts of another shape, or no draws or steps.
    """
    check_positive(draws=draws)
    check_mask(mask, x)
    known = x.repeat_interleave(draws, 0)
    if start is None:
        start = noise_like(known, generator=generator)
    _check_start(start, known)
    parts = []
    for kept, begin in zip(known.split(chunk), start.split(chunk), strict=True):
        given = Conditioned(energy, kept, mask)
        v = given.hidden(begin)
        way = anneal(given, v, temperatures, step=sampler.step_size, generator=generator)
        (v,) = deque(way, maxlen=1)
        parts.append(given.complete(sample(sampler, given, v, steps, generator=generator)))
    return torch.cat(parts).reshape(len(x), draws, *x.shape[1:])


def complete(
    energy: Energy, x: Points, mask: Tensor, steps: int, *, step: float = 0.01, chunk: int = 256
) -> Points:
    """The mode of ``p(hidden | known)`` that descent from x reaches; deterministic.

    Args:
        energy: E.
        x: points, (batch, *event); their hidden coordinates start the descent.
        mask: True where a coordinate is hidden, (*event,), bool.
        steps: of the descent.
        step: its first step.
        chunk: points at a time; bounds the memory.

    Raises:
        ValueError: on a mask of another shape, or no steps.
    """
    parts = []
    for part in x.split(chunk):
        given = Conditioned(energy, part, mask)
        parts.append(given.complete(descend(given, given.hidden(part), steps, step=step)))
    return torch.cat(parts)


SIDES = ("left", "right", "top", "bottom", "center")
"""Parts of an image that can be hidden by name."""


def side(name: str, event_shape: tuple[int, ...]) -> Tensor:
    """True in one half of an image, or in the middle quarter, (*event,).

    Raises:
        ValueError: for points that are no images, or a name that is none of `SIDES`.
    """
    check_choice("side", name, SIDES)
    if len(event_shape) != 3:
        raise ValueError(
            f"Sides are of images: expected a mask FILE.npy of shape {event_shape}, got {name!r}."
        )
    _, height, width = event_shape
    h, w = height // 2, width // 2
    rows, columns = {
        "left": (slice(None), slice(0, w)),
        "right": (slice(None), slice(w, None)),
        "top": (slice(0, h), slice(None)),
        "bottom": (slice(h, None), slice(None)),
        "center": (slice(h // 2, h // 2 + h), slice(w // 2, w // 2 + w)),
    }[name]
    mask = torch.zeros(event_shape, dtype=torch.bool)
    mask[:, rows, columns] = True
    return mask


def _check_start(start: Tensor, known: Tensor) -> None:
    if start.shape != known.shape:
        raise ValueError(
            "Every draw has a place to start: expected shape "
            f"{tuple(known.shape)}, got {tuple(start.shape)}."
        )
