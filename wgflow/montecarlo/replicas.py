"""Replicas along ``E_β = (1-β) E_0 + β V``: moves of each, exchanges of neighbours.

Every move leaves the product of the laws ``π_β ∝ e^{-E_β}`` invariant: exact draws of the start
at β = 0, Hamiltonian moves at all others, and exchanges accepted with ``min(1, e^{Δβ ΔU})`` of
``U = V - E_0``. Energies and gradients of both ends are kept for each point, so that an exchange
costs no evaluation.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng, noise_like
from wgflow._tensor import Points
from wgflow.montecarlo.base import Problem
from wgflow.montecarlo.bridge import tamed
from wgflow.montecarlo.evaluation import both
from wgflow.samplers.base import log_uniform_like


class Ladder(NamedTuple):
    """What sets the moves of K replicas, frozen while one measures.

    Attributes:
        betas: β from 0 to 1, (K,), float64.
        steps: η of each replica's leapfrog, (K,); that of β = 0 is not used.
        factor: A of each, (K, d, d), or the diagonal, (K, 1, d); ``A Aᵀ`` stands for C.
    """

    betas: Tensor
    steps: Tensor
    factor: Tensor


class Walkers(NamedTuple):
    """C chains of each of K replicas, and both energies where they stand.

    Attributes:
        x: (K, C, d).
        base: ``E_0``, (K, C).
        value: V, (K, C); infinite outside of its support.
        base_grad, value_grad: their gradients, (K, C, d), zero where they are not finite.
    """

    x: Tensor
    base: Tensor
    value: Tensor
    base_grad: Tensor
    value_grad: Tensor

    def tempered(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        """``E_β``, (K, C), and its gradient, (K, C, d); where β = 0 V has no say."""
        b = betas.to(self.x)[:, None]
        energy = torch.where(b > 0, (1 - b) * self.base + b * self.value, self.base)
        b = b[:, :, None]
        return energy, (1 - b) * self.base_grad + b * self.value_grad

    def slopes(self) -> Tensor:
        """``U = V - E_0``, by which a change of β multiplies, (K, C), float64."""
        return self.value.double() - self.base.double()

    def part(self, index: slice | Tensor) -> "Walkers":
        """Some of the replicas."""
        return Walkers(*(field[index] for field in self))


def placed(problem: Problem, x: Tensor) -> Walkers:
    """Walkers at x, (K, C, d): one evaluation of V for each.

    Raises:
        ValueError: V is not a number somewhere, minus infinity, or finite without a gradient.
    """
    base, base_grad, value, value_grad = both(problem, x.detach().reshape(-1, x.shape[-1]))
    grads = [grad.reshape(x.shape) for grad in (base_grad, value_grad)]
    return Walkers(x, base.reshape(x.shape[:2]), value.reshape(x.shape[:2]), *grads)


def drawn(problem: Problem, replicas: int, chains: int, *, generator: Rng = None) -> Walkers:
    """Independent draws of the start in every replica."""
    draws = problem.start.sample(replicas * chains, dtype=problem.like.dtype, generator=generator)
    return placed(problem, draws.to(problem.like).reshape(replicas, chains, -1))


def explored(
    problem: Problem, walkers: Walkers, ladder: Ladder, leapfrog: int, *, generator: Rng = None
) -> tuple[Walkers, Tensor]:
    """One move of each replica: a fresh draw at β = 0, a Hamiltonian move at the others.

    Returns:
        walkers: after it.
        acceptance: probabilities of the Hamiltonian moves, (K-1, C).
    """
    hot = drawn(problem, 1, walkers.x.shape[1], generator=generator)
    rest, above = walkers.part(slice(1, None)), Ladder(*(field[1:] for field in ladder))
    rest, acceptance = hamiltonian(problem, rest, above, leapfrog, generator=generator)
    fields = zip(hot, rest, strict=True)
    return Walkers(*(torch.cat(pair) for pair in fields)), acceptance


def hamiltonian(
    problem: Problem, walkers: Walkers, ladder: Ladder, leapfrog: int, *, generator: Rng = None
) -> tuple[Walkers, Tensor]:
    """Leapfrog steps ``v -= η/2 Aᵀ∇E_β, x += η A v`` with fresh momenta, accepted or not.

    With one step this is the Metropolis-adjusted Langevin algorithm with ``ε = η²/2``.

    Returns:
        walkers: after it.
        acceptance: probabilities, (K, C).
    """
    step = ladder.steps.to(walkers.x)[:, None, None]
    v = noise_like(walkers.x, generator=generator)
    before = _hamiltonian(walkers, ladder, v)
    end, pull = walkers, _pull(walkers, ladder)
    for _ in range(leapfrog):
        v = v - step / 2 * pull
        end = placed(problem, end.x + step * _spread(ladder.factor, v))
        pull = _pull(end, ladder)
        v = v - step / 2 * pull
    log_ratio = before - _hamiltonian(end, ladder, v)
    log_ratio = torch.where(log_ratio.isnan(), -torch.inf, log_ratio)
    accept = log_uniform_like(log_ratio, generator=generator) < log_ratio
    return _chosen(accept, end, walkers), log_ratio.clamp(max=0).exp()


def exchange_ratios(walkers: Walkers, betas: Tensor) -> Tensor:
    """``log [π_j(x_k) π_k(x_j) / π_j(x_j) π_k(x_k)]`` of neighbours j = k + 1, (K-1, C)."""
    ratio = betas.diff()[:, None] * walkers.slopes().diff(dim=0)
    return torch.where(ratio.isnan(), -torch.inf, ratio)


def exchanged(walkers: Walkers, betas: Tensor, parity: int, *, generator: Rng = None) -> Walkers:
    """Neighbours (k, k+1) with k of the parity exchange their points, each chain for itself.

    Alternating parities carry points through the ladder without turning back at random, which
    makes round trips of order K instead of K² (Okabe et al. 2001; Syed et al. 2021).
    """
    ratio = exchange_ratios(walkers, betas)
    accept = log_uniform_like(ratio, generator=generator) < ratio
    accept[1 - parity :: 2] = False
    order = torch.arange(len(betas), device=ratio.device)[:, None].repeat(1, ratio.shape[1])
    order[:-1] += accept.long()
    order[1:] -= accept.long()
    rows = [field.gather(0, _as(order, field).expand_as(field)) for field in walkers]
    return Walkers(*rows)


def _chosen(accept: Tensor, new: Walkers, old: Walkers) -> Walkers:
    fields = zip(new, old, strict=True)
    return Walkers(*(torch.where(_as(accept, a), a, b) for a, b in fields))


def _as(index: Tensor, field: Tensor) -> Tensor:
    """(K, C) so that it broadcasts over a field."""
    return index if field.ndim == 2 else index[:, :, None]


def _hamiltonian(walkers: Walkers, ladder: Ladder, v: Tensor) -> Tensor:
    return walkers.tempered(ladder.betas)[0] + v.square().sum(2) / 2


def _pull(walkers: Walkers, ladder: Ladder) -> Tensor:
    """``Aᵀ∇E_β``, `tamed`, (K, C, d)."""
    pull = _gather(ladder.factor, walkers.tempered(ladder.betas)[1])
    return tamed(pull, ladder.steps.to(pull)[:, None, None])


def _spread(factor: Tensor, v: Points) -> Points:
    """``A v``."""
    factor = factor.to(v)
    return factor * v if factor.shape[1] == 1 else v @ factor.mT


def _gather(factor: Tensor, grad: Points) -> Points:
    """``Aᵀ g``."""
    factor = factor.to(grad)
    return factor * grad if factor.shape[1] == 1 else grad @ factor
