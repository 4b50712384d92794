"""The Wasserstein-Fisher-Rao flow of ``KL(ρ‖π)`` with a learned density, in near-proximal steps.

Step k has the density ``ρ_k``, which is normalised and drawn from exactly. Fisher-Rao is weights:
from ``ρ_k`` they lead along ``ρ_k^{1-β} π^β`` to π, the path of the pure reaction; Wasserstein is
exact moves, of Langevin type, at every β on the way. ``ρ_{k+1}`` is the density of the greatest
likelihood of the particles that arrive. What ``ρ_k`` was wrong about, the weights correct: modes
get the masses of π, whatever masses brought the particles there, and the nearer ``ρ_k`` is to π,
the fewer values of β it takes. In the end one does. Draws of ``ρ_k`` then serve as independence
moves of the particles of the first pass, the one that never was in a learned density: what lies
where ``ρ_k`` has no draws, such as a tail, would be in none of the weights ``π/ρ_k``. A mode that
particles went past, and that minimising V from them finds, is a Gaussian of ``ρ_{k+1}`` too.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow.data.mixtures import Gaussians
from wgflow.montecarlo.annealed import AnnealedSMC, AnnealedState
from wgflow.montecarlo.base import Method, Problem, Sampled, Stage
from wgflow.montecarlo.blocks import density_of, with_modes
from wgflow.montecarlo.bridge import log_weights, next_beta
from wgflow.montecarlo.density import Block, LearnedDensity
from wgflow.montecarlo.independence import independent, log_z_of
from wgflow.montecarlo.minima import missed
from wgflow.samplers.particles import effective_fraction, systematic_indices

CLOSE = 0.8
"""Effective fraction of weights ``π/ρ_k`` from which on ``ρ_k`` is close to π."""

FAR = 0.03
"""First β of the way from ``ρ_k`` below which particles stay where they are without it."""

SHORTER = 0.5
"""Length of a way, over that of the one before, from which on densities do not help."""

NEAR = 0.3
"""Effective fraction of weights ``π/ρ_k`` from which on draws of it are independence moves."""

FAMILIES = 50
"""Groups of neighbours, that a density is fitted to or judged by as a whole."""

LEARNED_AROUND = 0.4
"""Share of the particles that are annealed for ``log Z`` there, each way."""


class FlowState(NamedTuple):
    """Particles of one step of the flow.

    Attributes:
        annealed: the particles between ``ρ_k`` and π.
        density: ``ρ_k``, by its blocks; None for the start.
        number: k.
        length: values of β on the way before; 0 for the first.
        refused: whether the density of these particles is too far from π to go on with.
        arrived: particles of the first pass, of π, (count, d); None before.
        near: effective fraction of weights ``π/ρ_k`` of draws of ``ρ_k``.
    """

    annealed: AnnealedState
    density: list[Block] | None
    number: int
    length: int
    refused: bool = False
    arrived: Tensor | None = None
    near: float = 0.0


@dataclass(frozen=True)
class NearProximalFlow(Method[FlowState]):
    """Near-proximal steps: from ``ρ_0``, the start, by way of learned densities to π.

    Args:
        particles: their number.
        steps: learned densities at most, each from the particles of the one before.
        relative_ess: effective fraction that a change of β keeps.
        moves: moves at each β.
        leapfrog: leapfrog steps of a move.
        rounds: rounds of moves at each β at most, as many as energies need to forget.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    state_types: ClassVar[tuple[type, ...]] = (
        *(FlowState, Block, Gaussians),
        *AnnealedSMC.state_types,
    )

    particles: int = 8192
    steps: int = 3
    relative_ess: float = 0.95
    moves: int = 3
    leapfrog: int = 1
    rounds: int = 8

    def __post_init__(self) -> None:
        check_positive(particles=self.particles)
        check_nonnegative(steps=self.steps)
        self._way(0)

    def init(self, problem: Problem, *, generator: Rng = None) -> FlowState:
        """Draws of the start."""
        return FlowState(self._way(0).init(problem, generator=generator), None, 0, 0)

    def step(self, problem: Problem, state: FlowState, *, generator: Rng = None) -> FlowState:
        """The next β, or the next density, if particles have arrived."""
        annealed, density, number, *_, arrived, _ = state
        way = self._way(number)
        source = started(problem, density)
        if way.progress(annealed) < 1:
            return state._replace(annealed=way.step(source, annealed, generator=generator))
        index = systematic_indices(annealed.log_weight, self.particles, generator=generator)
        x = annealed.chains.x[index]
        # Copies and relatives stand side by side, and would judge a fit to each other.
        families = index * FAMILIES // self.particles
        log_z = source.start.log_z + annealed.log_ratio
        lost = missed(problem.energy, x, log_z, generator=generator)
        learned = with_modes(density_of(x, families, seed=number), lost)
        fresh = self._way(number + 1).init(started(problem, learned), generator=generator)
        # Whatever β is, draws beyond the support of V have no weight.
        within = fresh.log_weight.where(fresh.chains.target.isfinite(), -math.inf)
        if next_beta(fresh.chains, within, 0.0, self.relative_ess, CLOSE) < FAR:
            return state._replace(refused=True)
        arrived = x if arrived is None else arrived
        length = len(annealed.schedule.betas)
        near = float(effective_fraction(log_weights(fresh.chains, 0.0, 1.0)))
        return FlowState(fresh, learned, number + 1, length, arrived=arrived, near=near)

    def progress(self, state: FlowState) -> float:
        """The part of the steps that is done, 1 when the next one would bring nothing."""
        done = self._way(state.number).progress(state.annealed)
        last = state.refused or state.number == self.steps or _is_settled(state)
        if done == 1 and last:
            return 1.0
        return (state.number + 0.99 * done) / (self.steps + 1)

    def metrics(self, problem: Problem, state: FlowState) -> dict[str, float]:
        """Those of the particles, and the number of the ``density`` that they come from."""
        source = started(problem, state.density)
        found = self._way(state.number).metrics(source, state.annealed)
        return found | {"density": state.number}

    def stages(self, state: FlowState) -> list[Stage]:
        """The particles."""
        return self._way(state.number).stages(state.annealed)

    def result(self, problem: Problem, state: FlowState, *, generator: Rng = None) -> Sampled:
        """Particles, moved by draws of the last density where it is near π, and ``log Z``.

        Where it is not, those of the last way, and ``log Z`` between its density and π.
        """
        source, way = started(problem, state.density), self._way(state.number)
        if state.arrived is not None and state.near >= NEAR:
            local = state.annealed.schedule.moves[-1]
            moved = independent(source, state.arrived, local, generator=generator)
            ess = float(effective_fraction(moved.log_weight.flatten())) * self.particles
            return Sampled(moved.chains.x, log_z_of(moved, source.start.log_z), ess)
        return way.result(source, state.annealed, generator=generator)

    def _way(self, number: int) -> AnnealedSMC:
        common = self.particles, self.relative_ess, self.moves, self.leapfrog, self.rounds
        if number == 0:
            return AnnealedSMC(*common)
        # Straight to the target where that keeps enough, in small steps where it does not.
        return AnnealedSMC(*common, CLOSE, LEARNED_AROUND)


def started(problem: Problem, density: list[Block] | None) -> Problem:
    """The problem from a learned density, if there is one."""
    return problem if density is None else problem._replace(start=LearnedDensity(density))


def _is_settled(state: FlowState) -> bool:
    """Whether ``ρ_k`` is close to π, or no closer than the density before."""
    length = len(state.annealed.schedule.betas)
    if state.number == 0:
        return False
    direct = length == 2 and float(effective_fraction(state.annealed.log_weight)) > CLOSE
    return direct or length > SHORTER * state.length
