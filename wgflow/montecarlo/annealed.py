"""Annealed sequential Monte Carlo (Del Moral, Doucet and Jasra 2006), from a start to a target."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.montecarlo.base import Method, Problem, Sampled, Stage
from wgflow.montecarlo.both_ways import ENOUGH, Schedule, at, both_ways, drawn, log_mean
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
from wgflow.montecarlo.curvature import Curvature, curvature_of
from wgflow.samplers.particles import effective_fraction, systematic_indices

ACCEPTANCE = 0.6
"""To aim at: between the optima of Langevin and of Hamiltonian moves."""

FEWEST = 4
"""Particles: two of either half."""

RATE = 0.3
"""Of the adaptation of the step size, per move."""

FORGOTTEN = 0.6
"""Correlation of energies with those before the moves, below which these were enough."""


class AnnealedState(NamedTuple):
    """Weighted particles on their way.

    Attributes:
        chains: the particles.
        log_weight: (count,), float64, with mean ``Z_β/Z_0`` before the logarithm.
        acceptance: of the last moves.
        leapfrog: steps of the next ones.
        schedule: what was done.
    """

    chains: Chains
    log_weight: Tensor
    acceptance: Tensor
    leapfrog: int
    schedule: Schedule

    @property
    def log_ratio(self) -> float:
        """``log Z_β/Z_0``: unbiased before the logarithm, but for adaptation."""
        return float(log_mean(self.log_weight))


@dataclass(frozen=True)
class AnnealedSMC(Method[AnnealedState]):
    """Particles weighed, resampled and moved along ``E_β = (1-β)E_0 + βV``.

    Each β is the largest at which the change of weights keeps ``relative_ess`` of the particles,
    exact moves follow, preconditioned by their mean curvature there and by how it depends on the
    place. Where the energies of particles have not forgotten those before after all of ``rounds``,
    trajectories at the next β are a step longer: they then go far instead of to and fro. At last
    other chains are annealed along the same values with the same moves, down from the start and up
    from the result, for
    ``log Z`` and its bounds.

    Args:
        particles: their number.
        relative_ess: effective fraction that a change of β keeps, in (0, 1).
        moves: leapfrog steps of a round of moves, or one trajectory if that is longer.
        leapfrog: fewest leapfrog steps of a move; 1 is Langevin.
        rounds: rounds of moves at each β, at most: less if energies have forgotten.
        whole: effective fraction that the change to the target, the last one, may keep instead.
        around: the number of those other chains, each way, as a share of ``particles``.
        longest: most leapfrog steps of a move.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    state_types: ClassVar[tuple[type, ...]] = (AnnealedState, Chains, Schedule, Moves, Curvature)

    particles: int = 4096
    relative_ess: float = 0.97
    moves: int = 3
    leapfrog: int = 1
    rounds: int = 8
    whole: float = 1.0
    around: float = 1 / 8
    longest: int = 8

    def __post_init__(self) -> None:
        check_positive(particles=self.particles, moves=self.moves, leapfrog=self.leapfrog)
        check_positive(rounds=self.rounds, longest=self.longest)
        check_fraction(relative_ess=self.relative_ess, whole=self.whole, around=self.around)
        if self.particles < FEWEST:
            raise ValueError(f"`particles` must be ≥ {FEWEST}: got {self.particles}.")
        if not 0 < self.relative_ess < 1:
            raise ValueError(f"`relative_ess` must be in (0, 1): got {self.relative_ess}.")

    def init(self, problem: Problem, *, generator: Rng = None) -> AnnealedState:
        """Draws of the start, of equal weights."""
        x = drawn(problem, self.particles, generator)
        # Neighbours shall be no more alike than others: a start may draw part by part.
        order = [
            h.start + torch.randperm(h.stop - h.start, generator=generator) for h in halves(len(x))
        ]
        x = x[torch.cat(order).to(x.device)]
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        step = x.new_tensor(first_step(x.shape[1]))
        chains = chains_at(problem, x)
        factor = factor_of(chains.x, chains.start_grad, zeros)
        schedule = Schedule([0.0], [Moves(step, factor, self.leapfrog, 0)])
        return AnnealedState(chains, zeros, x.new_tensor(1.0), self.leapfrog, schedule)

    def step(
        self, problem: Problem, state: AnnealedState, *, generator: Rng = None
    ) -> AnnealedState:
        """The next β: weigh, resample if weights are uneven, move."""
        chains, (betas, past) = state.chains, state.schedule
        old = betas[-1]
        new = next_beta(chains, state.log_weight, old, self.relative_ess, self.whole)
        weights = state.log_weight + log_weights(chains, old, new)
        _check_inside(weights)
        if effective_fraction(weights) < ENOUGH:
            chains, weights = resampled(chains, weights, generator)
        grad, parts = chains.grad(new), halves(len(weights))
        # Each half moves by the gradients of the other: by its own, particles would not be
        # independent of their kernel, and log Z biased by a tenth where d² is near their number.
        shapes = [_shape(chains.x[h], grad[h], weights[h]) for h in parts[::-1]]
        before, step, leapfrog = chains.energy(new), past[-1].step, state.leapfrog
        acceptance, made, rounds, known = state.acceptance, 0, 0, False
        while rounds < self.rounds and not known:
            rounds += 1
            for _ in range(max(1, self.moves // leapfrog)):
                each = [shape._replace(step=step, leapfrog=leapfrog) for shape in shapes]
                chains, acceptance = _moved(problem, chains, new, each, generator)
                step = step * torch.exp(RATE * (acceptance - ACCEPTANCE))
                made += 1
            known = forgotten(before, chains.energy(new))
        last = shapes[0]._replace(step=step, leapfrog=leapfrog, made=made)
        schedule = Schedule([*betas, new], [*past, last])
        if not known:
            leapfrog = max(leapfrog, min(leapfrog + 1, self.longest))
        elif rounds == 1:
            leapfrog = max(leapfrog - 1, self.leapfrog)
        return AnnealedState(chains, weights, acceptance, leapfrog, schedule)

    def progress(self, state: AnnealedState) -> float:
        """β, on a scale on which its steps are about equal."""
        beta = state.schedule.betas[-1]
        return 1.0 if beta >= 1 else math.log1p(beta * 1e4) / math.log1p(1e4)

    def metrics(self, problem: Problem, state: AnnealedState) -> dict[str, float]:
        """Those of the particles; ``log Z`` is that of the law that they follow."""
        return {
            "beta": state.schedule.betas[-1],
            "ess": float(effective_fraction(state.log_weight)),
            "acceptance": float(state.acceptance),
            "log_z": problem.start.log_z + state.log_ratio,
        }

    def stages(self, state: AnnealedState) -> list[Stage]:
        """The particles."""
        return [Stage(state.schedule.betas[-1], state.chains.x, state.log_weight)]

    def result(self, problem: Problem, state: AnnealedState, *, generator: Rng = None) -> Sampled:
        """Resampled particles, moved, and ``log Z`` by annealing both ways."""
        count = len(state.log_weight)
        index = systematic_indices(state.log_weight, count, generator=generator)
        chains, last = at(state.chains, index), state.schedule.moves[-1]
        for _ in range(last.made):
            chains, _ = moved(problem, chains, 1.0, last, generator=generator)
        # Of the first half, whose moves are on record and come from the other.
        pool = int((index < count // 2).sum())
        pool = pool if pool >= 2 else count  # where that half has no weight
        some = torch.randperm(pool, generator=generator)[: max(2, round(self.around * count))]
        model = at(chains, some.sort().values.to(index.device))
        log_z = both_ways(problem, model, state.schedule, generator=generator)
        return Sampled(chains.x, log_z, float(effective_fraction(state.log_weight)) * count)


def forgotten(before: Values, after: Values) -> bool:
    """Whether energies of moved chains are correlated to those before by `FORGOTTEN` at most."""
    both = torch.stack([before, after]).double()
    both = both[:, both.isfinite().all(0)]
    return not float(torch.corrcoef(both)[0, 1]) > FORGOTTEN


def _shape(x: Points, grad: Points, log_weight: Tensor) -> Moves:
    """Moves that suit weighted points; their step is left to set."""
    factor, curvature = curvature_of(x, grad, log_weight, factor_of(x, grad, log_weight))
    return Moves(x.new_tensor(1.0), factor, curvature=curvature)


def halves(count: int) -> tuple[slice, slice]:
    """Two sets of particles that never exchange any."""
    return slice(0, count // 2), slice(count // 2, count)


def resampled(chains: Chains, log_weight: Tensor, generator: Rng) -> tuple[Chains, Tensor]:
    """Chains by systematic resampling of either half, all of which get the half's mean weight."""
    index, weights = [], []
    for half in halves(len(log_weight)):
        own = log_weight[half]
        index.append(half.start + systematic_indices(own, len(own), generator=generator))
        weights.append(log_mean(own).expand(len(own)))
    return at(chains, torch.cat(index)), torch.cat(weights)


def _check_inside(weights: Tensor) -> None:
    """Raise ValueError unless particles of either half are in the support of the energy."""
    inside = [int(weights[half].isfinite().sum()) for half in halves(len(weights))]
    if not min(inside):
        raise ValueError(
            f"`start` must cover the support of the energy: got {sum(inside)} of {len(weights)} "
            "particles inside; choose a narrower start by `scale`, another `mean` of it, or more "
            "`particles`."
        )


def _moved(
    problem: Problem, chains: Chains, beta: float, moves: list[Moves], generator: Rng
) -> tuple[Chains, Tensor]:
    """One move of either half by its own kind, and the mean acceptance."""
    parts = [
        moved(problem, at(chains, half), beta, kind, generator=generator)
        for half, kind in zip(halves(len(chains.x)), moves, strict=True)
    ]
    joint = Chains(*map(torch.cat, zip(*(c for c, _ in parts), strict=True)))
    return joint, torch.cat([a for _, a in parts]).mean()
