"""Chains between a start and a target: ``E_β = (1-β) E_0 + β V``, and exact moves of them.

V and its gradient are kept with every chain, so that a change of β evaluates nothing.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, Values, sum_event
from wgflow.montecarlo.base import Problem
from wgflow.montecarlo.curvature import Curvature
from wgflow.montecarlo.evaluation import both
from wgflow.samplers.base import log_uniform_like, metropolis
from wgflow.samplers.particles import HALVINGS, effective_fraction

SPREAD = 1.0
"""Half of the range of log step sizes, drawn anew for every move of every chain.

Where the curvature differs between places, some steps fit each.
"""

TAMED = 2.0
"""Longest momentum that a force gives in one step, in units of a typical momentum.

A step of HMC is stable where it is below, so that only points far from the bulk are held back.
"""

STEADY, UNEVEN = 4.0, 1.0
"""Coordinates' worth of a usual force that each has besides; and log of what it changes a step."""

OUTLYING = 10.0
"""Times the median, beyond which gradients count less for preconditioning."""


class Chains(NamedTuple):
    """Points with what is known there, (count, d) and (count,).

    Attributes:
        x: positions.
        start: ``E_0(x)``, with ``start_grad``.
        target: ``V(x)``, with ``target_grad``; infinite outside the support.
    """

    x: Tensor
    start: Tensor
    start_grad: Tensor
    target: Tensor
    target_grad: Tensor

    def energy(self, beta: float) -> Values:
        """``E_β(x)``."""
        return self.start if beta == 0 else (1 - beta) * self.start + beta * self.target

    def grad(self, beta: float) -> Points:
        """``∇E_β(x)``."""
        return (1 - beta) * self.start_grad + beta * self.target_grad


class Moves(NamedTuple):
    """What moves of chains need: numbers and matrices, fixed while they are measured.

    Attributes:
        step: the step size η of Hamiltonian dynamics in whitened units, a scalar.
        factor: L of `factor_of`, (d, d), or (d,) for a diagonal.
        leapfrog: leapfrog steps of a move.
        made: number of moves that were made.
        curvature: how widths along the axes of L depend on x; None where they do not.
    """

    step: Tensor
    factor: Tensor
    leapfrog: int = 1
    made: int = 1
    curvature: Curvature | None = None

    def whiten(self, grad: Points) -> Points:
        """``Lᵀg``."""
        return grad * self.factor if self.factor.ndim == 1 else grad @ self.factor

    def colour(self, momentum: Points) -> Points:
        """``Lp``."""
        return momentum * self.factor if self.factor.ndim == 1 else momentum @ self.factor.T


def chains_at(problem: Problem, x: Points) -> Chains:
    """Chains at x: two energies and their gradients."""
    return Chains(x, *both(problem, x))


def moved(
    problem: Problem, chains: Chains, beta: float, moves: Moves, *, generator: Rng = None
) -> tuple[Chains, Values]:
    """One Hamiltonian move of every chain, exact for ``e^{-E_β}``; and acceptance probabilities.

    Momenta are standard normal in whitened units, and forces are cut at `TAMED`: leapfrog steps of
    any force that depends on the position alone are reversible and keep volumes, so acceptance by
    the energy makes them exact. Widths and η depend on where a chain stands, by `Curvature` and by
    its force: they are drawn anew for every move, y from ``N(t(x), ·)`` and log η uniformly within
    `SPREAD` of `log_step`, fixed during it, and the ratio of their densities at both ends is part
    of that of acceptance (Gibbs self tuning: Bou-Rabee, Carpenter and Marsden 2024). One step is a
    move of the Metropolis-adjusted Langevin algorithm with ``ε = η²/2``.
    """
    widths, y, seen = chains.x.new_ones(()), None, moves.curvature
    if seen is not None:
        y = seen.drawn(chains.x, generator=generator)
        widths = seen.widths(y)
    full = widths * moves.whiten(chains.grad(beta))
    uniform = torch.rand(len(chains.x), 1, generator=generator, device=chains.x.device)
    log_eta = log_step(full) + SPREAD * (2 * uniform.to(chains.x) - 1)
    step = moves.step * log_eta.exp()
    first = momentum = noise_like(chains.x, generator=generator)
    here, force = chains, tamed(full, step)
    for _ in range(moves.leapfrog):
        momentum = momentum - step / 2 * force
        here = chains_at(problem, here.x + step * moves.colour(widths * momentum))
        full = widths * moves.whiten(here.grad(beta))
        force = tamed(full, step)
        momentum = momentum - step / 2 * force
    kinetic = sum_event(first**2 - momentum**2) / 2
    log_ratio = chains.energy(beta) - here.energy(beta) + kinetic
    back = (log_eta - log_step(full)).abs()[:, 0] <= SPREAD
    log_ratio = torch.where(back, log_ratio, -math.inf)
    if seen is not None and y is not None:
        log_ratio = log_ratio + seen.log_density(y, here.x) - seen.log_density(y, chains.x)
    chains, info = metropolis(
        chains, here, log_ratio, log_uniform_like(log_ratio, generator=generator)
    )
    return chains, info.acceptance


