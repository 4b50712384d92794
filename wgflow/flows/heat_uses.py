"""What the heat flow of a learned law is good for: to fill in, to lead, to tell other data.

It asks for an energy of levels of noise, `wgflow.energies.noise_levels`.
"""

import itertools
import math
from collections import deque
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import noise_like
from wgflow._tensor import Points, sum_event
from wgflow.energies.noise_levels import Levels, denoised
from wgflow.flows.heat import POWER, cool, start, wander
from wgflow.tasks.inpaint import check_mask
from wgflow.tasks.ood import TIMES

VISITS = 8
"""Of each level, where some coordinates are known."""


def bridge(
    energy: Any,
    levels: Levels,
    x: Points,
    hidden: Tensor,
    *,
    steps: int = 10,
    visits: int = VISITS,
    chunk: int = 256,
    generator: torch.Generator | None = None,
) -> Points:
    """Points whose hidden coordinates came down all levels, what is known beside them.

    From a level a to the next, b, by steps of `wander`, in which the known coordinates are put at
    ``x + bξ``; and up again by the noise ``√(a²-b²) ξ``, until b was visited so many times
    (Lugmayr et al. 2022). To go up and down leaves the law of the level as it is, nearly, so what
    is hidden comes to agree with what is known. Few levels that are visited often agree better
    than many that are visited once: of two coordinates of correlation .9, where the known one
    says 1.34, 80 levels bring the other to 0.91, 10 that are visited 8 times to 1.25. One
    gradient a visit.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        x: points with known coordinates, (batch, *event).
        hidden: True where a coordinate is hidden, (*event,), bool.
        steps: from the highest level to the lowest.
        visits: of each level.
        chunk: points at a time; bounds the memory.
        generator: source of the noise.

    Raises:
        ValueError: on no steps or visits, or a mask of another shape.
    """
    check_positive(steps=steps, visits=visits)
    check_mask(hidden, x)
    hidden = hidden.to(x.device)
    parts, first = [], start(energy, levels, x)
    for known in x.split(chunk):

        def noisy(y: Points, sigma: float) -> Points:
            noise = noise_like(y, generator=generator)
            return y + sigma * noise

        y = first.sample(len(known), generator=generator)
        y = torch.where(hidden, y, noisy(known, levels.highest))
        for a, b in itertools.pairwise(levels.grid(steps, POWER)):
            for visit in range(visits):
                above = noisy(y, math.sqrt(a**2 - b**2)) if visit else y
                *_, below = wander(energy, above, [a, b], generator=generator)
                y = torch.where(hidden, below, noisy(known, b))
        parts.append(torch.where(hidden, y, known))
    return torch.cat(parts)


def between(
    energy: Any, levels: Levels, a: Tensor, b: Tensor, points: int, *, steps: int = 20
) -> Points:
    """A path of images from a to b, both (*event,): (points, *event), with the ends.

    The flow of `cool` is a map of the law of the lowest level to noise, and back. Both ends go up
    to noise, on the sphere between those there are the others, which come down again: all points
    are draws, as far as a and b are two (Song et al. 2021). Four gradients a step for the ends,
    two for each point.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        a: one end, a point of the law of the lowest level.
        b: the other.
        points: along the path, 2 at least.
        steps: from the lowest level to the highest, and back.

    Raises:
        ValueError: on fewer steps or points, or ends that are the same.
    """
    check_positive(steps=steps, points=points - 1)
    if torch.equal(a, b):
        raise ValueError("A path leads from one point to another: expected two, got the same.")
    grid = levels.grid(steps)
    (ends,) = deque(cool(energy, torch.stack([a, b]), grid[::-1]), maxlen=1)
    center = start(energy, levels, a[None]).center
    u, v = ends - center
    angle = torch.arccos((u * v).sum() / (u.norm() * v.norm()))
    t = torch.linspace(0, 1, points, dtype=a.dtype, device=a.device).reshape(-1, *[1] * a.ndim)
    arc = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / torch.sin(angle)
    (x,) = deque(cool(energy, center + arc, grid), maxlen=1)
    return torch.cat([a[None], x[1:-1], b[None]])


def recovery(
    energy: Any, x: Points, *, generator: torch.Generator | None = None, chunk: int = 256
) -> Tensor:
    """How far from x lies what is under noise that is added to it, (batch, levels), float64.

    For ``y = x + σξ``, ``|E[x_0|y] - x|²`` is small only for x of the data, whatever E(x) is
    (after Graham et al. 2023): as `wgflow.tasks.ood.recovery`, at the same points of paths,
    ``σ = (1-t)/t``, by one gradient each.

    Args:
        energy: E of x and the level.
        x: points to score, (batch, *event).
        generator: source of the noise.
        chunk: points at a time; bounds the memory.
    """
    found = []
    for t in TIMES:
        sigma = (1 - t) / t
        noise = noise_like(x, generator=generator)
        y = x + sigma * noise
        ends = torch.cat([denoised(energy, part, sigma) for part in y.split(chunk)])
        found.append(sum_event((ends - x) ** 2).double())
    return torch.stack(found, 1)
