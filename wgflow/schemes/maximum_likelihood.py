"""Maximum likelihood with particles: the consecutive-KL baseline (CD, PCD, short run)."""

from dataclasses import dataclass, field

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.schemes.base import Loss
from wgflow.schemes.dynamics import Carry, Dynamics, ParticleScheme, energies
from wgflow.schemes.population import Population


@dataclass(frozen=True)
class MaximumLikelihood(ParticleScheme):
    """``L(θ) = E_d[E_θ] - Σ w_i E_θ(x_i)``, whose gradient is that of the negative log-likelihood.

    With `FromData` it is contrastive divergence (Hinton 2002), with an unweighted `Population`
    its persistent form (Tieleman 2008), with `FromNoise` short-run learning (Nijkamp et al.
    2019). A step of it compares consecutive distributions, so mode weights are invisible to it.

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

    def __post_init__(self) -> None:
        check_positive(inner_steps=self.inner_steps)
        check_nonnegative(regularisation=self.regularisation)

    def loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """``L(θ)`` on the frozen batch and particles."""
        sample = carry.sample
        (data, model), w = energies(energy, carry, sample), sample.weights
        gap = data.mean() - w @ model
        square = (data**2).mean() + w @ model**2
        value = gap + self.regularisation * square
        return Loss(value, {"energy_gap": gap.detach()})
