"""``log Z`` by sequential Monte Carlo, down from a start and up from points of the model.

With moves that are fixed beforehand, weighted and resampled particles estimate the ratio of
normalisers without bias (Del Moral 2004), from the start and, by the same moves in reverse order,
from exact points of the model:

    E[R] = Z/Z_0,        E[R'] = Z_0/Z,

so that ``log R`` is a lower and ``-log R'`` an upper bound of ``log Z/Z_0`` in the mean (Grosse et
al. 2015, there without resampling). Where the energy is infinite in places, R' knows only of that
share of ``Z_0`` which lies in its support; draws of the start tell it. Errors of both bounds grow
with the number of values of β, where those of single works grow exponentially. The value is from
both: between neighbouring values of β, particles on the way down are weighted points of one law
and those on the way up of the other, whose normalisers Bennett's ratio (1976) compares with the
least variance.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._progress import watched
from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.likelihood.annealing import LogZ, refuted, sandwich
from wgflow.montecarlo.base import Problem
from wgflow.montecarlo.bridge import Chains, Moves, chains_at, log_weights, moved
from wgflow.samplers.particles import effective_fraction, systematic_indices

ENOUGH = 0.5
"""Effective fraction of particles below which they are resampled."""

ISLANDS = 8
"""Populations that never exchange a particle, each way: the error is by leaving each out."""

HALVINGS = 50
"""Of an interval around Bennett's ratio, of some hundred nats."""


class Schedule(NamedTuple):
    """Values of β from 0 to 1, and the moves made at each after the first."""

    betas: list[float]
    moves: list[Moves]


class Way(NamedTuple):
    """Particles of one way, particle i in island i modulo their number.

    Attributes:
        log_weight: before each change of β, (changes, n, islands), float64.
        change: of the log-weight by it, (changes, n, islands).
    """

    log_weight: Tensor
    change: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """``log R`` of each island, (islands,)."""
        return log_mean(self.log_weight[-1] + self.change[-1])


def drawn(problem: Problem, count: int, generator: Rng) -> Points:
    """Exact draws of the start."""
    like = problem.like
    return problem.start.sample(count, dtype=like.dtype, generator=generator).to(like.device)


def at(chains: Chains, index: slice | Tensor) -> Chains:
    """Some of the chains."""
    return Chains(*(part[index] for part in chains))


