"""Energies of small systems of identical particles: points (batch, ns), n particles in R^s."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.targets.symmetry import ParticleSystem


@dataclass(frozen=True)
class DoubleWell:
    """``V(x) = Σ_{i<j} a (r_ij - r_0)² + b (r_ij - r_0)⁴`` with ``r_ij = |x_i - x_j|``.

    With negative a, pairs have two preferred distances. Reference: Köhler, Klein and Noé,
    Equivariant flows: exact likelihood generative learning for symmetric densities, ICML 2020;
    for four particles in the plane, DW-4.

    Args:
        system: particles.
        quadratic, quartic: ``a``, ``b``.
        distance: ``r_0``.
    """

    system: ParticleSystem
    quadratic: float = -4.0
    quartic: float = 0.9
    distance: float = 4.0

    def __call__(self, x: Points) -> Values:
        """``V(x)``."""
        square = (_square_distances(x, self.system).sqrt() - self.distance).square()
        return (square * (self.quadratic + self.quartic * square)).sum(1)


@dataclass(frozen=True)
class LennardJones:
    """``V(x) = Σ_{i≠j} ε (r_ij⁻¹² - 2 r_ij⁻⁶) + ½ Σ_i |x_i - x̄|²``, infinite at a collision.

    Each pair counts twice, so that the depth of its well is 2ε. The harmonic term around the
    mean x̄ keeps the cluster together. Reference: Köhler, Klein and Noé, Equivariant flows:
    exact likelihood generative learning for symmetric densities, ICML 2020; for thirteen
    particles in space, LJ-13.

    Args:
        system: particles.
        depth: ``ε``.
    """

    system: ParticleSystem
    depth: float = 1.0

    def __call__(self, x: Points) -> Values:
        """``V(x)``."""
        attraction = _square_distances(x, self.system) ** -3
        # As a product it is infinite where r⁻⁶ is, and not the difference of two infinities.
        pairs = (attraction * (attraction - 2)).sum(1)
        particles = x.reshape(len(x), self.system.particles, self.system.space)
        spread = (particles - particles.mean(1, keepdim=True)).square().sum((1, 2))
        return 2 * self.depth * pairs + 0.5 * spread


def _square_distances(x: Points, system: ParticleSystem) -> Tensor:
    """``r_ij²`` of all pairs i < j, (batch, n(n-1)/2)."""
    particles = x.reshape(len(x), system.particles, system.space)
    i, j = torch.triu_indices(system.particles, system.particles, 1, device=x.device)
    return (particles[:, i] - particles[:, j]).square().sum(2)
