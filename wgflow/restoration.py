"""Restoration with a known energy: what is missing from a point, and what is under its noise.

Both are draws from a law that an energy gives for free, without training anything: the energy
with some coordinates held, and the energy plus a quadratic. The one sampling loop does the rest.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wgflow._tensor import Points, Values, sum_event
from wgflow.descent import anneal, descend
from wgflow.energy import Energy
from wgflow.samplers import Sampler, iterate, sample
from wgflow.samplers.base import check_positive
from wgflow.sampling import follow


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
        _check_mask(mask, x)
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


class Observed(nn.Module):
    """Bayes: ``E(x | y) = E(x) + |y - x|²/(2σ²)``, for y = x plus noise N(0, σ²I).

    It is bound to its observations: row i of x belongs to row i of y.

    Args:
        energy: E, of the prior.
        y: what was observed, (batch, *event).
        sigma: σ > 0, in the units of y; a tensor broadcasts over events.

    Raises:
        ValueError: unless σ is positive.
    """

    y: Tensor
    sigma: Tensor

    def __init__(self, energy: Energy, y: Points, sigma: float | Tensor):
        super().__init__()
        self.energy = energy
        self.register_buffer("y", y.detach())
        self.register_buffer("sigma", torch.as_tensor(sigma, dtype=y.dtype, device=y.device))
        if not (self.sigma > 0).all():
            smallest = float(self.sigma.min())
            raise ValueError(f"Noise must have a scale: expected sigma > 0, got {smallest}.")

    def forward(self, x: Points) -> Values:
        """``E(x) + |y - x|²/(2σ²)``."""
        return self.energy(x) + sum_event(((self.y - x) / self.sigma) ** 2) / 2


class Denoised(NamedTuple):
    """What is known about points under noise, each of shape (batch, *event).

    Attributes:
        mode: of the posterior, the most probable point.
        mean: of the posterior, the point of least expected squared error.
        deviation: of the posterior, per coordinate: how sure the mean is.
    """

    mode: Tensor
    mean: Tensor
    deviation: Tensor


def inpaint(
    energy: Energy,
    x: Points,
    mask: Tensor,
    sampler: Sampler[Any],
    steps: int,
    *,
    draws: int = 1,
    start: Points | None = None,
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
        temperatures: of `wgflow.descent.anneal` before the sampler, with its first step size.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: on a mask or starts of another shape, or no draws or steps.
    """
    check_positive("Inpainting", draws=draws)
    _check_mask(mask, x)
    known = x.repeat_interleave(draws, 0)
    if start is None:
        start = torch.randn(known.shape, generator=generator, dtype=x.dtype).to(x.device)
    _check_start(start, known)
    parts = []
    for kept, begin in zip(known.split(chunk), start.split(chunk), strict=True):
        law = Conditioned(energy, kept, mask)
        step = sampler.step_size
        v = anneal(law, law.hidden(begin), temperatures, step=step, generator=generator)
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
    """The mode of ``p(hidden | known)`` below x, by `wgflow.descent.descend`: no randomness.

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
    chunk: int = 256,
    generator: torch.Generator | None = None,
) -> Denoised:
    """Mode, mean and deviation of ``p(x | y) ∝ exp(-E(x) - |y-x|²/(2σ²))``.

    The mode by descent from y; the moments as averages over chains that begin at the mode. In
    many dimensions the mode is smoother than any typical point, and the mean has the least
    squared error that any estimate can have, as far as E is right.

    Args:
        energy: E, of points without noise.
        y: what was observed, (batch, *event).
        sigma: σ of the noise, in the units of y; a tensor broadcasts over events.
        sampler: moves the chains.
        steps: that the averages are over.
        burn_in: steps of the chains before those.
        descent: steps to the mode.
        draws: chains per point.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range.
    """
    check_positive("Denoising", steps=steps, draws=draws, chunk=chunk)
    if burn_in < 0:
        raise ValueError(f"A chain burns in for some steps: expected at least 0, got {burn_in}.")
    parts = []
    for part in y.split(max(1, chunk // draws)):
        mode = descend(Observed(energy, part, sigma), part, descent, step=sampler.step_size)
        law = Observed(energy, part.repeat_interleave(draws, 0), sigma)
        begin = mode.repeat_interleave(draws, 0)
        chain = iterate(sampler, law, begin, generator=generator)
        visited = (state.x for state, _ in islice(chain, burn_in, burn_in + steps))
        mean, deviation = _moments(visited, steps, draws, mode)
        parts.append(Denoised(mode, mean, deviation))
    return Denoised(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def bridge(
    energy: Energy,
    x: Points,
    mask: Tensor,
    noise: Points,
    *,
    temperature: float,
    time: float = 2.0,
    steps: int = 80,
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

    Raises:
        ValueError: on a mask or noise of another shape, or numbers out of their ranges.
    """
    check_positive("A bridge", temperature=temperature, time=time, steps=steps)
    _check_start(noise, x)
    v = Conditioned(energy, x, mask).hidden(noise)
    h = time / steps
    for k in range(steps):
        law = Conditioned(energy, noise.lerp(x, min(1.0, k * h)), mask)
        v = anneal(law, v, (0.0,), step=temperature * h)
    return Conditioned(energy, x, mask).complete(v)