def log_step(force: Points) -> Tensor:
    """Logarithm of a step that suits a force in whitened units, over the usual one, (batch, 1).

    ``√d/|w|``, as on a Gaussian of another width, with `STEADY` more coordinates of the usual
    force, so that few do not decide, and by a factor of ``e^{±UNEVEN}`` at most: steps that
    forces far from the bulk would ask for are so short that points never came back.
    """
    d = force.shape[1] + STEADY
    square = force.square().sum(1, keepdim=True) + STEADY
    return ((d / square).log() / 2).clamp(-UNEVEN, UNEVEN)


def tamed(force: Tensor, step: Tensor) -> Tensor:
    """A force, (..., d), cut so that η times it is at most `TAMED` times ``√d``."""
    longest = TAMED * math.sqrt(force.shape[-1]) / step
    return force * (longest / force.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1)


def log_weights(chains: Chains, old: float, new: float) -> Values:
    """``E_old - E_new`` at every chain, float64: -inf outside the support."""
    gap = chains.start.double() - chains.target.double()
    return (new - old) * gap


def next_beta(
    chains: Chains, log_weight: Tensor, old: float, fraction: float, whole: float = 1.0
) -> float:
    """The largest β up to 1 at which weights of the change have that effective fraction.

    Or 1 where the last change keeps ``whole``.
    Relative to the weights that chains have: ``(Σ W_i w_i)²/Σ W_i w_i²`` (Zhou et al. 2016).
    """
    base = log_weight.double().log_softmax(0)

    def kept(beta: float) -> float:
        change = log_weights(chains, old, beta)
        once, twice = (base + change).logsumexp(0), (base + 2 * change).logsumexp(0)
        return float((2 * once - twice).exp())

    if kept(1.0) >= min(fraction, whole):
        return 1.0
    low, high = old, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) >= fraction else (low, middle)
    return max(low, math.nextafter(old, 1.0)) if low > old else high


def factor_of(x: Points, grad: Points, log_weight: Tensor) -> Tensor:
    """L with ``LLᵀ = F⁻¹``, ``F = Σ w ∇E ∇Eᵀ`` of a weighted population, (d, d).

    F is the mean curvature of E: on a Gaussian its inverse covariance, as the covariance would
    be, but on separate modes that *within* them (Titsias 2023). F is shrunk towards its diagonal
    by ``d/(d + n_eff)``, the order of its error; above a thousand coordinates it is the diagonal,
    (d,). Long gradients are cut at `OUTLYING` times the median length.

    By the inequality of Cramér and Rao ``F_ii`` is not below one over the variance of ``x_i`` in
    laws of a smooth density. What is missing there is added: between walls, where E is level, F
    is zero, and moves are of the width of the space.
    """
    w, d = log_weight.double().softmax(0), grad.shape[1]
    length = grad.double().norm(dim=1, keepdim=True)
    longest = (OUTLYING * length.median()).clamp(min=1e-30)
    g = grad.double() * (longest / length.clamp(min=1e-30)).clamp(max=1)
    diagonal = w @ g.square()
    missing = (_precision(x, w) - diagonal).clamp(min=0)
    diagonal = diagonal + missing + 1e-9 * diagonal.mean() + 1e-30
    if d > 1000:
        return diagonal.rsqrt().to(grad)
    share = d / (d + float(effective_fraction(log_weight.double())) * len(w))
    fisher = (1 - share) * ((w[:, None] * g).T @ g + torch.diag(missing))
    fisher = fisher + torch.diag(share * diagonal)
    fisher = fisher + 1e-9 * torch.diag(diagonal)
    # F = M Mᵀ, so that L = M^{-T}.
    root = torch.linalg.cholesky(fisher)
    eye = torch.eye(d, dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root.mT, eye, upper=True).to(grad)


def _precision(x: Points, w: Tensor) -> Tensor:
    """One over the variance of each coordinate, (d,), float64; 0 where all points are copies."""
    x = x.double()
    variance = w @ (x - w @ x).square()
    return torch.where(variance > 1e-24 * (w @ x.square()), 1 / variance, 0.0)


def first_step(d: int) -> float:
    """η of unit variance: ``1.65 d^{-1/6}`` (Roberts and Rosenthal 1998)."""
    return 1.65 * d ** (-1 / 6)
