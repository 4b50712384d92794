"""Fresh samples of a learned energy, from the population that learned it."""

import torch
from torch import Tensor

from wgflow.energy import Energy
from wgflow.particles import Particles, react, resample, transport
from wgflow.samplers import Independence, Sampler
from wgflow.samplers.base import take
from wgflow.samplers.independence import silverman

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
        particles: a population of this energy or of one close to it.
        count: number of points.
        sampler: the transport.
        rounds: how often each point moves, 0 for the resampled population.
        chunk: chains at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: when ``count`` or ``rounds`` is out of its range.
    """
    if count < 1 or rounds < 0:
        raise ValueError(f"Expected count >= 1 and rounds >= 0, got {count} and {rounds}.")
    population = resample(react(particles, energy), generator=generator)
    some = torch.randperm(len(population.x), generator=generator)[:ANCHORS]
    anchors = population.x[some.to(population.x.device)]
    jump = Independence(anchors, silverman(anchors))
    parts = []
    for start in range(0, count, chunk):
        p = _members(population, min(chunk, count - start), generator)
        for _ in range(rounds):
            p, _ = transport(p, jump, energy, generator=generator)
            p, _ = transport(p, sampler, energy, generator=generator)
        parts.append(p.x)
    return torch.cat(parts)


def _members(p: Particles, count: int, generator: torch.Generator | None) -> Particles:
    """``count`` members of an equally weighted population: each once before any comes twice."""
    turns = -(-count // len(p.x))
    orders = [torch.randperm(len(p.x), generator=generator) for _ in range(turns)]
    index = torch.cat(orders)[:count].to(p.x.device)
    return Particles(take(p.state, index), p.log_weight[index], p.banked)
