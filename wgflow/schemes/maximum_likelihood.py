"""Maximum likelihood with particles: the consecutive-KL baseline (CD, PCD, short run)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow.energies.base import Energy
from wgflow.schemes.base import Loss, Scheme
from wgflow.schemes.dynamics import Carry, Dynamics, Population


@dataclass(frozen=True)
class MaximumLikelihood(Scheme[Carry]):
    """``L(θ) = E_d[E_θ] - Σ w_i E_θ(x_i)``, whose gradient is that of the negative log-likelihood.

    With `FromData` it is contrastive divergence (Hinton 2002), with an unweighted `Population`
    its persistent form (Tieleman 2008), with `FromNoise` short-run learning (Nijkamp et al.
    2019). What a step of it compares are consecutive laws, so mode weights are invisible to it.

    Args:
        dynamics: the particles.
        regularisation: a > 0 adds ``a (E_d[E²] + Σ w_i E²)``, which keeps energies near zero.
        inner_steps: optimiser steps per learning step.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    dynamics: Dynamics = field(default_factory=Population)
    regularisation: float = 0.0
    inner_steps: int = 1

    def __post_init__(self):
        check_positive(inner_steps=self.inner_steps)
        check_nonnegative(regularisation=self.regularisation)

    @property
    def adds_noise(self) -> bool:
        """Whether its dynamics do."""
        return self.dynamics.adds_noise

    def init(self, energy, batch, *, generator=None) -> Carry:
        """The first particles."""
        return self.dynamics.init(energy, batch, generator=generator)

    def loss(self, energy, carry, *, generator=None) -> Loss:
        """``L(θ)`` on the frozen batch and particles."""
        data, model, w = energies(energy, carry)
        gap = data.mean() - w @ model
        square = (data**2).mean() + w @ model**2
        value = gap + self.regularisation * square
        return Loss(value, {"energy_gap": gap.detach()})

    def advance(self, energy, batch, carry, *, generator=None) -> Carry:
        """Reaction and transport."""
        return self.dynamics.advance(energy, batch, carry, generator=generator)


def energies(energy: Energy, carry: Carry) -> tuple[Tensor, Tensor, Tensor]:
    """``E_θ`` at the batch and at the particles in one pass, and the particles' weights."""
    values = energy(torch.cat([carry.batch, carry.particles.x]))
    count = len(carry.batch)
    return values[:count], values[count:], carry.particles.weights
