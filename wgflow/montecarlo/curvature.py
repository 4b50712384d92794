"""How the curvature of an energy depends on the place, as moves of chains need it.

Along a funnel the widths of some coordinates change by orders of magnitude with another one, and
moves of one shape stay out of its narrow end. The logarithms of squared whitened gradients
``w_i = (Lᵀ∇E)_i`` are regressed on x: those of ``w_i ~ N(0, σ_i(x)^{-2})`` have the mean
``-2 log σ_i(x)`` plus a constant, and noise of the deviation ``π/√2`` whatever ``σ_i`` is. Where
widths are exponentials of a few linear functions of x, as in hierarchical models with logarithms
of scales, this finds them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, Values
from wgflow.samplers.particles import effective_fraction

NOISE = 0.7
"""Deviation of y from t(x): moves from where it is large to where it is small need some."""

NOISE_OF_LOG = math.pi / math.sqrt(2)
"""Deviation of ``log w²`` of a normal w."""

TIMES = 2.0
"""Singular values of slopes that count, over the greatest that noise would have."""

MOST = 5
"""Directions, at most."""

WIDEST = 256
"""Coordinates, at most: slopes are decomposed at every β."""

FEWEST = 10
"""Effective particles for each coordinate."""

BETTER = 1.1
"""Times the squared slopes that other axes must have."""

LARGEST = 6.0
"""Logarithm of a change of width, at most."""

LEAST = 1e-12
"""Squared gradient, at least, before its logarithm."""


class Curvature(NamedTuple):
    """Widths along the axes of L at x: ``e^{-(C t)/2}`` with ``t = Qᵀ(x - c)``.

    Attributes:
        center: c, (d,).
        directions: Q, (d, k), such that t is the change of log-curvatures, its mean square over
            axes.
        slopes: C, (d, k), with columns of mean square one.
    """

    center: Tensor
    directions: Tensor
    slopes: Tensor

    def latent(self, x: Points) -> Tensor:
        """t at x, (batch, k)."""
        return (x - self.center) @ self.directions

    def drawn(self, x: Points, *, generator: Rng = None) -> Tensor:
        """``y ~ N(t(x), NOISE² I)``, (batch, k)."""
        t = self.latent(x)
        return t + NOISE * noise_like(t, generator=generator)

    def log_density(self, y: Tensor, x: Points) -> Values:
        """``log N(y; t(x), NOISE² I)`` but for a constant, (batch,)."""
        return (y - self.latent(x)).square().sum(1) / (-2 * NOISE**2)

    def widths(self, y: Tensor) -> Points:
        """Along the axes of L where t is y, (batch, d)."""
        return (y @ self.slopes.mT / -2).clamp(-LARGEST, LARGEST).exp()


def curvature_of(
    x: Points, grad: Points, log_weight: Tensor, factor: Tensor
) -> tuple[Tensor, Curvature | None]:
    """Axes along which log-curvatures depend on x, and how; None where it cannot be seen.

    Args:
        x: (count, d).
        grad: ``∇E`` there, (count, d).
        log_weight: of the points, (count,).
        factor: L, see `wgflow.montecarlo.bridge.factor_of`.

    Returns:
        factor: L, or L R with a rotation R to axes along which the gradient changes more with x.
        curvature: None where no slope stands out of noise, or there are too many coordinates.
    """
    w = log_weight.double().softmax(0)
    d, effective = x.shape[1], float(effective_fraction(log_weight.double())) * len(w)
    if factor.ndim == 1 or d > WIDEST or effective < FEWEST * d:
        return factor, None
    center = w @ x.double()
    z = x.double() - center
    root = _root((w[:, None] * z).mT @ z)
    u = torch.linalg.solve_triangular(root, z.mT, upper=False).mT
    force = grad.double() @ factor.double()
    # The greatest singular value of a matrix of independent N(0, s²) is about 2 s √d.
    noise = TIMES * 2 * NOISE_OF_LOG * math.sqrt(d / effective)
    left, size, right = _slopes(force, u, w)
    if not float(size[0]) > noise:
        return factor, None
    turn = _axes(force, u @ right[0], w)
    turned = _slopes(force @ turn, u, w)
    gain = float(turned[1][:MOST].square().sum()) / float(size[:MOST].square().sum())
    if gain > BETTER and float(turned[1][0]) > noise:
        factor, (left, size, right) = (factor.double() @ turn).to(factor), turned
    k, rms = int((size[:MOST] > noise).sum()), math.sqrt(d)
    q = torch.linalg.solve_triangular(root.mT, right[:k].mT, upper=True) * (size[:k] / rms)
    return factor, Curvature(center.to(x), q.to(x), (left[:, :k] * rms).to(x))


def _root(covariance: Tensor) -> Tensor:
    """Its Cholesky factor; coordinates in which all points are copies have a tiny variance."""
    variance = covariance.diagonal()
    floor = 1e-9 * variance + 1e-12 * variance.mean() + 1e-30
    return torch.linalg.cholesky(covariance + torch.diag(floor))


def _slopes(force: Points, u: Points, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Those of ``log w_i²`` on whitened u, (d, d), as singular vectors and values."""
    log_square = force.square().clamp(min=LEAST).log()
    return torch.linalg.svd(((log_square - w @ log_square) * w[:, None]).mT @ u)


def _axes(force: Points, t: Values, w: Tensor) -> Tensor:
    """A rotation, (d, d): the eigenvectors of the change of a force's direction with t."""
    unit = force / force.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return torch.linalg.eigh(((w * t)[:, None] * unit).mT @ unit)[1]
