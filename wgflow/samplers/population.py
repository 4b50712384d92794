"""Fresh samples of a learned energy: from the population that learned it, or from noise."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow.energies.base import Energy
from wgflow.samplers.base import Sampler, sample
from wgflow.samplers.descent import anneal
from wgflow.samplers.independence import Independence, silverman
from wgflow.samplers.langevin import ULA
from wgflow.samplers.particles import Particles, react, resample

ANCHORS = 2048


def draw(
    energy: Energy,
    particles: Particles,
    count: int,
    sampler: Sampler,
    *,
    rounds: int = 20,
    chunk: int = 8192,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``count`` points of ``p ∝ exp(-E)``, (count, *event), started from a weighted population.

    The population is reweighted to ``energy`` and resampled; then each of ``rounds`` rounds is
    one independence step proposed from the population itself, perturbed by Silverman's bandwidth,
    and one step of ``sampler``. Both leave p invariant, so the points are as good as the
    population, and better by every round: in few dimensions they are independent of it.

    Args:
        energy: E, in the units of the particles.
        particles: a population of this energy or of one close to it, moved by any sampler.
        count: number of points.
        sampler: the transport; its chains start afresh at the members of the population.
        rounds: how often each point moves, 0 for the resampled population.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: when ``count`` or ``rounds`` is out of its range.
    """
    check_positive(count=count)
    check_nonnegative(rounds=rounds)
    x = resample(react(particles, energy), generator=generator).x
    anchors = x[_order(len(x), generator)[:ANCHORS].to(x.device)]
    jump = Independence(anchors, silverman(anchors))
    parts = []
    for members in _members(len(x), count, generator).to(x.device).split(chunk):
        state = sampler.init(energy, x[members], generator=generator)
        for _ in range(rounds):
            state, _ = jump.step(energy, state, generator=generator)
            state, _ = sampler.step(energy, state, generator=generator)
        parts.append(state.x)
    return torch.cat(parts)


def follow(
    energy: Energy,
    x: Tensor,
    *,
    temperature: float,
    time: float = 2.0,
    steps: int = 80,
    langevin: int = 0,
    chunk: int = 256,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Points that follow the potential ``V = εE`` from x: a path to the data, then a law.

    Euler steps of ``dx/dt = -∇V(x)`` over ``time``: deterministic. With an energy matched to
    paths of unit time, noise arrives near the data at time one and settles after it. Then
    ``langevin`` unadjusted Langevin steps at temperature ε, of the same length, draw from the
    density. ``steps`` gradients per point, and ``langevin + 1`` more if there are Langevin steps.

    Args:
        energy: E, in the units of x.
        x: where to start, (batch, *event); noise of the scale that the energy was matched to.
        temperature: ε.
        time: of the path.
        steps: Euler steps.
        langevin: Langevin steps after them.
        chunk: points at a time; bounds the memory.
        generator: source of the noise of the Langevin steps.

    Raises:
        ValueError: when a number is out of its range.
    """
    check_nonnegative(langevin=langevin)
    parts = []
    for part in x.split(chunk):
        way = descent(energy, part, temperature=temperature, time=time, steps=steps)
        (end,) = deque(way, maxlen=1)
        if langevin:
            sampler = ULA(temperature * time / steps)
            end = sample(sampler, energy, end, langevin, generator=generator)
        parts.append(end)
    return torch.cat(parts)


def descent(
    energy: Energy, x: Tensor, *, temperature: float, time: float = 2.0, steps: int = 80
) -> Iterator[Tensor]:
    """The points after 0, 1 ... ``steps`` Euler steps of ``dx/dt = -ε∇E(x)``: see `follow`."""
    check_positive(temperature=temperature, time=time, steps=steps)
    return anneal(energy, x, [0.0] * steps, step=temperature * time / steps)


def _members(size: int, count: int, generator: torch.Generator | None) -> Tensor:
    """``count`` members of a population of ``size``: each once before any comes twice."""
    turns = -(-count // size)
    return torch.cat([_order(size, generator) for _ in range(turns)])[:count]


def _order(size: int, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator else None
    return torch.randperm(size, generator=generator, device=device)
