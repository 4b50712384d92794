"""The contract of samplers, and the one sampling loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import per_point
from wgflow.energies.base import Energy, energy_and_grad

S = TypeVar("S")


class Info:
    """What one step did to each chain.

    Ratios that nobody asks for are not computed: chains that only sample need none.

    Args:
        log_ratio: logarithm of the Metropolis-Hastings ratio of the move, made or not, (batch,);
            or a function that gives it.
        log_weight: what to add to the chain's log-weight so that weighted averages stay exact,
            (batch,): zero for a kernel that leaves ``exp(-E)`` invariant; None for the log-ratio,
            of a kernel that makes every move.
        exchangeable: chains whose new positions are exchangeable among them, given which chains
            these are and where they came from, (batch,), bool; None for none. Their weights say
            nothing about their positions any more and may be replaced by the mean.
    """

    def __init__(
        self,
        log_ratio: Tensor | Callable[[], Tensor],
        log_weight: Tensor | None = None,
        exchangeable: Tensor | None = None,
    ) -> None:
        self._ratio, self._weight, self.exchangeable = log_ratio, log_weight, exchangeable

    @cached_property
    def log_ratio(self) -> Tensor:
        """Logarithm of the Metropolis-Hastings ratio, (batch,)."""
        return self._ratio if isinstance(self._ratio, Tensor) else self._ratio()

    @property
    def log_weight(self) -> Tensor:
        """What to add to the log-weights, (batch,)."""
        return self.log_ratio if self._weight is None else self._weight

    @property
    def acceptance(self) -> Tensor:
        """Probability with which the move was, or would have been, accepted, (batch,)."""
        return self.log_ratio.clamp(max=0).exp_()


class Sampler(ABC, Generic[S]):
    """A Markov kernel on a batch of chains: a frozen record of hyper-parameters.

    The state S is a NamedTuple of fields ``x`` (positions), ``energy`` and ``grad`` (at x) and
    ``step_size`` (a scalar tensor, which may adapt), perhaps more. Scalar fields belong to all
    chains, the others have one row per chain. It is bound to the energy it was made with. Its
    property ``langevin_step`` is the step of an overdamped sampler that suits the chains, and
    ``jumped(x, energy, grad, generator)`` the state of chains that a global move put at x.
    """

    carry_types: ClassVar[tuple[type, ...]] = ()
    """The NamedTuples in its state, which a checkpoint may hold."""

    step_size: float

    @abstractmethod
    def init(self, energy: Energy, x: Tensor, *, generator: Rng = None) -> S:
        """The state of chains that stand at x."""

    @abstractmethod
    def step(self, energy: Energy, state: S, *, generator: Rng = None) -> tuple[S, Info]:
        """One move of every chain."""

    @abstractmethod
    def time(self, state: S) -> float:
        """Langevin time τ that one step stands for, in squared units of x."""


def refresh(energy: Energy, state: Any) -> Any:
    """The same chains under another energy: positions, momenta and step size stay."""
    value, grad = energy_and_grad(energy, state.x)
    return state._replace(energy=value, grad=grad)


def iterate(
    sampler: Sampler[S], energy: Energy, x: Tensor, *, generator: Rng = None
) -> Iterator[tuple[S, Info]]:
    """The chains after 1, 2, 3 ... steps from x; thin it with `itertools.islice`."""
    return advance(sampler, energy, sampler.init(energy, x, generator=generator), generator)


def advance(
    sampler: Sampler[S], energy: Energy, state: S, generator: Rng = None
) -> Iterator[tuple[S, Info]]:
    """The one sampling loop: the chains 1, 2, 3 ... steps after ``state``."""
    while True:
        state, info = sampler.step(energy, state, generator=generator)
        yield state, info


def sample(
    sampler: Sampler[Any], energy: Energy, x: Tensor, steps: int, *, generator: Rng = None
) -> Tensor:
    """Positions after ``steps`` steps from x; ValueError unless ``steps`` is at least one."""
    if steps < 1:
        raise ValueError(f"A chain needs steps: expected at least 1, got {steps}.")
    chain = iterate(sampler, energy, x, generator=generator)
    state, _ = next(islice(chain, steps - 1, None))
    return state.x


def metropolis(
    state: Any, proposal: Any, log_ratio: Tensor, log_uniform: Tensor
) -> tuple[Any, Info]:
    """Accept chain i's proposal with probability ``min(1, exp(log_ratio_i))``.

    The one accept/reject, by ``log_uniform_i < log_ratio_i`` (see `log_uniform_like`). Fields with
    a row per chain are selected row by row, scalar ones are the proposal's. A ratio that is NaN
    (a proposal of infinite energy) is a rejection.
    """
    log_ratio = log_ratio.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    accept = log_uniform < log_ratio
    fields = (
        new if new.ndim == 0 else torch.where(per_point(accept, new), new, old)
        for new, old in zip(proposal, state, strict=True)
    )
    return type(state)(*fields), Info(log_ratio, torch.zeros_like(log_ratio))


def log_uniform_like(x: Tensor, *, generator: Rng = None) -> Tensor:
    """Logarithms of uniform numbers, shaped like x."""
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype).log()


def take(state: Any, index: Tensor | slice) -> Any:
    """The chains named by ``index`` (resampling): rows of every field that has rows."""
    return type(state)(*(f if f.ndim == 0 else f[index] for f in state))


def adapt(state: Any, info: Info, target: float, rate: float) -> Any:
    """Robbins-Monro on the log step: ``log ε ← log ε + rate·(mean acceptance - target)``."""
    factor = torch.exp(rate * (info.acceptance.mean() - target))
    return state._replace(step_size=state.step_size * factor)
