"""Overdamped Langevin: the transport along the flow of a known energy, ``dX = -∇E dt + √2 dW``."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import dot_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.samplers.base import Info, Sampler, adapt, log_uniform_like, metropolis


class LangevinState(NamedTuple):
    """Chains of an overdamped sampler: positions, energy and gradient there, step ε."""

    x: Tensor
    energy: Tensor
    grad: Tensor
    step_size: Tensor

    @property
    def langevin_step(self) -> float:
        """ε."""
        return float(self.step_size)

    def jumped(self, x: Tensor, energy: Tensor, grad: Tensor, generator: Rng) -> "LangevinState":
        """The chains at x."""
        return self._replace(x=x, energy=energy, grad=grad)


@dataclass(frozen=True)
class Overdamped(Sampler[LangevinState]):
    """A sampler whose state is positions alone.

    Args:
        step_size: first ε > 0, in squared units of x.
    """

    carry_types: ClassVar[tuple[type, ...]] = (LangevinState,)

    step_size: float = 0.01

    def init(self, energy: Energy, x: Tensor, *, generator: Rng = None) -> LangevinState:
        """Chains at x."""
        value, grad = energy_and_grad(energy, x)
        return LangevinState(x.detach(), value, grad, value.new_tensor(self.step_size))


@dataclass(frozen=True)
class ULA(Overdamped):
    """Unadjusted Langevin algorithm, ``x ← x - ε∇E(x) + √(2ε) ξ``: Euler-Maruyama, weak order 1.

    Its stationary distribution is biased at order ε: variance ``2/(λ(2-ελ))`` in place of ``1/λ``
    on N(0, 1/λ), and it explodes for ``ε > 2/λ``. `Info.log_weight` carries the log ratio of
    backward and forward transitions, with which weighted particles stay exact.

    Args:
        step_size: ε > 0, in squared units of x.

    Raises:
        ValueError: when ``step_size`` is not positive.
    """

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size)

    def step(
        self, energy: Energy, state: LangevinState, *, generator: Rng = None
    ) -> tuple[LangevinState, Info]:
        """One Euler-Maruyama step of every chain; nothing is rejected."""
        proposal, noise = _propose(energy, state, state.step_size, generator)
        return proposal, Info(partial(_log_ratio, state, proposal, noise, state.step_size))

    def time(self, state: LangevinState) -> float:
        """ε."""
        return float(state.step_size)


@dataclass(frozen=True)
class MALA(Overdamped):
    """Metropolis-adjusted Langevin algorithm: ULA's proposal, accepted or not; no bias.

    After each step the common ε moves by Robbins-Monro towards the target acceptance, whose
    optimum is 0.574 in high dimension (Roberts and Rosenthal 1998). With thousands of chains one
    update hardly depends on any chain; set ``adaptation`` to 0 for a kernel that is exactly
    invariant.

    Args:
        step_size: first ε > 0, in squared units of x.
        target: acceptance to aim at, in (0, 1).
        adaptation: rate of the update of log ε per step, 0 to turn it off.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    target: float = 0.574
    adaptation: float = 0.05

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size)
        check_fraction(target=self.target, adaptation=self.adaptation)

    def step(
        self, energy: Energy, state: LangevinState, *, generator: Rng = None
    ) -> tuple[LangevinState, Info]:
        """Accept each proposal with ``min(1, e^{-E(y)} q(x|y) / e^{-E(x)} q(y|x))``."""
        state, info = _adjusted(energy, state, state.step_size, generator)
        return adapt(state, info, self.target, self.adaptation), info

    def time(self, state: LangevinState) -> float:
        """ε."""
        return float(state.step_size)


@dataclass(frozen=True)
class CrankNicolson(Overdamped):
    """Preconditioned Crank-Nicolson Langevin algorithm (Cotter et al. 2013); no bias.

    For distributions with Gaussian noise of a known σ: ``E = |x|²/(2σ²) + R`` with R never
    more convex. The proposal

        y = ρx + (1-ρ)(x - σ²∇E(x)) + σ√(1-ρ²) ξ,        ρ = 1 - ε/σ²,

    is ULA's with ``2ε - ε²/σ²`` for the variance of the noise, and exact for ``N(0, σ²I)`` in any
    dimension and with any step, so that only R causes rejections. MALA has to keep
    ``ε ~ σ² d^{-1/3}``. For smoothed data ``x - σ²∇E(x)`` is the mean of the data given x.

    Args:
        width: σ > 0, in units of x.
        step_size: first ε, in squared units of x, below 2σ²; adapted it stays at most σ².
        target, adaptation: as of `MALA`.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    carry_types: ClassVar[tuple[type, ...]] = (LangevinState,)

    width: float = 1.0
    step_size: float = 0.25
    target: float = 0.574
    adaptation: float = 0.05

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size, width=self.width)
        check_fraction(target=self.target, adaptation=self.adaptation)
        if not self.step_size < 2 * self.width**2:
            raise ValueError(
                f"`step_size` must be < 2 width² = {2 * self.width**2:g}, to contract: "
                f"got {self.step_size}."
            )

    def step(
        self, energy: Energy, state: LangevinState, *, generator: Rng = None
    ) -> tuple[LangevinState, Info]:
        """Accept each proposal with ``min(1, e^{-E(y)} q(x|y) / e^{-E(x)} q(y|x))``."""
        half = state.step_size - (state.step_size / self.width) ** 2 / 2
        state, info = _adjusted(energy, state, half, generator)
        if self.adaptation:
            state = adapt(state, info, self.target, self.adaptation)
            state = state._replace(step_size=state.step_size.clamp(max=self.width**2))
        return state, info

    def time(self, state: LangevinState) -> float:
        """``ε - ε²/(2σ²)``."""
        step = float(state.step_size)
        return step - (step / self.width) ** 2 / 2


def _adjusted(
    energy: Energy, state: LangevinState, half: Tensor, generator: Rng
) -> tuple[LangevinState, Info]:
    proposal, noise = _propose(energy, state, half, generator)
    log_ratio = _log_ratio(state, proposal, noise, half)
    log_uniform = log_uniform_like(log_ratio, generator=generator)
    return metropolis(state, proposal, log_ratio, log_uniform)


def _propose(
    energy: Energy, state: LangevinState, half: Tensor, generator: Rng
) -> tuple[LangevinState, Tensor]:
    """``y = x - ε∇E(x) + √v ξ`` and ξ, with half of the variance v."""
    noise = noise_like(state.x, generator=generator)
    y = torch.addcmul(state.x, state.grad, state.step_size, value=-1)
    y = y.addcmul_(noise, half.sqrt(), value=math.sqrt(2))
    value, grad = energy_and_grad(energy, y)
    return LangevinState(y, value, grad, state.step_size), noise


def _log_ratio(
    state: LangevinState, proposal: LangevinState, noise: Tensor, half: Tensor
) -> Tensor:
    """``log [e^{-E(y)} q(x|y) / e^{-E(x)} q(y|x)]``.

    With ``g = ∇E(x) + ∇E(y)`` and ``c = ε/√v`` it is ``E(x) - E(y) + c g·(ξ - c g/2)``.
    """
    both, share = state.grad + proposal.grad, state.step_size / (2 * half).sqrt()
    work = dot_event(torch.addcmul(noise, both, share, value=-0.5), both)
    return torch.addcmul(state.energy - proposal.energy, work, share)
