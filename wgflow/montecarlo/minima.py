"""Minima that particles lead down to, and what mass is around those where hardly a particle is.

A deep and narrow mode inside a wide one has its mass at β near 1 only, and a volume that no
particle meets by chance: annealing goes past it (a first-order phase transition), and neither
weights nor bounds of log Z know. Minimising V from particles finds it, if they are in its basin.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.montecarlo.base import Counted
from wgflow.montecarlo.evaluation import at_once, counted
from wgflow.samplers.particles import effective_fraction

DESCENTS = 64
"""Particles that V is minimised from."""

CALLS = 200
"""Batches of V and its gradient that it takes at most."""

MINIMA = 32
"""That are looked at, the lowest ones."""

LARGEST = 512
"""Dimension beyond which there is no Hessian."""

DRAWS = 512
"""Of the Gaussian around a minimum, for its mass."""

GAUSSIAN = 0.1
"""Effective fraction of their weights from which on it is one."""

NEGLIGIBLE = 0.01
"""Share of the mass that may be missing."""

HARDLY = 0.25
"""Share of the particles that there should be, below which they are hardly any."""

EXPECTED = 40
"""Particles that there should be, so that hardly any is no chance, though some are relatives."""

BLOCKED = 1e30
"""In place of an infinite energy, so that a step is shortened."""


class Mode(NamedTuple):
    """A Gaussian around a minimum of V.

    Attributes:
        center: the minimum, (d,).
        covariance: the inverse of the Hessian there, (d, d).
        share: of the mass of ``e^{-V}``.
    """

    center: Tensor
    covariance: Tensor
    share: float


class Around(NamedTuple):
    """The ellipsoid around a minimum, its radius in standard deviations squared, and its mass."""

    center: Tensor
    hessian: Tensor
    radius: float
    log_mass: float

    def holds(self, x: Points) -> Tensor:
        """Which of the points are inside, (n,)."""
        off = x - self.center
        return ((off @ self.hessian) * off).sum(1) < self.radius


def missed(energy: Counted, x: Points, log_z: float, *, generator: Rng = None) -> list[Mode]:
    """Modes with more than `NEGLIGIBLE` of the mass, and hardly a particle.

    ``∫ e^{-V}`` over an ellipsoid around a minimum, by importance sampling from the Gaussian with
    the Hessian there, against the number of particles in it. Where weights are not even, as of a
    funnel or of a particle system that can be turned, nothing is said.

    Args:
        energy: V.
        x: particles of ``e^{-V}/Z``, as far as is known, (n, d), float64.
        log_z: log Z by them.
        generator: source of randomness.

    Returns:
        Modes, of which a share is ``m_k / (Z + Σ_j m_j)``.
    """
    if x.shape[1] > LARGEST:
        return []
    try:
        known = _minima(energy, x, generator)
    except ValueError:  # no particle was where V has no value
        return []
    lost, over = [], math.log(max(NEGLIGIBLE, EXPECTED / len(x)))
    for around in known:
        log_share = around.log_mass - float(np.logaddexp(log_z, around.log_mass))
        inside = float(around.holds(x).double().mean())
        if log_share > over and inside < HARDLY * math.exp(log_share):
            lost.append(around)
    total = float(np.logaddexp.reduce([log_z, *(each.log_mass for each in lost)]))
    return [
        Mode(each.center, each.hessian.inverse(), math.exp(each.log_mass - total)) for each in lost
    ]


def _minima(energy: Counted, x: Points, generator: Rng) -> list[Around]:
    """Distinct minima, of which no one is inside the ellipsoid of another, lowest first."""
    some = torch.randperm(len(x), generator=generator)[:DESCENTS].to(x.device)
    ends = _descended(energy, x[some])
    values, _ = counted(energy, ends)
    left = ends[values.argsort()]
    found = []
    for _ in range(MINIMA):
        if not len(left):
            break
        around = _around(energy, left[0], generator)
        if around is None:
            left = left[1:]
            continue
        found.append(around)
        left = left[1:][~around.holds(left[1:])]
    return found


def _descended(energy: Counted, x: Points) -> Points:
    """Where all points are when the sum of their energies is minimised, each scaled alike."""
    spread = x.std(0, correction=0)
    scale = torch.where(spread > 0, spread, 1.0)

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(u.reshape(x.shape)).to(x) * scale
        value, grad = counted(energy, at)
        return float(value.sum().clamp_max(BLOCKED)), (grad * scale).flatten().cpu().numpy()

    start = (x / scale).flatten().cpu().numpy()
    options = {"maxfun": CALLS, "maxiter": CALLS, "maxcor": 20}
    end = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return torch.from_numpy(end.reshape(x.shape)).to(x) * scale


def _around(energy: Counted, center: Tensor, generator: Rng) -> Around | None:
    """The ellipsoid around a minimum; None where the density is not about Gaussian there."""
    hessian = _hessian(energy, center)
    if hessian is None:
        return None
    factor, failed = torch.linalg.cholesky_ex(hessian)
    if failed:
        return None
    d = len(center)
    radius = d + 4 * math.sqrt(2 * d)
    z = torch.randn(DRAWS, d, generator=generator, dtype=center.dtype).to(center.device)
    z = z[z.square().sum(1) < radius]
    x = center + torch.linalg.solve_triangular(factor.mT, z.T, upper=True).T
    log_q = factor.diagonal().log().sum() - z.square().sum(1) / 2 - d / 2 * math.log(2 * math.pi)
    value, _ = counted(energy, x)
    log_w = -value - log_q
    if not float(effective_fraction(log_w)) > GAUSSIAN:
        return None
    return Around(center, hessian, radius, float(log_w.logsumexp(0)) - math.log(DRAWS))


def _hessian(energy: Counted, x: Tensor) -> Tensor | None:
    """``∇²V(x)``, (d, d), by a copy of x for each row, as many at a time as memory asks for.

    None without second derivatives.
    """
    d, rows = len(x), []
    for part in torch.arange(d, device=x.device).split(at_once(energy, d)):
        copies = x.expand(len(part), -1).clone().requires_grad_()
        try:
            with torch.enable_grad():
                (grad,) = torch.autograd.grad(energy(copies).sum(), copies, create_graph=True)
                (found,) = torch.autograd.grad(grad.gather(1, part[:, None]).sum(), copies)
        except RuntimeError:
            return None
        rows.append(found)
    hessian = torch.cat(rows)
    hessian = (hessian + hessian.mT) / 2
    return hessian if bool(hessian.isfinite().all()) else None
