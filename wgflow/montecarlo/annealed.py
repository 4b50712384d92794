"""Annealed sequential Monte Carlo (Del Moral, Doucet and Jasra 2006), from a start to a target."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.likelihood.annealing import LogZ, joined
from wgflow.montecarlo.base import Method, Problem, Sampled
from wgflow.montecarlo.bridge import (
    Chains,
    Moves,
    chains_at,
    factor_of,
    first_step,
    log_weights,
    moved,
    next_beta,
)
from wgflow.samplers.particles import effective_fraction, systematic_indices

ENOUGH = 0.5
"""Effective fraction of the particles below which they are resampled."""

ACCEPTANCE = 0.6
"""To aim at: between the optima of Langevin and of Hamiltonian moves."""

FEWEST = 4
"""Particles: two of either half."""

OUTSIDE = 1e3
"""Nats by which the weight of a chain from outside the support is below all others."""

RATE = 0.3
"""Of the adaptation of the step size, per move."""

FORGOTTEN = 0.6
"""Correlation of energies with those before the moves, below which these were enough."""


class Schedule(NamedTuple):
    """Values of β from 0 to 1, and the moves made at each after the first."""

    betas: list[float]
    moves: list[Moves]


class AnnealedState(NamedTuple):
    """Weighted particles on their way.

    Attributes:
        chains: the particles.
        log_weight: (count,), float64, with mean ``Z_β/Z_0`` before the logarithm.
        acceptance: of the last moves.
        schedule: what was done.
    """

    chains: Chains
    log_weight: Tensor
    acceptance: Tensor
    schedule: Schedule

    @property
    def log_ratio(self) -> float:
        """``log Z_β/Z_0``: unbiased before the logarithm, but for adaptation."""
        return float(log_mean(self.log_weight))


@dataclass(frozen=True)
class AnnealedSMC(Method[AnnealedState]):
    """Particles weighed, resampled and moved along ``E_β = (1-β)E_0 + βV``.

    Each β is the largest at which the change of weights keeps ``relative_ess`` of the particles,
    ``moves`` exact moves follow, preconditioned by their mean curvature there. Then other
    chains are annealed along the same values, down from the start and up from the result, for
    ``log Z`` by Bennett's ratio and its bounds.

    Args:
        particles: their number.
        relative_ess: effective fraction that a change of β keeps, in (0, 1).
        moves: moves at each β.
        leapfrog: leapfrog steps of a move; 1 is Langevin.
        rounds: rounds of so many moves at each β, at most: less if energies have forgotten.
        whole: effective fraction that the change to the target, the last one, may keep instead.
        around: the number of those other chains, each way, as a share of ``particles``.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    state_types: ClassVar[tuple[type, ...]] = (AnnealedState, Chains, Schedule, Moves)

    particles: int = 4096
    relative_ess: float = 0.97
    moves: int = 3
    leapfrog: int = 1
    rounds: int = 1
    whole: float = 1.0
    around: float = 1 / 8

    def __post_init__(self) -> None:
        check_positive(particles=self.particles, moves=self.moves, leapfrog=self.leapfrog)
        check_positive(rounds=self.rounds)
        check_fraction(relative_ess=self.relative_ess, whole=self.whole, around=self.around)
        if self.particles < FEWEST:
            raise ValueError(f"`particles` must be ≥ {FEWEST}: got {self.particles}.")
        if not 0 < self.relative_ess < 1:
            raise ValueError(f"`relative_ess` must be in (0, 1): got {self.relative_ess}.")

    def init(self, problem: Problem, *, generator: Rng = None) -> AnnealedState:
        """Draws of the start, of equal weights."""
        x = drawn(problem, self.particles, generator)
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        step = x.new_tensor(first_step(x.shape[1]))
        chains = chains_at(problem, x)
        schedule = Schedule([0.0], [Moves(step, factor_of(chains.start_grad, zeros), 1)])
        return AnnealedState(chains, zeros, x.new_tensor(1.0), schedule)

    def step(
        self, problem: Problem, state: AnnealedState, *, generator: Rng = None
    ) -> AnnealedState:
        """The next β: weigh, resample if weights are uneven, move."""
        chains, (betas, past) = state.chains, state.schedule
        old = betas[-1]
        new = next_beta(chains, state.log_weight, old, self.relative_ess, self.whole)
        weights = state.log_weight + log_weights(chains, old, new)
        if effective_fraction(weights) < ENOUGH:
            chains, weights = resampled(chains, weights, generator)
        grad, (first, second) = chains.grad(new), halves(len(weights))
        # Each half moves by the gradients of the other: by its own, particles would not be
        # independent of their kernel, and log Z biased by a tenth where d² is near their number.
        factors = [factor_of(grad[h], weights[h]) for h in (second, first)]
        step, acceptance, before = past[-1].step, state.acceptance, chains.energy(new)
        rounds = 0
        while rounds < self.rounds:
            rounds += 1
            for _ in range(self.moves):
                chains, acceptance = self._moved(problem, chains, new, step, factors, generator)
                step = step * torch.exp(RATE * (acceptance - ACCEPTANCE))
            if forgotten(before, chains.energy(new)):
                break
        schedule = Schedule([*betas, new], [*past, Moves(step, factors[0], rounds)])
        return AnnealedState(chains, weights, acceptance, schedule)

    def _moved(
        self,
        problem: Problem,
        chains: Chains,
        beta: float,
        step: Tensor,
        factors: list[Tensor],
        generator: Rng,
    ) -> tuple[Chains, Tensor]:
        """One move of either half by its factor, and the mean acceptance."""
        options: Any = {"leapfrog": self.leapfrog, "generator": generator}
        parts = [
            moved(problem, at(chains, half), beta, Moves(step, factor, 1), **options)
            for half, factor in zip(halves(len(chains.x)), factors, strict=True)
        ]
        joint = Chains(*map(torch.cat, zip(*(c for c, _ in parts), strict=True)))
        return joint, torch.cat([a for _, a in parts]).mean()

    def progress(self, state: AnnealedState) -> float:
        """β, on a scale on which its steps are about equal."""
        beta = state.schedule.betas[-1]
        return 1.0 if beta >= 1 else math.log1p(beta * 1e4) / math.log1p(1e4)

    def metrics(self, state: AnnealedState) -> dict[str, float]:
        """Where the particles are."""
        return {
            "beta": state.schedule.betas[-1],
            "ess": float(effective_fraction(state.log_weight)),
            "acceptance": float(state.acceptance),
            "log_ratio": state.log_ratio,
        }

    def result(self, problem: Problem, state: AnnealedState, *, generator: Rng = None) -> Sampled:
        """Resampled particles, moved, and ``log Z`` by annealing both ways."""
        count = len(state.log_weight)
        index = systematic_indices(state.log_weight, count, generator=generator)
        chains, last = at(state.chains, index), state.schedule.moves[-1]
        options: Any = {"leapfrog": self.leapfrog, "generator": generator}
        for _ in range(self.moves):
            chains, _ = moved(problem, chains, 1.0, last, **options)
        # Of the first half, whose moves are on record and come from the other.
        pool = int((index < count // 2).sum())
        pool = pool if pool >= 2 else count  # where that half has no weight
        some = torch.randperm(pool, generator=generator)[: max(2, round(self.around * count))]
        log_z = both_ways(problem, at(chains, some.to(index.device)), state.schedule, **options)
        return Sampled(chains.x, log_z, float(effective_fraction(state.log_weight)) * count)


def drawn(problem: Problem, count: int, generator: Rng) -> Points:
    """Exact draws of the start."""
    like = problem.like
    return problem.start.sample(count, dtype=like.dtype, generator=generator).to(like.device)


def forgotten(before: Values, after: Values) -> bool:
    """Whether energies of moved chains are correlated to those before by `FORGOTTEN` at most."""
    both = torch.stack([before, after]).double()
    both = both[:, both.isfinite().all(0)]
    return not float(torch.corrcoef(both)[0, 1]) > FORGOTTEN


def halves(count: int) -> tuple[slice, slice]:
    """Two sets of particles that never exchange any."""
    return slice(0, count // 2), slice(count // 2, count)


def at(chains: Chains, index: slice | Tensor) -> Chains:
    """Some of the chains."""
    return Chains(*(part[index] for part in chains))


def log_mean(log_weight: Tensor) -> Tensor:
    """``log mean e^A``, a scalar."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))


def resampled(chains: Chains, log_weight: Tensor, generator: Rng) -> tuple[Chains, Tensor]:
    """Chains by systematic resampling of either half, all of which get the half's mean weight."""
    index, weights = [], []
    for half in halves(len(log_weight)):
        own = log_weight[half]
        index.append(half.start + systematic_indices(own, len(own), generator=generator))
        weights.append(log_mean(own).expand(len(own)))
    return at(chains, torch.cat(index)), torch.cat(weights)


def both_ways(
    problem: Problem,
    model: Chains,
    schedule: Schedule,
    *,
    leapfrog: int = 1,
    generator: Rng = None,
) -> LogZ:
    """``log Z`` from as many chains annealed from the start as from points of the model.

    With the moves of each β fixed beforehand: works down and up are those of one process and of
    its reverse.
    """
    start = chains_at(problem, drawn(problem, len(model.x), generator))
    options: Any = {"leapfrog": leapfrog, "generator": generator}
    down = works(problem, start, schedule, **options)
    up = works(problem, model, reverse(schedule), **options)
    return joined(_weighed(down), -up, problem.start.log_z)


def _weighed(down: Values) -> Values:
    """Works with a number far below the others in place of -inf, of chains from outside."""
    inside = down.isfinite()
    if not inside.any():
        raise ValueError("`start` must cover the support of the energy: got no chain inside.")
    return torch.where(inside, down, down[inside].min() - OUTSIDE)


def reverse(schedule: Schedule) -> Schedule:
    """The way back: at each β the moves of the way there."""
    return Schedule(schedule.betas[::-1], schedule.moves[::-1])


def works(
    problem: Problem,
    chains: Chains,
    schedule: Schedule,
    *,
    leapfrog: int = 1,
    generator: Rng = None,
) -> Values:
    """Log-weights ``Σ (E_β - E_β')`` of chains along a schedule, (count,), float64.

    Each change of β is weighed where the chains stand, then they move at the new β, once for each
    round of moves on record, except at the last.
    """
    betas, moves = schedule
    total = log_weights(chains, betas[0], betas[1])
    for k in range(1, len(betas) - 1):
        for _ in range(moves[k].rounds):
            chains, _ = moved(
                problem, chains, betas[k], moves[k], leapfrog=leapfrog, generator=generator
            )
        total = total + log_weights(chains, betas[k], betas[k + 1])
    return total
