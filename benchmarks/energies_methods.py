"""Samplers of given energies, each with as many evaluations of V per particle as it is told.

Those with a budget stop there; the others take what they need, and tell by `Counted`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.annealed import ACCEPTANCE, RATE, AnnealedSMC, drawn
from wgflow.montecarlo.base import Method, Problem, Sampled, run
from wgflow.montecarlo.bridge import Chains, Moves, chains_at, factor_of, first_step, moved
from wgflow.montecarlo.near_proximal import NearProximalFlow
from wgflow.montecarlo.parallel_tempering import ParallelTempering

UNKNOWN = LogZ(math.nan, math.nan, math.nan, math.nan)


class Sampler(Protocol):
    """What the table needs of a competitor."""

    @property
    def budgeted(self) -> bool:
        """Whether it takes the evaluations of V that it is told, and no more."""
        ...

    @property
    def library(self) -> str:
        """The module that it needs, if it is another library's."""
        ...

    def sample(self, problem: Problem, particles: int, budget: float, seed: int) -> Sampled:
        """So many points, by ``budget`` evaluations of V for each."""
        ...


@dataclass(frozen=True)
class OfWGFlow:
    """A method of WGFlow, which takes what it needs.

    Args:
        kind: its class.
        options: changes of its defaults.
    """

    kind: type[Method[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    budgeted: bool = False
    library: str = ""

    def sample(self, problem: Problem, particles: int, budget: float, seed: int) -> Sampled:
        """All of its steps."""
        method = self.kind(particles=particles, **self.options)  # pyright: ignore
        return run(method, problem, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class AnnealedChains:
    """A chain for each particle along a fixed geometric schedule, without weights.

    ``β_k = least^{1-k/K}``, then the rest at β = 1. Steps are adapted to the acceptance, and
    whitened by the mean curvature, as those of annealed SMC; the last ones are frozen.

    Args:
        least: the first β.
        rest: share of the moves at β = 1.
        moves: at each β.
        leapfrog: of a move; 1 is MALA.
    """

    least: float = 1e-4
    rest: float = 0.2
    moves: int = 3
    leapfrog: int = 1
    budgeted: bool = True
    library: str = ""

    def sample(self, problem: Problem, particles: int, budget: float, seed: int) -> Sampled:
        """The ends of all chains."""
        generator = torch.Generator().manual_seed(seed)
        betas = self.schedule(budget)
        chains = chains_at(problem, drawn(problem, particles, generator))
        step = chains.x.new_tensor(first_step(chains.x.shape[1]))
        frozen = len(betas) - max(1, round(len(betas) * self.rest / 2))
        equal = chains.start.new_zeros(particles)
        moves = Moves(step, factor_of(chains.x, chains.start_grad, equal), self.leapfrog)
        for k, beta in enumerate(betas):
            chains, moves = self._moved(problem, chains, beta, moves, k < frozen, generator)
        return Sampled(chains.x, UNKNOWN, math.nan)

    def schedule(self, budget: float) -> list[float]:
        """Values of β, ``moves`` moves at each, that evaluate V so often less the first time."""
        count = max(2, int((budget - 1) / (self.moves * self.leapfrog)))
        warm = max(1, round(count * (1 - self.rest)))
        return [self.least ** (1 - k / warm) for k in range(warm)] + [1.0] * (count - warm)

    def _moved(
        self,
        problem: Problem,
        chains: Chains,
        beta: float,
        moves: Moves,
        adapt: bool,
        generator: torch.Generator,
    ) -> tuple[Chains, Moves]:
        if adapt:
            equal = torch.zeros(len(chains.x), dtype=torch.float64)
            moves = moves._replace(factor=factor_of(chains.x, chains.grad(beta), equal))
        for _ in range(self.moves):
            chains, acceptance = moved(problem, chains, beta, moves, generator=generator)
            if adapt:
                change = torch.exp(RATE * (acceptance.mean() - ACCEPTANCE))
                moves = moves._replace(step=moves.step * change)
        return chains, moves


STEPS = {
    "gmm": 2e-3,
    "mustache": 2e-3,
    "25-gaussians": 2e-3,
    "two-modes": 0.1,
    "dw4": 5e-3,
    "lj13": 1e-4,
    "breast-cancer": 2e-3,
    "german-credit": 2e-4,
    "funnel": 1e-2,
    "eight-schools": 0.1,
    "many-well": 1e-2,
    "spike-and-slab": 2e-5,
}
"""ε of Langevin steps ``x - ε∇V + √(2ε) z`` in libraries that leave it to their users: about a
fifth of the smallest variance."""


QUARTER = 3
"""Leapfrog steps ``√(2ε)`` of a trajectory of other libraries: about a quarter of a period. With
ten, a whole period, points of a Gaussian would come back to where they were."""


def step_of(target: str) -> float:
    """ε, by the name of a target, with its dimension or without."""
    return STEPS.get(target.split(":")[0], 1e-3)


@dataclass(frozen=True)
class OfTorchEBM:
    """Langevin dynamics or HMC of torchebm 0.8.9, from the start on V itself.

    Args:
        step: ε of Langevin dynamics; leapfrog steps are ``√(2ε)``.
        leapfrog: steps of HMC; 0 for unadjusted Langevin dynamics.
    """

    step: float
    leapfrog: int = 0
    budgeted: bool = True
    library: str = "torchebm"

    def sample(self, problem: Problem, particles: int, budget: float, seed: int) -> Sampled:
        """The ends of all chains."""
        from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

        generator = torch.Generator().manual_seed(seed)
        x, model = drawn(problem, particles, generator), _torchebm_model(problem)
        if self.leapfrog:
            size = math.sqrt(2 * self.step)
            sampler: Any = HamiltonianMonteCarlo(model, size, self.leapfrog, dtype=x.dtype)
        else:
            sampler = LangevinDynamics(model, self.step, dtype=x.dtype)
        steps = _steps(sampler, x[:2], budget, problem, torch.Generator().manual_seed(0))
        return Sampled(sampler.sample(x, n_steps=steps, generator=generator), UNKNOWN, math.nan)


@dataclass(frozen=True)
class OfEbmkit:
    """Self-tuning MALA or HMC of ebmkit 0.16.0, from the start on V itself.

    Args:
        step: ε to begin with; leapfrog steps are ``√(2ε)``.
        leapfrog: steps of HMC; 0 for MALA, which tunes ε in a quarter of the evaluations.
    """

    step: float
    leapfrog: int = 0
    budgeted: bool = True
    library: str = "ebm"

    def sample(self, problem: Problem, particles: int, budget: float, seed: int) -> Sampled:
        """The ends of all chains."""
        import ebm

        x = drawn(problem, particles, torch.Generator().manual_seed(seed))
        if self.leapfrog:
            count = max(1, int(budget / (self.leapfrog + 1)))
            sampler: Any = ebm.HMC(math.sqrt(2 * self.step), self.leapfrog, count)
        else:  # two evaluations a step
            warm, count = int(budget / 8), max(1, int(budget * 3 / 8))
            sampler = ebm.AdaptiveMALA(self.step, count, warmup=warm)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Sampled(sampler.sample(problem.energy, x), UNKNOWN, math.nan)


def samplers(target: str) -> dict[str, Sampler]:
    """All competitors on a target; those that the budget comes from first."""
    step = step_of(target)
    return {
        "annealed SMC": OfWGFlow(AnnealedSMC, {"relative_ess": 0.97, "moves": 3}),
        "near-proximal flow": OfWGFlow(NearProximalFlow),
        "parallel tempering": OfWGFlow(ParallelTempering),
        "annealed MALA": AnnealedChains(),
        "HMC": AnnealedChains(least=1.0, moves=1, leapfrog=5, rest=0.5),
        "torchebm Langevin": OfTorchEBM(step),
        "torchebm HMC": OfTorchEBM(step, QUARTER),
        "ebmkit MALA": OfEbmkit(step),
        "ebmkit HMC": OfEbmkit(step, QUARTER),
    }


BUDGET = "annealed SMC"
"""The method whose evaluations the others get."""


def _steps(
    sampler: Any, x: Tensor, budget: float, problem: Problem, generator: torch.Generator
) -> int:
    """How many steps of a sampler the budget allows, by what two points cost in ten."""
    before = problem.energy.evaluations
    sampler.sample(x, n_steps=10, generator=generator)
    cost = (problem.energy.evaluations - before) / (10 * len(x))
    problem.energy.evaluations = before
    return max(1, int(budget / cost))


def _torchebm_model(problem: Problem) -> nn.Module:
    from torchebm.core import BaseModel

    class Given(BaseModel):  # torchebm asks for a subclass of its own
        def forward(self, x: Tensor) -> Tensor:
            return problem.energy(x)

    return Given(dtype=problem.like.dtype)
