"""Independence moves with draws of a learned density, and ``log Z`` between it and the target.

A draw ``y ~ q``, offered to a point x of π as an independence move, is taken with probability
``min(1, w(y)/w(x))``, ``w = π/q`` (Hastings 1970), and of K draws none is with probability
``r(x)^K``. As for any function with values in [0, 1],

    π = r^K π + (1 - r^K) π = r^K π + κ w q / Z,    κ = 1 - r^K,

divides π into particles that stay and weighted draws of q: all draws count, not only the last
that was taken. Where q has mass, shares are those of the weights, whatever the particles had;
where it has too little, such as in a tail, w is large, and particles stay. Weights of draws are
bounded, ``κ w ≤ K E_q[w]``, so that with K draws for each particle none is resampled twice.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.base import Problem
from wgflow.montecarlo.both_ways import Way, between, drawn, in_islands, island_sizes
from wgflow.montecarlo.bridge import Chains, Moves, chains_at, log_weights, moved
from wgflow.samplers.particles import systematic_indices

PROPOSED = 8
"""Draws of q for each particle: K."""


class Proposed(NamedTuple):
    """Particles after independence moves.

    Attributes:
        chains: of π, (n, d); those of an island side by side.
        log_weight: ``log π/q`` of draws of q but for constants, (K m, islands), float64.
    """

    chains: Chains
    log_weight: Tensor


def independent(problem: Problem, x: Points, local: Moves, *, generator: Rng = None) -> Proposed:
    """As many points of π, by independence moves with draws of the start q, then by local moves.

    Islands of particles are moved one after the other, each with draws of its own, so that they
    never exchange a point, and memory is that of an island.

    Args:
        problem: from q to π.
        x: particles of π, about, (n, d); relatives side by side.
        local: moves that follow.
        generator: source of randomness.
    """
    parts = [_island(problem, part, local, generator) for part in x.split(island_sizes(len(x)))]
    chains, weights = zip(*parts, strict=True)
    fewest = min(map(len, weights))
    return Proposed(
        Chains(*map(torch.cat, zip(*chains, strict=True))),
        torch.stack([w[:fewest] for w in weights], 1),
    )


def _island(problem: Problem, x: Points, local: Moves, generator: Rng) -> tuple[Chains, Tensor]:
    """The moves of one island, and the log-weights of its draws in random order."""
    proposed = chains_at(problem, drawn(problem, PROPOSED * len(x), generator))
    chains = chains_at(problem, x)
    log_w = log_weights(proposed, 0.0, 1.0)
    accepted = acceptance(log_weights(chains, 0.0, 1.0), log_w)
    kept = systematic_indices(pooled(accepted, log_w), len(x), generator=generator)
    # In the order of strata until here: their shares are as even after resampling as before.
    kept = kept[_shuffled(kept, generator)]
    both = Chains(*(torch.cat(pair) for pair in zip(chains, proposed, strict=True)))
    chains = Chains(*(part[kept] for part in both))
    for _ in range(local.made):
        chains, _ = moved(problem, chains, 1.0, local, generator=generator)
    return chains, log_w[_shuffled(log_w, generator)]


def _shuffled(values: Tensor, generator: Rng) -> Tensor:
    return torch.randperm(len(values), generator=generator).to(values.device)


def acceptance(log_weight: Tensor, proposed: Tensor) -> Tensor:
    """``E_q[min(1, w(y)/w(x))]``, (m,), of log-weights (m,) at points and (k,) of draws of q."""
    ordered = proposed.sort().values
    lower = torch.searchsorted(ordered, log_weight, right=True)
    sums = torch.cat([ordered.new_full((1,), -math.inf), ordered.logcumsumexp(0)])
    below = (sums[lower] - log_weight).exp().where(log_weight > -math.inf, lower.to(ordered))
    return ((below + len(ordered) - lower) / len(ordered)).clamp(0, 1)


def pooled(accepted: Tensor, proposed: Tensor) -> Tensor:
    """Log-weights of particles and then of draws of q, which together are of π.

    Args:
        accepted: `acceptance` of particles, (m,).
        proposed: log-weights of draws, (k,).
    """
    left = _taken(accepted)
    log_w = proposed + _taken(acceptance(proposed, proposed)).log()
    of_draws = left.mean().log() + log_w - log_w.logsumexp(0)
    return torch.cat([(1 - left).log() - math.log(len(left)), of_draws])


def _taken(accepted: Tensor) -> Tensor:
    """``κ = 1 - r^K``, the probability that one of K draws is taken."""
    return -torch.expm1(PROPOSED * torch.log1p(-accepted))


def log_z_of(proposed: Proposed, base: float) -> LogZ:
    """``log Z`` by Bennett's ratio of all draws and the particles, and both bounds.

    Args:
        proposed: particles and log-weights of draws.
        base: ``log Z`` of q.
    """
    there = in_islands(log_weights(proposed.chains, 0.0, 1.0))
    return between(_direct(proposed.log_weight), _direct(-there), base)


def _direct(change: Tensor) -> Way:
    """A way of one change of log-weights, (m, islands), from equal ones."""
    return Way(torch.zeros_like(change)[None], change[None])
