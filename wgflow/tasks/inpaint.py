"""Inpainting: what is missing from a point, drawn from an energy that was not trained for it.

The energy with some coordinates held is the conditional law of the others; the one sampling loop
does the rest.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import noise_like
from wgflow._tensor import Points, Values
from wgflow.energies.base import Energy
from wgflow.samplers import Sampler, sample
from wgflow.samplers.descent import anneal, descend


class Conditioned(nn.Module):
    """Conditioning: ``E(v | x) = E(x with its hidden coordinates replaced by v)``.

    ``exp(-E(v | x))`` is the conditional law of the hidden coordinates up to a constant, exactly.
    It is bound to its points: row i of v belongs to row i of x.

    Args:
        energy: E.
        x: points whose other coordinates are known, (batch, *event).
        mask: True where a coordinate is hidden, (*event,), bool.

    Raises:
        ValueError: unless the mask is of bools, of the shape of a point, and hides something.
    """

    known: Tensor
    index: Tensor

    def __init__(self, energy: Energy, x: Points, mask: Tensor):
        super().__init__()
        check_mask(mask, x)
        self.energy = energy
        self.register_buffer("known", x.detach())
        self.register_buffer("index", mask.flatten().nonzero().squeeze(1).to(x.device))

    def forward(self, v: Tensor) -> Values:
        """``E(v | x)`` of hidden coordinates v, (batch, hidden) -> (batch,)."""
        return self.energy(self.complete(v))

    def complete(self, v: Tensor) -> Points:
        """The points with v in their hidden coordinates, (batch, *event)."""
        return self.known.flatten(1).index_copy(1, self.index, v).reshape(self.known.shape)

    def hidden(self, x: Points) -> Tensor:
        """The coordinates of x that are hidden, (batch, hidden)."""
        return x.flatten(1)[:, self.index]


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
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws from ``p(hidden | known)``, (batch, draws, *event); what is known stays as it is.

    Chains run in the hidden coordinates alone: `MALA` leaves their conditional law invariant,
    `ULA` is biased by its step and never rejects. In a law with many modes chains stay near
    where they begin, so begin at noise and cool, or at points that are near already.

    Args:
        energy: E.
        x: points with known coordinates; what the hidden ones hold does not matter.
        mask: True where a coordinate is hidden, (*event,), bool.
        sampler: moves the hidden coordinates.
        steps: of the sampler.
        draws: how many per point.
        start: where the hidden coordinates begin, (batch * draws, *event), the draws of a point
            next to each other; None for N(0, I), which suits standardised units.
        temperatures: of `wgflow.samplers.descent.anneal` before the sampler, with its first step
        size.
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
        law = Conditioned(energy, kept, mask)
        step = sampler.step_size
        begun = law.hidden(begin)
        way = anneal(law, begun, temperatures, step=step, generator=generator)
        (v,) = deque(way, maxlen=1)
        parts.append(law.complete(sample(sampler, law, v, steps, generator=generator)))
    return torch.cat(parts).reshape(len(x), draws, *x.shape[1:])


def complete(
    energy: Energy,
    x: Points,
    mask: Tensor,
    steps: int,
    *,
    step: float = 0.01,
    chunk: int = 256,
) -> Points:
    """The mode of ``p(hidden | known)`` below x, by `wgflow.samplers.descent.descend`: no
    randomness.

    Args:
        energy: E.
        x: points, (batch, *event); their hidden coordinates are where the descent begins.
        mask: True where a coordinate is hidden, (*event,), bool.
        steps: of the descent.
        step: its first step.
        chunk: points at a time; bounds the memory.

    Raises:
        ValueError: on a mask of another shape, or no steps.
    """
    parts = []
    for part in x.split(chunk):
        law = Conditioned(energy, part, mask)
        parts.append(law.complete(descend(law, law.hidden(part), steps, step=step)))
    return torch.cat(parts)


def bridge(
    energy: Energy,
    x: Points,
    mask: Tensor,
    noise: Tensor,
    *,
    temperature: float,
    time: float = 2.0,
    steps: int = 80,
    chunk: int = 256,
) -> Points:
    """Points whose hidden coordinates followed ``V = εE`` from noise, what is known beside them.

    For energies matched to paths of unit time: Euler steps of ``dv/dt = -∂V/∂v`` over ``time``, in
    which the known coordinates are at ``(1-t) x_0 + t x`` until t = 1, where they stay. So the
    energy sees the noise levels that it learned from. A start for `inpaint`, one gradient a step.

    Args:
        energy: E.
        x: points with known coordinates, (batch, *event).
        mask: True where a coordinate is hidden, (*event,), bool.
        noise: ``x_0``, of the law that the paths begin at, (batch, *event).
        temperature: ε.
        time: of the path.
        steps: Euler steps.
        chunk: points at a time; bounds the memory.

    Raises:
        ValueError: on a mask or noise of another shape, or numbers out of their ranges.
    """
    check_positive(temperature=temperature, time=time, steps=steps)
    _check_start(noise, x)
    h = time / steps
    parts = []
    for end, begin in zip(x.split(chunk), noise.split(chunk), strict=True):
        law = Conditioned(energy, end, mask)
        v = law.hidden(begin)
        for k in range(steps):
            now = Conditioned(energy, begin.lerp(end, min(1.0, k * h)), mask)
            _, v = anneal(now, v, (0.0,), step=temperature * h)
        parts.append(law.complete(v))
    return torch.cat(parts)


def check_mask(mask: Tensor, x: Points) -> None:
    """Raise ValueError unless it is of bools, of the shape of a point, and hides something."""
    if mask.dtype != torch.bool or mask.shape != x.shape[1:]:
        raise ValueError(
            "A mask says of each coordinate whether it is hidden: expected bools of shape "
            f"{tuple(x.shape[1:])}, got {mask.dtype} of shape {tuple(mask.shape)}."
        )
    if not mask.any():
        raise ValueError("A mask hides something: expected at least one True, got none.")


def _check_start(start: Tensor, known: Tensor) -> None:
    if start.shape != known.shape:
        raise ValueError(
            "Every draw has a place to start: expected shape "
            f"{tuple(known.shape)}, got {tuple(start.shape)}."
        )
