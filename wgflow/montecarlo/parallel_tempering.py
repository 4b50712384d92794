"""Parallel tempering: replicas from the start to the target that exchange their points."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_choice, check_positive
from wgflow._random import Rng
from wgflow.montecarlo.base import Method, Problem, Sampled, Stage
from wgflow.montecarlo.diagnostics import effective_size
from wgflow.montecarlo.ladder import (
    PRECONDITIONERS,
    curvature,
    equal_rejection,
    first_ladder,
    preconditioner,
    replicas_for,
)
from wgflow.montecarlo.replicas import Ladder, Walkers, drawn, exchanged, explored
from wgflow.montecarlo.tally import Tally, empty

FIRST_ROUND = 8
"""Sweeps of the shortest round of the warm-up."""

FIRST_REPLICAS = 20
"""Of the first round, where their number is to be found."""

ACCEPTANCE = (0.574, 0.651)
"""Best in high dimension: of one leapfrog step (Roberts and Rosenthal 1998), and of more
(Beskos et al. 2013)."""


class TemperingState(NamedTuple):
    """Between two sweeps.

    Attributes:
        sweep: how many are done.
        walkers: of all replicas.
        ladder: what sets their moves.
        tally: of this round of the warm-up, or of the measured phase.
        shifts: c of the tally, (K-1,), float64.
        kept: points of the target from the measured phase, each (C, d).
        base: ``log Z`` of the start.
    """

    sweep: int
    walkers: Walkers
    ladder: Ladder
    tally: Tally
    shifts: Tensor
    kept: tuple[Tensor, ...]
    base: float


@dataclass(frozen=True)
class ParallelTempering(Method[TemperingState]):
    """Non-reversible parallel tempering (Syed et al. 2021), many independent chains at once.

    Replicas of ``π_β ∝ e^{-(1-β)E_0 - βV}``, β from 0 to 1, move by HMC, exchange points with
    their neighbours, odd and even pairs in turn, and the one at β = 0 is drawn anew from the
    start in each sweep, so that chains forget where they were by going there and back. In rounds
    of doubling length, the warm-up finds the values of β of equal rejection, the step of each
    replica and its preconditioner; then all are frozen, and exact.

    A sweep takes ``replicas · chains`` evaluations of V, times leapfrog steps for all but one.

    Args:
        particles: points that it returns, from as many sweeps as it takes.
        chains: C independent copies of all replicas; errors are read off their differences.
        replicas: K; None for twice the communication barrier, as each round finds it.
        warm_up: sweeps before the measured phase.
        thin: sweeps from one kept position of the chains to the next; those of one step.
        leapfrog: steps of HMC; 1 is MALA.
        precondition: "full" or, for many coordinates, "diagonal", by the mean curvature of each
            replica; or "none".

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    state_types: ClassVar[tuple[type, ...]] = (TemperingState, Walkers, Ladder, Tally)

    particles: int = 2000
    chains: int = 100
    replicas: int | None = None
    warm_up: int = 512
    thin: int = 10
    leapfrog: int = 1
    precondition: str = "full"

    def __post_init__(self) -> None:
        check_positive(particles=self.particles, thin=self.thin, leapfrog=self.leapfrog)
        check_choice("precondition", self.precondition, PRECONDITIONERS)
        replicas = FIRST_REPLICAS if self.replicas is None else self.replicas
        given = {"chains": self.chains, "replicas": replicas}
        for name, count in given.items():
            if count < 2:
                raise ValueError(f"`{name}` must be ≥ 2: got {count}.")
        if self.warm_up < FIRST_ROUND:
            raise ValueError(f"`warm_up` must be ≥ {FIRST_ROUND}: got {self.warm_up}.")

    @property
    def sweeps(self) -> int:
        """Of both phases."""
        return self.warm_up + self.thin * math.ceil(self.particles / self.chains)

    def init(self, problem: Problem, *, generator: Rng = None) -> TemperingState:
        """Draws of the start in all replicas."""
        replicas = self.replicas or FIRST_REPLICAS
        walkers = drawn(problem, replicas, self.chains, generator=generator)
        ladder = first_ladder(walkers, self.precondition)
        none = empty(walkers, curvature(walkers, ladder.betas, self.precondition))
        shifts = torch.zeros_like(none.rejection)
        return TemperingState(0, walkers, ladder, none, shifts, (), problem.start.log_z)

    def step(
        self, problem: Problem, state: TemperingState, *, generator: Rng = None
    ) -> TemperingState:
        """``thin`` sweeps, the last of which is kept after the warm-up."""
        for _ in range(min(self.thin, self.sweeps - state.sweep)):
            state = self._sweep(problem, state, generator)
        return state

    def progress(self, state: TemperingState) -> float:
        """Sweeps done of all."""
        return state.sweep / self.sweeps

    def metrics(self, problem: Problem, state: TemperingState) -> dict[str, float]:
        """Of the target's replica; ``swaps`` accepted, and the communication ``barrier``."""
        sweeps = max(1, state.tally.sweeps)
        rejection = state.tally.rejection / sweeps
        measured = bool(state.kept)
        return {
            "beta": 1.0,
            "ess": _between(torch.stack(state.kept)) if len(state.kept) > 1 else math.nan,
            "acceptance": float(state.tally.acceptance[-1]) / sweeps,
            "log_z": state.tally.log_z(state.shifts, state.base).value if measured else math.nan,
            "swaps": 1 - float(rejection.mean()),
            "barrier": float(rejection.sum()),
        }

    def stages(self, state: TemperingState) -> list[Stage]:
        """All replicas."""
        x = state.walkers.x
        even = x.new_zeros(x.shape[1])
        return [Stage(*each, even) for each in zip(state.ladder.betas.tolist(), x, strict=True)]

    def result(self, problem: Problem, state: TemperingState, *, generator: Rng = None) -> Sampled:
        """The kept points of the target, the last ``particles`` of them."""
        chains = torch.stack(state.kept)
        x = chains.flatten(0, 1)[-self.particles :]
        log_z = state.tally.log_z(state.shifts, state.base)
        share = len(x) / (chains.shape[0] * chains.shape[1])
        return Sampled(x, log_z, share * effective_size(chains), chains)

    def _sweep(self, problem: Problem, state: TemperingState, generator: Rng) -> TemperingState:
        walkers, moved = explored(
            problem, state.walkers, state.ladder, self.leapfrog, generator=generator
        )
        tally = state.tally.added(walkers, state.ladder.betas, state.shifts, moved)
        walkers = exchanged(walkers, state.ladder.betas, state.sweep % 2, generator=generator)
        state = state._replace(sweep=state.sweep + 1, walkers=walkers, tally=tally)
        if state.sweep <= self.warm_up:
            return self._adapted(state, moved)
        if (state.sweep - self.warm_up) % self.thin == 0:
            return state._replace(kept=(*state.kept, walkers.x[-1]))
        return state

    def _adapted(self, state: TemperingState, moved: Tensor) -> TemperingState:
        """Steps nearer to the best acceptance; at the end of a round, another ladder."""
        tally, ladder = state.tally, state.ladder
        seen = curvature(state.walkers, ladder.betas, self.precondition)
        tally = tally._replace(curvature=tally.curvature + seen)
        gain = (moved.double().mean(1) - ACCEPTANCE[self.leapfrog > 1]) / math.sqrt(tally.sweeps)
        steps = ladder.steps * torch.cat([gain[:1], gain]).exp()
        state = state._replace(tally=tally, ladder=ladder._replace(steps=steps))
        if state.sweep == self.warm_up:
            shifts = sum(tally.stones()) / 2
            return state._replace(tally=empty(state.walkers, seen), shifts=shifts)
        return self._next_round(state) if self._ends_round(state.sweep) else state

    def _ends_round(self, sweep: int) -> bool:
        """Whether the sweep is a half, a quarter, an eighth … of the warm-up."""
        halves = (self.warm_up >> k for k in range(1, self.warm_up.bit_length()))
        return sweep >= FIRST_ROUND and sweep in halves

    def _next_round(self, state: TemperingState) -> TemperingState:
        """Values of β of equal rejection; each replica from the old one nearest to it."""
        tally, old = state.tally, state.ladder
        rejection = tally.rejection / tally.sweeps
        replicas = self.replicas or replicas_for(rejection)
        betas, index = equal_rejection(old.betas, rejection, replicas)
        mean = (tally.curvature / tally.sweeps)[index]
        factor, _ = preconditioner(mean, tally.sweeps * self.chains, self.precondition)
        walkers = state.walkers.part(index)
        ladder = Ladder(betas, old.steps[index], factor)
        tally = empty(walkers, mean)
        shifts = torch.zeros_like(tally.rejection)
        return state._replace(walkers=walkers, ladder=ladder, tally=tally, shifts=shifts)


def _between(chains: Tensor) -> float:
    """Effective share of positions (T, C, d) by means of chains, least over coordinates."""
    means = chains.double().mean(0)
    ratio = chains.double().var((0, 1)) / (len(chains) * means.var(0))
    return min(1.0, float(ratio.min()))
