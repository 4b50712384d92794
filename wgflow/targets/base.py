"""The record of a given energy V: what to sample, ``p(x) = e^{-V(x)}/Z``, and what is known."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.data.targets import Gaussian, Target
from wgflow.energies.base import Energy
from wgflow.targets.symmetry import ParticleSystem


class Modes(NamedTuple):
    """Where the mass of a target lies, if that is known.

    Attributes:
        centers: (K, dim); a point belongs to the nearest.
        masses: (K,), summing to one; None where only the centers are known.
    """

    centers: Tensor
    masses: Tensor | None


@dataclass(frozen=True, eq=False)
class TargetEnergy:
    """A given energy, unnormalised.

    Attributes:
        name: of the catalogue, or FILE.py:NAME.
        energy: V, (batch, dim) -> (batch,).
        dim: of x.
        start: the Gaussian of free coordinates u where methods begin, wide enough to cover p.
        about: one sentence.
        system: symmetries of particles; None for plain vectors.
        known: a distribution with exact draws and ``log Z`` of u; None where it is not known.
        modes: of x.
    """

    name: str
    energy: Energy
    dim: int
    start: Gaussian
    about: str = ""
    system: ParticleSystem | None = None
    known: Target | None = None
    modes: Modes | None = None

    @property
    def free(self) -> int:
        """The number of free coordinates u, on which methods work."""
        return self.dim if self.system is None else self.system.free

    def lift(self, u: Tensor) -> Tensor:
        """``x = B u``, (batch, free) -> (batch, dim); isometric."""
        return u if self.system is None else u @ self.system.basis().to(u).T

    def project(self, x: Tensor) -> Tensor:
        """``u = Bᵀ x``, (batch, dim) -> (batch, free): without a centre that is free."""
        return x if self.system is None else x @ self.system.basis().to(x)

    def reduced(self, u: Points) -> Values:
        """``V(B u)``: the energy that methods sample, of log Z of u."""
        return self.energy(self.lift(u))

    def starting(self, mean: Tensor | float, scale: Tensor | float) -> "TargetEnergy":
        """The same, from ``N(mean, scale²)`` of u, each a number or one per coordinate."""
        spread = torch.as_tensor(scale, dtype=torch.float64).expand(self.free)
        center = torch.as_tensor(mean, dtype=torch.float64).expand(self.free)
        return replace(self, start=Gaussian(center, torch.diag(spread**2)))