def flow_back(
    energy: Energy,
    y: Points,
    sigma: float | Tensor,
    *,
    temperature: float,
    noise: float = 1.0,
    settle: float = 0.5,
    steps: int = 60,
    chunk: int = 256,
) -> Points:
    """Denoising along the learned path, (batch, *event): no law is asked, only the flow.

    For energies matched to paths ``x_t = (1-t) s ξ + t x``: ``y = x + σξ`` is the point ``y t`` of
    such a path at ``t = s/(s + σ)``, and following ``V = εE`` for the time ``1 - t`` that is left
    leads to its end. It does not depend on how well the depths of the wells are learned.

    Args:
        energy: E.
        y: what was observed, (batch, *event).
        sigma: σ > 0, in the units of y; a tensor broadcasts over events.
        temperature: ε.
        noise: s, the deviation of the noise that the paths begin at.
        settle: time after the end of the path.
        steps: Euler steps.
        chunk: points at a time; bounds the memory.

    Raises:
        ValueError: when a number is out of its range.
    """
    level = torch.as_tensor(sigma, dtype=y.dtype, device=y.device)
    check_positive("Denoising", noise=noise, sigma=float(level.min()))
    t = noise / (noise + level)
    # One clock for all coordinates, where their noise differs: that of the most noisy one.
    time = 1 - float(t.min()) + settle
    return follow(energy, t * y, temperature=temperature, time=time, steps=steps, chunk=chunk)


def _moments(visited: Any, steps: int, draws: int, origin: Points) -> tuple[Points, Points]:
    """Mean and deviation per point of everything visited, summed about ``origin``."""
    first, second = torch.zeros_like(origin), torch.zeros_like(origin)
    for x in visited:
        shift = x.reshape(len(origin), draws, *origin.shape[1:]) - origin[:, None]
        first += shift.mean(1) / steps
        second += shift.square().mean(1) / steps
    return origin + first, (second - first**2).clamp(min=0).sqrt()


def _check_mask(mask: Tensor, x: Points) -> None:
    if mask.dtype != torch.bool or mask.shape != x.shape[1:]:
        raise ValueError(
            "A mask says of each coordinate whether it is hidden: expected bools of shape "
            f"{tuple(x.shape[1:])}, got {mask.dtype} of shape {tuple(mask.shape)}."
        )
    if not mask.any():
        raise ValueError("A mask hides something: expected at least one True, got none.")


def _check_start(start: Tensor, known: Points) -> None:
    if start.shape != known.shape:
        raise ValueError(
            "Every draw has a place to start: expected shape "
            f"{tuple(known.shape)}, got {tuple(start.shape)}."
        )
