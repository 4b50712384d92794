"""Particles: a weighted, persistent population and its reaction to a change of energy.

Particle i carries a log-weight A_i, so that ``Σ w_i f(x_i)`` with ``w = softmax(A)`` is consistent
for ``E_p[f]`` at every step of learning, although the particles move slowly. When the energy
changes,

    A_i ← A_i + E_k(x_i) - E_{k+1}(x_i)            (reaction; Jarzynski 1997, Carbone et al. 2023)

and a kernel that leaves p invariant moves x_i without touching A_i (transport). Together the two
are the Wasserstein-Fisher-Rao gradient flow. ``log Z_k = log_z + log mean exp(A)`` is an unbiased
estimate of Z_k when the randomness of the population never entered the energy: given the path of
energies, each kernel is then a fixed one that leaves its p_k invariant, whatever it depends on.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.samplers.base import Info, Sampler, refresh, take

HALVINGS = 50
"""Of the interval in which an exponent is sought: to the last bit."""


class Particles(NamedTuple):
    """A weighted population.

    Attributes:
        state: the sampler's state: positions ``x``, with ``energy`` and ``grad`` cached there.
        log_weight: A_i, (batch,), unnormalised.
        banked: the part of ``log Z`` banked at past resamplings, a float64 scalar.
    """

    state: Any
    log_weight: Tensor
    banked: Tensor

    @property
    def x(self) -> Tensor:
        """Positions, (batch, *event)."""
        return self.state.x

    @property
    def langevin_step(self) -> float:
        """The Langevin step that the sampler settled to, in squared units of x."""
        return self.state.langevin_step

    @property
    def weights(self) -> Tensor:
        """``w = softmax(A)``, (batch,), summing to one."""
        return self.log_weight.softmax(0)

    @property
    def effective_fraction(self) -> Tensor:
        """Effective sample size over N, ``1/(N Σ w_i²)``: from 1/N to 1."""
        return effective_fraction(self.log_weight)

    @property
    def log_z(self) -> Tensor:
        """``log Z = banked + log mean exp(A)``, a float64 scalar."""
        total = torch.logsumexp(self.log_weight.double(), 0)
        return self.banked + total - math.log(len(self.log_weight))


def effective_fraction(log_weight: Tensor) -> Tensor:
    """``1/(N Σ w_i²)`` with ``w = softmax(log_weight)``: from 1/N to 1."""
    return 1 / (len(log_weight) * log_weight.softmax(0).square().sum())


def populate(
    sampler: Sampler[Any], energy: Energy, x: Tensor, log_density: Tensor, *, generator: Rng = None
) -> Particles:
    """Particles at x drawn from q with ``log q = log_density``: ``A_i = -E(x_i) - log q(x_i)``."""
    state = sampler.init(energy, x, generator=generator)
    return Particles(
        state, -state.energy - log_density, state.energy.new_zeros((), dtype=torch.float64)
    )


def react(p: Particles, energy: Energy) -> Particles:
    """Reaction: the population under the new energy, ``A ← A + E_k(x) - E_{k+1}(x)``."""
    state = refresh(energy, p.state)
    return p._replace(state=state, log_weight=p.log_weight + p.state.energy - state.energy)


def temper(p: Particles, fraction: float) -> tuple[Particles, float]:
    """The population with weights ``A = -αE`` and α, the largest up to 1 that leaves ``fraction``.

    Chains that do not cross between modes do not represent their masses. These weights restore
    the masses, as far as the effective fraction of the population stays above ``fraction``. Within
    a mode, where particles already follow ``exp(-E)``, they count E twice, as if the temperature
    were ``1/(1+α)``.
    """
    energies = p.state.energy.double()
    low, high = 0.0, 1.0
    if effective_fraction(-energies) >= fraction:
        low = 1.0
    for _ in range(HALVINGS if low < 1 else 0):
        middle = (low + high) / 2
        if effective_fraction(-middle * energies) >= fraction:
            low = middle
        else:
            high = middle
    return p._replace(log_weight=(-low * (energies - energies.mean())).to(p.log_weight)), low


def transport(
    p: Particles, sampler: Sampler[Any], energy: Energy, *, generator: Rng = None
) -> tuple[Particles, Info]:
    """One move of every particle; its weight takes `Info.log_weight`."""
    state, info = sampler.step(energy, p.state, generator=generator)
    p = p._replace(state=state, log_weight=p.log_weight + info.log_weight)
    return (p if info.exchangeable is None else forget(p, info.exchangeable)), info


def forget(p: Particles, exchangeable: Tensor) -> Particles:
    """Exchangeable particles share their weight: ``A_i ← log mean exp(A)`` over them.

    Which of their positions goes with which of their weights is pure chance. The mean over all
    ways to match them keeps every weighted average unbiased, and log Z what it was, and lowers
    its variance (Rao-Blackwell).
    """
    mean = p.log_weight[exchangeable].logsumexp(0) - exchangeable.sum().log()
    return p._replace(log_weight=torch.where(exchangeable, mean, p.log_weight))


def resample(p: Particles, *, generator: Rng = None) -> Particles:
    """Systematic resampling: equal weights, and the mean weight banked."""
    index = systematic_indices(p.log_weight, len(p.log_weight), generator=generator)
    return Particles(take(p.state, index), torch.zeros_like(p.log_weight), p.log_z)


def systematic_indices(log_weight: Tensor, count: int, *, generator: Rng = None) -> Tensor:
    """Indices of systematic resampling: i appears ``⌊count·w_i⌋`` or ``⌈count·w_i⌉`` times.

    One uniform number places all ``count`` pointers; the mean number of copies is ``count·w_i``.
    """
    w = log_weight.double().softmax(0)
    u = torch.rand(1, generator=generator, device=w.device, dtype=w.dtype)
    pointers = (torch.arange(count, device=w.device) + u) / count
    return torch.searchsorted(w.cumsum(0), pointers).clamp_(max=len(w) - 1)
