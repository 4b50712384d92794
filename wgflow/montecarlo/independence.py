"""Independence moves with draws of a learned density, and ``log Z`` between it and the target."""

from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.base import Problem
from wgflow.montecarlo.both_ways import Way, between, drawn, in_islands
from wgflow.montecarlo.bridge import Chains, Moves, chains_at, log_weights, moved
from wgflow.samplers.base import log_uniform_like, metropolis

FEWEST, SWEEPS = 4, 8
"""Proposals that each particle gets, at least and at most: of particles that all take the first
one the law is q, not π."""

STAYED = 0.01
"""Share of particles that took no proposal, from which on there are no more."""


class Proposed(NamedTuple):
    """Particles after independence moves.

    Attributes:
        chains: of π, (n, d), in their order.
        log_weight: ``log π/q`` of every proposal but for constants, (sweeps, n), float64.
    """

    chains: Chains
    log_weight: Tensor


def proposals(problem: Problem, count: int, generator: Rng) -> Chains:
    """Draws of the start in random order, so that each of them has the start's law."""
    y = drawn(problem, count, generator)
    return chains_at(problem, y[torch.randperm(count, generator=generator).to(y.device)])


def independent(
    problem: Problem, x: Points, first: Chains, local: Moves, *, generator: Rng = None
) -> Proposed:
    """Particles x of π, about, by moves to draws of the start q and local ones, exact for π.

    ``y ~ q`` is taken with probability ``min(1, w(y)/w(x))``, ``w = π/q`` (Hastings 1970). Where
    q has mass, particles get the shares of π, whatever they were; where it has too little, such
    as in a tail, w is large, and particles stay, as weights of draws alone would not know.

    Args:
        problem: from q to π.
        x: particles, (n, d).
        first: `proposals`, as many.
        local: moves that follow.
        generator: source of randomness.
    """
    chains, proposed, weights = chains_at(problem, x), first, []
    stayed = torch.ones(len(x), dtype=torch.bool, device=x.device)
    while True:
        weights.append(log_weights(proposed, 0.0, 1.0))
        log_ratio = weights[-1] - log_weights(chains, 0.0, 1.0)
        log_u = log_uniform_like(log_ratio, generator=generator)
        stayed &= log_u >= log_ratio
        chains, _ = metropolis(chains, proposed, log_ratio, log_u)
        enough = len(weights) >= FEWEST and float(stayed.double().mean()) <= STAYED
        if enough or len(weights) == SWEEPS:
            break
        proposed = proposals(problem, len(x), generator)
    for _ in range(local.made):
        chains, _ = moved(problem, chains, 1.0, local, generator=generator)
    return Proposed(chains, torch.stack(weights))


def log_z_of(proposed: Proposed, base: float) -> LogZ:
    """``log Z`` by Bennett's ratio of all proposals and the particles, and both bounds.

    Islands are runs of particles in their order, with the proposals that these got: relatives
    stand side by side, so that errors know of them.

    Args:
        proposed: particles and proposals.
        base: ``log Z`` of q.
    """
    there = log_weights(proposed.chains, 0.0, 1.0)
    down = torch.cat([in_islands(w) for w in proposed.log_weight])
    return between(_direct(down), _direct(-in_islands(there)), base)


def _direct(change: Tensor) -> Way:
    """A way of one change of log-weights, (m, islands), from equal ones."""
    return Way(torch.zeros_like(change)[None], change[None])