def log_mean(log_weight: Tensor) -> Tensor:
    """``log mean e^A`` over the first axis."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))


def both_ways(
    problem: Problem, model: Chains, schedule: Schedule, *, generator: Rng = None
) -> LogZ:
    """``log Z`` from as many particles from the start as there are points of the model.

    Args:
        problem: the start and the energy.
        model: points of the energy; relatives, such as copies of one particle that have moved
            since, side by side, so that they are in one island and the error knows of them.
        schedule: what is done on either way.
        generator: source of randomness.

    Raises:
        ValueError: no draw of the start is in the support of the energy.
    """
    start = chains_at(problem, drawn(problem, len(model.x), generator))
    down = annealed(problem, start, schedule, generator=generator)
    if not down.log_ratio.isfinite().any():
        raise ValueError(
            "`start` must cover the support of the energy: got no chain inside; choose a narrower "
            "start by `scale`, or another `mean` of it."
        )
    runs = in_islands(torch.arange(len(model.x), device=model.x.device)).flatten()
    up = annealed(problem, at(model, runs), reverse(schedule), generator=generator)
    return between(down, up, problem.start.log_z)


def in_islands(values: Tensor) -> Tensor:
    """Values (n,) in runs of equal length, one for each island, (m, islands); the rest is left."""
    islands = _number(len(values))
    return values[: len(values) // islands * islands].view(islands, -1).T


def island_sizes(count: int) -> list[int]:
    """Points of each island, as `in_islands` takes them; the last one has the rest."""
    islands = _number(count)
    each = count // islands
    return [each] * (islands - 1) + [count - each * (islands - 1)]


def _number(count: int) -> int:
    return min(ISLANDS, max(2, count // 2))


def between(down: Way, up: Way, base: float = 0.0) -> LogZ:
    """Bennett's ratios of all changes of β, their error by the jackknife, and both bounds.

    Args:
        down, up: both ways, with as many islands.
        base: ``log Z_0``.
    """
    lower, upper = sandwich(down.log_ratio, -up.log_ratio)
    upper += _log_covered(down)
    islands = torch.arange(len(down.log_ratio))
    without = [float(_ladder(down, up, islands != island)) for island in islands]
    spread = float(torch.tensor(without, dtype=torch.float64).var(correction=0))
    value, error = float(_ladder(down, up, islands >= 0)), math.sqrt(spread * (len(islands) - 1))
    if not math.isfinite(value) or refuted(value, error, lower, upper):
        value, error = math.nan, math.inf
    return LogZ(base + value, error, base + lower, base + upper)


def _log_covered(down: Way) -> float:
    """``log P_0(S)``, the mass of the start on the support S of the energy, at least in the mean.

    Points of the model never leave S, and know of the start there only: ``E[R'] = Z_0 P_0(S)/Z``.
    The logarithm of the share of n draws is too small by ``(1-P)/2nP``; twice that is added.
    """
    inside = down.change[0].isfinite()
    share = float(inside.double().mean())
    return math.log(share) + (1 - share) / (share * inside.numel()) if share else 0.0


def _ladder(down: Way, up: Way, islands: Tensor) -> Tensor:
    """The sum over changes of β of Bennett's ratio, by some of the islands."""
    there, back = (
        (way.log_weight[..., islands].flatten(1), way.change[..., islands].flatten(1))
        for way in (down, up)
    )
    return _bennett(*there, back[0].flip(0), -back[1].flip(0)).sum()


def _bennett(log_w: Tensor, works: Tensor, log_v: Tensor, others: Tensor) -> Tensor:
    """The roots c of ``Σ w σ(c - W) = Σ v σ(W' - c)`` of weighted works, (changes, n)."""
    w, v = log_w.softmax(1), log_v.softmax(1)
    both = torch.cat([works, others], 1)
    high = torch.where(both.isfinite(), both, -math.inf).amax(1, keepdim=True)
    low = torch.where(both.isfinite(), both, math.inf).amin(1, keepdim=True) - 50
    for _ in range(HALVINGS):
        c = (low + high) / 2
        rest = (w * (c - works).sigmoid()).sum(1) - (v * (others - c).sigmoid()).sum(1)
        above = (rest > 0)[:, None]
        low, high = torch.where(above, low, c), torch.where(above, c, high)
    return (low + high).squeeze(1) / 2


def reverse(schedule: Schedule) -> Schedule:
    """The way back: at each β the moves of the way there."""
    return Schedule(schedule.betas[::-1], schedule.moves[::-1])


def annealed(
    problem: Problem, chains: Chains, schedule: Schedule, *, generator: Rng = None
) -> Way:
    """Particles along a schedule.

    Each change of β is weighed where particles stand, then islands of uneven weights are
    resampled, and all move at the new β as the record says, except at the last. Neighbours are in
    different islands, so that strata of the start are spread over all.
    """
    betas, moves = schedule
    islands = _number(len(chains.x))
    chains = at(chains, slice(0, len(chains.x) // islands * islands))
    weights = chains.start.new_zeros(len(chains.x) // islands, islands, dtype=torch.float64)
    before, changes = [], []
    for k in watched(range(len(betas) - 1), "Annealing for log Z"):
        if k > 0:
            chains, weights = _resampled(chains, weights, generator)
            for _ in range(moves[k].made):
                chains, _ = moved(problem, chains, betas[k], moves[k], generator=generator)
        before.append(weights)
        changes.append(log_weights(chains, betas[k], betas[k + 1]).view_as(weights))
        weights = weights + changes[-1]
    return Way(torch.stack(before), torch.stack(changes))


def _resampled(chains: Chains, weights: Tensor, generator: Rng) -> tuple[Chains, Tensor]:
    """Islands of uneven weights resampled; their particles get the mean weight."""
    index = torch.arange(weights.numel(), device=weights.device).view_as(weights)
    weights = weights.clone()
    for island, own in enumerate(weights.T):
        if effective_fraction(own) < ENOUGH:
            kept = systematic_indices(own, len(own), generator=generator)
            index[:, island] = index[kept, island]
            weights[:, island] = log_mean(own)
    return at(chains, index.flatten()), weights
