"""The contract of methods that sample a given energy V, ``π ∝ e^{-V}``, and bound its log Z."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from wgflow._progress import finished
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import Target
from wgflow.energies.base import Energy
from wgflow.likelihood.annealing import LogZ
from wgflow.targets.failures import values_at

S = TypeVar("S")


@dataclass(eq=False)
class Counted:
    """An energy that counts at how many points it was evaluated, with a gradient or without.

    The one mutable thing of a method: counts, on which no result depends. Where V raises an error
    of `wgflow.targets.failures.NUMERICAL`, or is not a number, it is infinite.

    Attributes:
        energy: V.
        evaluations: points so far.
        excluded: how many of them have no value, or below
            `wgflow.montecarlo.evaluation.FARTHEST` no finite gradient.
        kept: numbers that a gradient of V keeps for each point; 0 until that was seen.
    """

    energy: Energy
    evaluations: int = field(default=0)
    excluded: int = field(default=0)
    kept: int = field(default=0)

    def __call__(self, x: Points) -> Values:
        """``V(x)``.

        Raises:
            Exception: as of `wgflow.targets.failures.values_at`.
        """
        self.evaluations += len(x)
        value = values_at(self.energy, x)
        lacking = value.isnan()
        self.excluded += int(lacking.sum())
        return value.masked_fill(lacking, math.inf)


class Problem(NamedTuple):
    """What to sample, from where, and how.

    Attributes:
        energy: V of points (batch, d).
        start: a distribution with exact draws and its ``log_z``, wide enough to cover π; ``E_0``
            is its energy.
        like: an empty tensor of the dtype and device of the points, (0, d).
    """

    energy: Counted
    start: Target
    like: Tensor


class Stage(NamedTuple):
    """Particles on their way, to be looked at.

    Attributes:
        beta: their inverse temperature.
        x: (count, d).
        log_weight: (count,), unnormalised.
    """

    beta: float
    x: Points
    log_weight: Tensor


class Sampled(NamedTuple):
    """What a method found.

    Attributes:
        x: equally weighted points of π, (count, d).
        log_z: of V, with its bounds.
        ess: effective number of independent points among them, by the method's own account.
        chains: of a method with chains, positions after each kept step, (kept, chains, d), for
            split R-hat; None for others.
    """

    x: Points
    log_z: LogZ
    ess: float
    chains: Tensor | None = None


class Method(ABC, Generic[S]):
    """A Monte Carlo method: a frozen record of hyper-parameters.

    Its state S is a NamedTuple of tensors, numbers and named tuples, so that a checkpoint holds
    it, and one step from a state depends on that state and the generator alone.
    """

    state_types: ClassVar[tuple[type, ...]]
    """The NamedTuples in its state, which a checkpoint may hold."""

    particles: int
    """Points that it moves, and returns."""

    @abstractmethod
    def init(self, problem: Problem, *, generator: Rng = None) -> S:
        """The state before the first step."""

    @abstractmethod
    def step(self, problem: Problem, state: S, *, generator: Rng = None) -> S:
        """One step: of a second or so, after which a run may stop and go on."""

    @abstractmethod
    def progress(self, state: S) -> float:
        """The part of the work that is done, 0 to 1; 1 when there is no step left."""

    @abstractmethod
    def metrics(self, problem: Problem, state: S) -> dict[str, float]:
        """What to show after a step: ``beta``, ``ess`` (a fraction), ``acceptance``, ``log_z``."""

    @abstractmethod
    def stages(self, state: S) -> list[Stage]:
        """Where the particles are: at one inverse temperature, or at several at once."""

    @abstractmethod
    def result(self, problem: Problem, state: S, *, generator: Rng = None) -> Sampled:
        """Points and ``log Z``, after the last step."""


def run(method: Method[Any], problem: Problem, *, generator: Rng = None) -> Sampled:
    """All steps of a method, and its result."""
    state = finished(
        method.init(problem, generator=generator),
        lambda state: method.step(problem, state, generator=generator),
        method.progress,
        "Annealing",
    )
    return method.result(problem, state, generator=generator)
