"""Confinement: what keeps the mass of an energy near the data, with a normaliser of its own."""

import math

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values, dot_event, rows, shaped
from wgflow.data.moments import Extent
from wgflow.energies.base import Energy, as_module
from wgflow.energies.gradient import WithGradient, own_gradient
from wgflow.energies.radial import Radial

TAIL = 9.0
"""Deviations beyond its mode that a log-concave radius does not reach."""


class Confined(WithGradient, nn.Module):
    """Confinement: ``E(x) + V(|W(x-m)|)``, so that ``Z`` is finite from the first step.

    ``V(r) = r²/(2s²) + (r-R)₊²/(2w²)`` with ``WᵀW = C⁻¹``. Its first part is that of a Gaussian
    wider than the data, which alone leaves mass where no data are: too little for particles to
    find, and much in ``KL(model‖data)``. The second takes it away beyond the farthest point. While
    E is zero this is the energy of the law that `reference` draws from, which without an extent
    is ``N(m, s²C)``.

    Args:
        energy: the free part, growing slower than quadratically.
        scale: ``s``, in the units of x, or a pure number with ``covariance``.
        center: ``m``, default the origin.
        covariance: ``C`` of flattened events, (d, d), positive definite; default the identity.
        extent: ``R`` and ``w``, in whitened coordinates; None for the Gaussian alone.
    """

    center: Tensor
    whitener: Tensor | None
    extent: Tensor | None

    def __init__(
        self,
        energy: Energy,
        scale: float,
        center: Tensor | float = 0.0,
        covariance: Tensor | None = None,
        extent: Extent | None = None,
    ) -> None:
        super().__init__()
        check_positive(scale=scale)
        self.energy = as_module(energy)
        self.scale = scale
        self.register_buffer("center", torch.as_tensor(center, dtype=torch.float64))
        self.register_buffer("whitener", None if covariance is None else _whitener(covariance))
        self.register_buffer("extent", None if extent is None else _checked(extent))

    def forward(self, x: Points) -> Values:
        """``E(x) + V(|W(x-m)|)``."""
        u = rows(self._centered(x))
        if self.whitener is not None:
            u = u @ self.whitener.to(x.dtype).T
        return self.energy(x) + self._potential(u.square().sum(1))

    def value_and_grad(self, x: Points) -> tuple[Values, Points] | None:
        """With ``∇E(x) + V'(r)/r WᵀW(x-m)``, if the free part knows its gradient."""
        if (free := own_gradient(self.energy, x)) is None:
            return None
        u = slope = rows(self._centered(x))
        if self.whitener is not None:
            whitener = self.whitener.to(x.dtype)
            u = u @ whitener.T
            slope = u @ whitener
        squared = dot_event(u, u)
        if self.extent is None:
            steepness = 1 / self.scale**2
            value = free[0].add(squared, alpha=steepness / 2)
            return value, free[1].add(shaped(slope, x), alpha=steepness)
        slope = slope * self._steepness(squared)[:, None]
        return free[0] + self._potential(squared), free[1] + shaped(slope, x)

    def reference(
        self, like: Tensor, count: int, *, generator: Rng = None
    ) -> tuple[Points, Values]:
        """``count`` draws shaped like the points of ``like``, of the law of E = 0, and its log."""
        d = like[0].numel()
        if self.extent is None:
            u = torch.randn(count, d, generator=generator, device=like.device, dtype=like.dtype)
            u, log_z = self.scale * u, d * math.log(self.scale * math.sqrt(2 * math.pi))
        else:
            law = self._radial(d, *self.extent.tolist())
            u, log_z = law.sample(like, count, generator=generator), law.log_z
        log_q = -self._potential(u.square().sum(1)) - log_z
        if self.whitener is not None:
            w = self.whitener.double()
            u = torch.linalg.solve_triangular(w, u.T.double(), upper=False).T.to(u)
            log_q = log_q + float(w.diagonal().log().sum())
        return self.center.to(like.dtype) + u.reshape(count, *like.shape[1:]), log_q

    def _centered(self, x: Points) -> Points:
        """``x - m``; a scalar m has the dtype of x by itself, and few chains wait for a cast."""
        return x - (self.center.to(x.dtype) if self.center.ndim else self.center)

    def _potential(self, squared: Values) -> Values:
        """``V(r)`` of ``r²``; its gradient is zero, not undefined, at r = 0."""
        gaussian = squared / (2 * self.scale**2)
        if self.extent is None:
            return gaussian
        radius, width = self.extent.to(squared.dtype)
        beyond = squared.clamp(min=radius**2).sqrt() - radius
        return gaussian + beyond.square() / (2 * width**2)

    def _steepness(self, squared: Values) -> Values:
        """``V'(r)/r`` of ``r²``."""
        assert self.extent is not None
        radius, width = self.extent.to(squared.dtype)
        beyond = 1 - radius / squared.clamp(min=radius**2).sqrt()
        return 1 / self.scale**2 + beyond / width**2

    def _radial(self, dim: int, radius: float, width: float) -> Radial:
        # Beyond R the width is at most w, around a mode of at most R + √d w.
        far = math.sqrt(dim) + TAIL
        reach = min(self.scale * far, radius + width * far)
        return Radial.of(lambda r: self._potential(r.square()), dim, reach)


def _checked(extent: Extent) -> Tensor:
    check_positive(**extent._asdict())
    return torch.tensor(extent, dtype=torch.float64)


def _whitener(covariance: Tensor) -> Tensor:
    """Lower triangular W with ``WᵀW = C⁻¹``; ValueError unless C is positive definite."""
    factor, info = torch.linalg.cholesky_ex(torch.as_tensor(covariance, dtype=torch.float64))
    if int(info) or covariance.ndim != 2:
        raise ValueError(
            "`covariance` must be a positive definite matrix: "
            f"got one of shape {tuple(covariance.shape)} that is not."
        )
    eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye, upper=False)
