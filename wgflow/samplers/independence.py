"""Global moves: an exact Metropolis-Hastings independence step from perturbed anchors."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.data.moments import bandwidth
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.energies.pairs import log_sum_exp, products
from wgflow.samplers.base import Info, Sampler, log_uniform_like, metropolis
from wgflow.samplers.langevin import LangevinState

WIDTHS = 8
"""Widths that are tried: the least is an eleventh of the largest."""


@dataclass(frozen=True, eq=False)
class Independence(Sampler[Any]):
    """Independence sampler whose proposal is ``q(x) = mean_j N(x; y_j, s²I)`` over anchors y_j.

    A proposal x' ~ q is accepted with ``min(1, p(x') q(x) / (p(x) q(x')))``. It leaves p
    invariant whatever the anchors are, so weights stay as they are; with data as anchors it jumps
    between modes that Langevin never joins, and so ends the random walk of mode fractions under
    resampling. Its acceptance vanishes in high dimension. It moves the state of any sampler, and
    leaves momenta and step size alone.

    Args:
        anchors: y_j, (count, *event), in the units of x.
        step_size: s > 0, in units of x.

    Raises:
        ValueError: when ``step_size`` is not positive.
    """

    anchors: Tensor
    step_size: float

    def __post_init__(self) -> None:
        check_positive(step_size=self.step_size)

    def init(self, energy: Energy, x: Tensor, *, generator: Rng = None) -> LangevinState:
        """Chains at x."""
        value, grad = energy_and_grad(energy, x)
        return LangevinState(x.detach(), value, grad, value.new_tensor(self.step_size))

    def step(self, energy: Energy, state: Any, *, generator: Rng = None) -> tuple[Any, Info]:
        """One proposal per chain, accepted or not."""
        y = self.propose(len(state.x), generator=generator)
        value, grad = energy_and_grad(energy, y)
        # log p/q, where the chains stand and where they are to go.
        log_q = self.log_density(torch.cat([state.x, y]))
        here, there = -state.energy - log_q[: len(y)], -value - log_q[len(y) :]
        log_uniform = log_uniform_like(value, generator=generator)
        proposal = state.jumped(y, value, grad, generator)
        state, info = metropolis(state, proposal, there - here, log_uniform)
        shuffled = exchangeable(log_uniform + here, there)
        return state, Info(info.log_ratio, info.log_weight, shuffled)

    def time(self, state: Any) -> float:
        """0: a jump moves along no path."""
        return 0.0

    def propose(self, count: int, *, generator: Rng = None) -> Tensor:
        """``count`` draws from q, (count, *event), with equal strata for their anchors.

        Each is of the law q, they are exchangeable, and each of as many equal parts of the anchors
        has one.
        """
        a = self.anchors
        order = torch.randperm(count, generator=generator, device=a.device)
        place = order + torch.rand(
            count, generator=generator, device=a.device, dtype=torch.float64
        )
        index = (place * (len(a) / count)).long().clamp_(max=len(a) - 1)
        shape = (count, *a.shape[1:])
        noise = torch.randn(shape, generator=generator, device=a.device, dtype=a.dtype)
        return a[index] + self.step_size * noise

    def log_density(self, x: Tensor) -> Tensor:
        """``log q(x)``, (batch,), in chunks of pairs: as many as fit a cache of CPUs."""
        a, s = self.anchors.flatten(1) / self.step_size, self.step_size
        log_norm = math.log(len(a)) + a.shape[1] * math.log(s * math.sqrt(2 * math.pi))
        half_squares = a.square().sum(1) / 2
        pairs = 2**17 if x.is_cpu else 2**24
        chunks = (x.flatten(1) / s).split(max(1, pairs // len(a)))
        # |c-a|²/2 by way of the products: three times faster than distances, and anchors and
        # chains are near the origin in standardised units, so little cancels.
        rows = [log_sum_exp(products(c, a, -half_squares)) - c.square().sum(1) / 2 for c in chunks]
        return torch.cat(rows) - log_norm


def exchangeable(threshold: Tensor, ratio: Tensor) -> Tensor:
    """The largest set of accepted chains, (batch,) bool, whose proposals can trade places.

    Chain i takes its proposal when ``t_i < r_i``, with ``t_i = log(u_i p(x_i)/q(x_i))`` and
    ``r_i = log p(x'_i)/q(x'_i)``. Given the t's and the unordered r's, every assignment of
    proposals to chains that keeps the inequalities is equally likely. Those with
    ``t_i < c ≤ r_i``, for any c that is a function of the unordered t's and r's, keep them under
    all permutations: nothing about a chain's past says which of their positions it took. The c
    that most chains satisfy depends on the unordered values alone, since
    ``#{t < c ≤ r} = #{t < c} - #{r < c}`` among accepted chains.
    """
    accepted = threshold < ratio
    t, r = threshold[accepted].sort().values, ratio[accepted].sort().values
    if not len(r):
        return accepted
    size = torch.searchsorted(t, r) - torch.searchsorted(r, r)
    c = r[size.argmax()]
    return accepted & (threshold < c) & (c <= ratio)


def fitted_width(anchors: Tensor, x: Tensor, largest: float) -> float:
    """Of widths s up to ``largest``, in steps of √2, that under which points x are likeliest.

    For points x of p it is that of the least ``KL(p‖q_s)``. Silverman's is up to ten times as wide
    where the distribution has parts that are thin beside its spread.
    """
    widths = [largest * 2 ** (-k / 2) for k in range(WIDTHS)]
    means = [Independence(anchors, s).log_density(x).mean() for s in widths]
    return widths[int(torch.stack(means).argmax())]


def silverman(x: Tensor) -> float:
    """Silverman's bandwidth ``σ (4/((d+2) n))^{1/(d+4)}`` for n points x of mean spread σ."""
    spread = float(x.flatten(1).std(0).square().mean().sqrt())
    return spread * bandwidth(len(x), x[0].numel())
