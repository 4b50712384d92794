"""Fresh samples of a learned energy, from the population that learned it."""

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._progress import watched
from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.samplers.base import Sampler
from wgflow.samplers.independence import Independence, silverman
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
    generator: Rng = None,
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
    members_of_parts = _members(len(x), count, generator).to(x.device).split(chunk)
    for members in watched(members_of_parts, "Sampling"):
        state = sampler.init(energy, x[members], generator=generator)
        for _ in range(rounds):
            state, _ = jump.step(energy, state, generator=generator)
            state, _ = sampler.step(energy, state, generator=generator)
        parts.append(state.x)
    return torch.cat(parts)


def _members(size: int, count: int, generator: Rng) -> Tensor:
    """``count`` members of a population of ``size``: each once before any comes twice."""
    turns = -(-count // size)
    return torch.cat([_order(size, generator) for _ in range(turns)])[:count]


def _order(size: int, generator: Rng) -> Tensor:
    device = generator.device if generator else None
    return torch.randperm(size, generator=generator, device=device)
