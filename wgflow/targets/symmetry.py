"""Symmetries of systems of identical particles: coordinates without a centre, and exchanges."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points


@dataclass(frozen=True)
class ParticleSystem:
    """Points of R^{ns} that are n particles in s dimensions, and what keeps their energy.

    Args:
        particles: n.
        space: s.
        centre_free: whether the energy is invariant under translations. Points then have their
            centre of mass at the origin, and log Z is that of the (n-1)s coordinates u of an
            orthonormal basis of this subspace.
        exchangeable: whether the energy is invariant under exchanges of particles.

    Raises:
        ValueError: when a count is not positive, or one particle is without a centre.
    """

    particles: int
    space: int
    centre_free: bool = False
    exchangeable: bool = False

    def __post_init__(self) -> None:
        check_positive(particles=self.particles, space=self.space)
        if self.centre_free and self.particles < 2:
            raise ValueError(f"`particles` must be ≥ 2 without a centre: got {self.particles}.")

    @property
    def dim(self) -> int:
        """``ns``."""
        return self.particles * self.space

    @property
    def free(self) -> int:
        """The number of free coordinates u."""
        return self.dim - self.space * self.centre_free

    def basis(self) -> Tensor:
        """Orthonormal columns, (ns, free), float64, so that ``x = B u``."""
        if not self.centre_free:
            return torch.eye(self.dim, dtype=torch.float64)
        n = self.particles
        # Helmert's: column k contrasts the first k particles with the next one.
        k = torch.arange(1, n, dtype=torch.float64)
        before = torch.arange(n)[:, None] < k
        after = torch.diag(k, -1)[:, : n - 1]
        columns = (before.double() - after) / (k * (k + 1)).sqrt()
        return torch.kron(columns, torch.eye(self.space, dtype=torch.float64))

    def exchanged(self, x: Points, *, generator: Rng = None) -> Points:
        """Each point, (batch, ns), with its particles in an order of its own, uniformly drawn."""
        if not self.exchangeable:
            return x
        keys = torch.rand(len(x), self.particles, generator=generator, device=x.device)
        order = keys.argsort(1)[:, :, None].expand(-1, -1, self.space)
        return x.reshape(len(x), self.particles, self.space).gather(1, order).reshape(x.shape)
