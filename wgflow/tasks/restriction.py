"""An energy of standardised vectors with some coordinates fixed: its draws and its normaliser."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.gaussian_mixture import moments
from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import Energy
from wgflow.energies.conditional import Conditioned
from wgflow.likelihood import quadrature
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.quadrature import Grid, tabulate
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Counted, Problem, Sampled, run
from wgflow.samplers import MALA, sample

WIDE = 0.2
"""Share of the reference that is the Gaussian of all moments: it misses no mode."""

NODES = {1: 2048, 2: 256}
"""Of a quadrature, along each axis, by the number of axes."""

FEW = 4
"""By which fewer nodes find the box."""

REACH, NATS, ZOOMS = 10.0, 35.0, 12
"""A box begins this many deviations around the reference, and ends where p is e^-35 of its
largest value; at most so many corrections lie between."""

SETTLING = 20
"""Exact steps of points drawn from a grid."""

KEPT, MOVES = 0.998, 1
"""Effective fraction of annealed chains that a change of β keeps, and moves after it."""


@dataclass(frozen=True, eq=False)
class Restriction:
    """Hidden coordinates v with an energy, in coordinates z with ``v = c + L z``.

    In z the reference is about as wide in all directions, so that one step suits them all.

    Attributes:
        energy: E of v, (batch, hidden) -> (batch,).
        reference: a mixture over z that overlaps with ``exp(-E)``.
        center: c, (hidden,).
        factor: L, (hidden, hidden).
        like: a tensor of the dtype and device of points.
    """

    energy: Energy
    reference: GaussianMixture
    center: Tensor
    factor: Tensor
    like: Tensor

    @property
    def dim(self) -> int:
        """Number of hidden coordinates."""
        return len(self.center)

    def coordinates(self, z: Points) -> Points:
        """``v = c + L z``."""
        return self.center.to(z) + z @ self.factor.to(z).T

    def energy_of_z(self, z: Points) -> Values:
        """``E(c + L z)``."""
        return self.energy(self.coordinates(z))

    def sample(self, n: int, chains: int, *, generator: Rng = None) -> Tensor:
        """``n`` draws of v, (n, hidden): of a grid, or of annealed chains, at least ``2 n``."""
        if self.dim in NODES:
            z = self._drawn_from_grid(n, generator)
        else:
            # Of twice as many chains, so that few are copies.
            z = self._annealed(max(2 * n, chains), generator).x
            z = z[torch.randperm(len(z), generator=generator)[:n].to(z.device)]
        return self.coordinates(z)

    def log_z(self, chains: int, *, generator: Rng = None) -> LogZ:
        """``log ∫ e^{-E} dv``: by quadrature, or annealed both ways with as many chains."""
        log_det = float(torch.linalg.slogdet(self.factor).logabsdet)
        if self.dim in NODES:
            value = float(quadrature.log_z(self.energy_of_z, self._grid)) + log_det
            coarse = float(quadrature.log_z(self.energy_of_z, self._grid.coarse)) + log_det
            rounding = torch.finfo(self.like.dtype).eps * (abs(value) + NATS)
            return LogZ(value, abs(value - coarse) + rounding, value, value)
        value, error, lower, upper = self._annealed(2 * chains, generator).log_z
        return LogZ(value + log_det, error, lower + log_det, upper + log_det)

    def _annealed(self, chains: int, generator: Rng) -> Sampled:
        like = self.like.new_empty(0, self.dim)
        problem = Problem(Counted(self.energy_of_z), self.reference, like)
        method = AnnealedSMC(chains, KEPT, MOVES, rounds=1, around=0.5, longest=1)
        return run(method, problem, generator=generator)

    def _drawn_from_grid(self, n: int, generator: Rng) -> Tensor:
        """Uniform in cells drawn by their mass; exact steps smooth what they are wide."""
        grid = self._grid
        mass = quadrature.log_density(self.energy_of_z, grid).exp()
        cells = torch.multinomial(mass.cpu(), n, replacement=True, generator=generator)
        nodes = grid.nodes[cells.to(grid.nodes.device)]
        within = torch.rand(n, self.dim, generator=generator, dtype=nodes.dtype) - 0.5
        z = nodes + within.to(nodes) * self._spacing
        return sample(
            MALA(0.5 * self.dim ** (-1 / 3)), self.energy_of_z, z, SETTLING, generator=generator
        )

    @cached_property
    def _grid(self) -> Grid:
        return box(self.energy_of_z, self.reference, NODES[self.dim], like=self.like)

    @property
    def _spacing(self) -> Tensor:
        nodes = self._grid.nodes
        return (nodes.amax(0) - nodes.amin(0)) / (NODES[self.dim] - 1)


def restricted(energy: Energy, u: Points, hidden: Tensor, mixture: GaussianMixture) -> Restriction:
    """The energy of hidden coordinates, with a reference from a mixture over all of them.

    The reference is the mixture's conditional, and with weight `WIDE` that of the Gaussian of its
    moments. z is whitened by the mean of the precisions of the parts, so that the narrow ones
    have deviations of order one.

    Args:
        energy: E of all coordinates.
        u: a point with the known ones, (1, d).
        hidden: True where one is hidden, (d,), bool.
        mixture: over all coordinates.
    """
    point, hidden = u[0].cpu(), hidden.cpu()
    near = mixture.conditional(point, hidden)
    mean, covariance = moments(mixture)
    one = GaussianMixture(mean[None], covariances=covariance[None])
    wide = one.conditional(point, hidden)
    precision = torch.einsum("k,kij,kil->jl", near.weights, near.whiten, near.whiten)
    root = torch.linalg.cholesky(precision)
    center = near.weights @ near.means
    parts = torch.cat([near.factors, wide.factors])
    factors = root.mT @ parts
    reference = GaussianMixture(
        (torch.cat([near.means, wide.means]) - center) @ root,
        covariances=factors @ factors.mT,
        weights=torch.cat([(1 - WIDE) * near.weights, WIDE * wide.weights]),
    )
    conditioned = Conditioned(energy, u, hidden)
    return Restriction(conditioned, reference, center, torch.linalg.inv(root).mT, u)


def box(energy: Energy, reference: GaussianMixture, points: int, *, like: Tensor) -> Grid:
    """The midpoint rule on the box outside of which ``exp(-E)`` is e^-35 of its largest value.

    It grows where the energy is low at a wall, and shrinks where it is high far from one.
    """
    few = points // FEW
    spread = reference.factors.norm(dim=2)
    low = (reference.means - REACH * spread).amin(0)
    high = (reference.means + REACH * spread).amax(0)
    for _ in range(ZOOMS):
        nodes = Grid.box(low.tolist(), high.tolist(), few, dtype=like.dtype).nodes
        values = tabulate(energy, nodes.to(like.device)).cpu()
        inside = nodes[values < values.min() + NATS].double()
        width, cell = high - low, (high - low) / few
        first, last = inside.amin(0), inside.amax(0)
        low, high = (
            torch.where(first < low + cell, low - width / 2, first - cell),
            torch.where(last > high - cell, high + width / 2, last + cell),
        )
        if ((0.8 * width < high - low) & (high - low < 1.2 * width)).all():
            break
    return Grid.box(low.tolist(), high.tolist(), points, dtype=like.dtype, device=like.device)
