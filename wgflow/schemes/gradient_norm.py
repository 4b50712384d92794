"""The JKO ancestors of the near-proximal scheme: maximum likelihood with a gradient norm."""

from dataclasses import dataclass, field

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import sum_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.schemes.base import Loss
from wgflow.schemes.dynamics import Carry, Dynamics, ParticleScheme, energies
from wgflow.schemes.population import Population


@dataclass(frozen=True)
class GradientNorm(ParticleScheme):
    """``L(θ) = E_d[E_θ] - Σ w_i E_θ(x_i) + (γ/2) Σ w_i |∇E_θ(x_i)|²`` (wFRAME).

    The Wasserstein term of a JKO step, through Benamou-Brenier, as a penalty on the whole energy
    rather than on its change. It stabilises and it is *biased*: with a flat reference the fixed
    point is ``(1 - γΔ)⁻¹ p_d``, every variance larger by 2γ.

    Args:
        dynamics: the particles.
        gamma: γ > 0, in squared units of x.
        inner_steps: optimiser steps per learning step.

    Raises:
        ValueError: when a hyper-parameter is not positive.
    """

    dynamics: Dynamics = field(default_factory=Population)
    gamma: float = 0.01
    inner_steps: int = 1

    def __post_init__(self) -> None:
        check_positive(gamma=self.gamma, inner_steps=self.inner_steps)

    def loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """``L(θ)`` on the frozen batch and particles."""
        sample = carry.sample
        (data, model), w = energies(energy, carry, sample), sample.weights
        gap = data.mean() - w @ model
        _, grad = energy_and_grad(energy, sample.x, create_graph=True)
        norm = w @ sum_event(grad**2)
        metrics = {"energy_gap": gap.detach(), "gradient_norm": norm.detach()}
        return Loss(gap + self.gamma / 2 * norm, metrics)
