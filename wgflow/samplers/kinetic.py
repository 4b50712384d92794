"""Kinetic samplers: positions and momenta, ``H(x, v) = E(x) + |v|²/2``."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import sum_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.samplers.base import Info, Sampler, adapt, log_uniform_like, metropolis


class KineticState(NamedTuple):
    """Chains of a kinetic sampler: positions, energy and gradient there, step η, momenta."""

    x: Tensor
    energy: Tensor
    grad: Tensor
    step_size: Tensor
    momentum: Tensor

    @property
    def langevin_step(self) -> float:
        """``η²/2``: one leapfrog step with fresh momenta is a Langevin step of this size."""
        return float(self.step_size) ** 2 / 2

    def jumped(self, x: Tensor, energy: Tensor, grad: Tensor, generator: Rng) -> "KineticState":
        """The chains at x with fresh momenta: old ones carry the weights of their old chains."""
        momentum = noise_like(self.momentum, generator=generator)
        return self._replace(x=x, energy=energy, grad=grad, momentum=momentum)


@dataclass(frozen=True)
class Kinetic(Sampler[KineticState]):
    """A sampler of positions and momenta.

    Args:
        step_size: first η > 0, in units of x.
    """

    carry_types: ClassVar[tuple[type, ...]] = (KineticState,)

    step_size: float = 0.1

    def init(self, energy: Energy, x: Tensor, *, generator: Rng = None) -> KineticState:
        """Chains at x with fresh momenta."""
        value, grad = energy_and_grad(energy, x)
        v = noise_like(x, generator=generator)
        return KineticState(x.detach(), value, grad, value.new_tensor(self.step_size), v)


@dataclass(frozen=True)
class Underdamped(Kinetic):
    """Underdamped Langevin, ``dX = V dt, dV = -∇E dt - γV dt + √(2γ) dW``, by the OBABO splitting.

    Half a step of the exact Ornstein-Uhlenbeck flow of the momenta, one of leapfrog, half a step
    again: weak order 2 in the step η. Unadjusted; `Info.log_weight` is the shadow work
    ``-ΔH`` of the leapfrog part, with which weighted particles stay exact. The O parts leave the
    momenta's distribution invariant and cost no work (Bussi and Parrinello 2007).

    Args:
        step_size: η > 0, in units of x.
        friction: γ > 0, per unit of time; the momenta forget in time 1/γ.

    Raises:
        ValueError: when a hyper-parameter is not positive.
    """

    friction: float = 1.0

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size, friction=self.friction)

    def step(
        self, energy: Energy, state: KineticState, *, generator: Rng = None
    ) -> tuple[KineticState, Info]:
        """One OBABO step of every chain; nothing is rejected."""
        keep = math.exp(-self.friction * float(state.step_size) / 2)
        state = _refresh_momentum(state, keep, generator)
        moved = _leapfrog(energy, state, 1)
        work = _hamiltonian(state) - _hamiltonian(moved)
        moved = _refresh_momentum(moved, keep, generator)
        return moved, Info(work)

    def time(self, state: KineticState) -> float:
        """``η²/2 · (1+c)/(1-c)`` with ``c = e^{-γη}``: η²/2 at high friction, η/γ at low.

        Half of the variance that a step adds where E is flat, in the long run.
        """
        step = float(state.step_size)
        return step**2 / 2 / math.tanh(self.friction * step / 2)


@dataclass(frozen=True)
class HMC(Kinetic):
    """Hamiltonian Monte Carlo: fresh momenta, L leapfrog steps of size η, accept or not; no bias.

    The common η moves by Robbins-Monro towards the target acceptance, whose optimum is 0.651 in
    high dimension (Beskos et al. 2013); set ``adaptation`` to 0 to keep it.

    Args:
        step_size: first η > 0, in units of x.
        leapfrog: number L ≥ 1 of leapfrog steps per move.
        target: acceptance to aim at, in (0, 1).
        adaptation: rate of the update of log η per step, 0 to turn it off.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    leapfrog: int = 5
    target: float = 0.651
    adaptation: float = 0.05

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size, leapfrog=self.leapfrog)
        check_fraction(target=self.target, adaptation=self.adaptation)

    def step(
        self, energy: Energy, state: KineticState, *, generator: Rng = None
    ) -> tuple[KineticState, Info]:
        """One trajectory per chain, accepted with ``min(1, e^{-ΔH})``."""
        state = _refresh_momentum(state, 0.0, generator)
        proposal = _leapfrog(energy, state, self.leapfrog)
        log_ratio = _hamiltonian(state) - _hamiltonian(proposal)
        log_uniform = log_uniform_like(log_ratio, generator=generator)
        state, info = metropolis(state, proposal, log_ratio, log_uniform)
        return adapt(state, info, self.target, self.adaptation), info

    def time(self, state: KineticState) -> float:
        """(Lη)²/2, the Langevin time with the same displacement."""
        return (self.leapfrog * float(state.step_size)) ** 2 / 2


def _refresh_momentum(state: KineticState, keep: float, generator: Rng) -> KineticState:
    """``v ← c v + √(1-c²) ξ``: the exact Ornstein-Uhlenbeck flow of the momenta."""
    v = state.momentum
    noise = noise_like(v, generator=generator)
    return state._replace(momentum=keep * v + math.sqrt(1 - keep**2) * noise)


def _leapfrog(energy: Energy, state: KineticState, steps: int) -> KineticState:
    """``steps`` velocity-Verlet steps: symplectic, reversible, order 2."""
    x, value, grad, step, v = state
    for _ in range(steps):
        v = v - step / 2 * grad
        x = x + step * v
        value, grad = energy_and_grad(energy, x)
        v = v - step / 2 * grad
    return KineticState(x, value, grad, step, v)


def _hamiltonian(state: KineticState) -> Tensor:
    return state.energy + sum_event(state.momentum**2) / 2
