"""Distributions in the plane with an exact log-density, and the registry of toy sets."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import LOG_2PI, Dtype, GaussianMixture, Target, TargetMixture

ENTRIES = 2**22  # of the largest (points, nodes) table that a quadrature holds at once


class Banana(Target):
    """``x_1 = s z_1``, ``x_2 = w z_2 + b (x_1² - s²)``: a Gaussian sheared, mean 0, normalised.

    Args:
        scale: ``s``, the length.
        width: ``w``.
        curvature: ``b``.
    """

    def __init__(self, scale: float = 1.0, width: float = 0.5, curvature: float = 1.0) -> None:
        super().__init__(2)
        check_positive(scale=scale, width=width)
        self.scale = scale
        self.width = width
        self.curvature = curvature

    def energy(self, x: Points) -> Values:
        """``½ z_1² + ½ z_2² + log(2πsw)``: the shear preserves volume."""
        z1 = x[:, 0] / self.scale
        z2 = (x[:, 1] - self._bend(x[:, 0])) / self.width
        return 0.5 * (z1**2 + z2**2) + LOG_2PI + math.log(self.scale * self.width)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """The shear of ``z ~ N(0, I)``."""
        z = self._noise(n, dtype, generator)
        x1 = self.scale * z[:, 0]
        return torch.stack([x1, self.width * z[:, 1] + self._bend(x1)], 1)

    def _bend(self, x1: Tensor) -> Tensor:
        return self.curvature * (x1**2 - self.scale**2)


class Ring(Target):
    """A uniform angle on the circle of radius r, plus noise ``N(0, σ²I)``; normalised, in R².

    ``p(x) = exp(-(ρ-r)²/2σ²) I₀ₑ(ρr/σ²) / (2πσ²)`` with ``ρ = |x|`` and
    ``I₀ₑ(t) = e^{-t} I₀(t)``.

    Args:
        radius: ``r ≥ 0``.
        std: ``σ``.
    """

    def __init__(self, radius: float, std: float) -> None:
        super().__init__(2)
        check_nonnegative(radius=radius)
        check_positive(std=std)
        self.radius = radius
        self.std = std

    def energy(self, x: Points) -> Values:
        """``(ρ-r)²/2σ² - log I₀ₑ(ρr/σ²) + log 2πσ²``."""
        rho = torch.linalg.vector_norm(x, dim=1)
        bessel = torch.special.i0e(rho * self.radius / self.std**2)
        exponent = 0.5 * ((rho - self.radius) / self.std) ** 2
        return exponent - bessel.log() + LOG_2PI + 2 * math.log(self.std)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = r (cos φ, sin φ) + σ z``."""
        z = self._noise(n, dtype, generator)
        turn = torch.rand(n, dtype=dtype, device=z.device, generator=generator)
        phi = 2 * math.pi * turn
        return self.radius * torch.stack([phi.cos(), phi.sin()], 1) + self.std * z


class Curve(Target):
    """A uniform parameter on a smooth curve, plus noise ``N(0, σ²I)``; normalised.

    ``p(x) = ∫₀¹ N(x; c(t), σ²I) dt`` by composite Gauss-Legendre quadrature: ten nodes on each
    piece of the curve no longer than 1.5σ keep the error of ``log p`` below 1e-6 within 10σ.

    Args:
        curve: ``c``, smooth, from parameters (n,) in [0, 1] to points (n, d).
        std: ``σ``.
    """

    nodes: Tensor
    log_weights: Tensor

    def __init__(self, curve: Callable[[Tensor], Tensor], std: float) -> None:
        check_positive(std=std)
        t, log_weights = _gauss_legendre(_pieces(curve, std))
        nodes = curve(t)
        super().__init__(nodes.shape[1])
        self.curve = curve
        self.std = std
        self.register_buffer("nodes", nodes)
        self.register_buffer("log_weights", log_weights)

    def energy(self, x: Points) -> Values:
        """``-log Σ_j w_j N(x; c(t_j), σ²I)``, in chunks of points."""
        chunks = x.split(max(1, ENTRIES // len(self.nodes)))
        log_norm = self.dim * (0.5 * LOG_2PI + math.log(self.std))
        return log_norm - torch.cat([self._log_sum(chunk) for chunk in chunks])

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = c(t) + σ z`` with ``t ~ U[0, 1]``."""
        z = self._noise(n, dtype, generator)
        t = torch.rand(n, dtype=dtype, device=z.device, generator=generator)
        return self.curve(t) + self.std * z

    def _log_sum(self, x: Tensor) -> Tensor:
        u = (x[:, None] - self.nodes.to(x.dtype)) / self.std
        return torch.logsumexp(self.log_weights.to(x.dtype) - 0.5 * u.square().sum(2), 1)


class Checkerboard(Target):
    """Uniform on the 8 dark unit cells of ``[-2, 2)²``: ``p = 1/8`` where ``⌊x⌋ + ⌊y⌋`` is even.

    The energy is infinite on the light cells and outside; its gradient is zero.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def energy(self, x: Points) -> Values:
        """``log 8`` on dark cells, ``inf`` elsewhere."""
        cell = x.floor()
        dark = (cell.sum(1) % 2 == 0) & (cell.abs() <= 2).all(1) & (x < 2).all(1)
        flat = 0 * x.sum(1)  # constant, but part of the graph, so that ∇E exists and is zero
        return flat + math.log(8) + torch.zeros_like(flat).masked_fill(~dark, math.inf)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """A uniform point of a uniform dark cell."""
        device = self.origin.device
        cell = torch.randint(8, (n,), device=device, generator=generator)
        row = cell // 2
        corner = torch.stack([2 * (cell % 2) + row % 2, row], 1) - 2
        # Midpoints of a lattice, exact in single precision: a uniform float could round up and
        # leave its cell, where the density is zero.
        fine = torch.randint(2**22, (n, 2), device=device, generator=generator)
        return corner + (fine.to(dtype or torch.get_default_dtype()) + 0.5) / 2**22


class Pinwheel(Target):
    """Gaussian arms around the origin, turned by the angle ``κρ²`` at radius ρ; normalised.

    A rotation by an angle that depends on the radius alone preserves area, so
    ``p(x) = q(R(-κ|x|²) x)`` with ``q`` the mixture of straight arms. In ``ρ²`` it is smooth at 0.

    Args:
        arms: number of arms, equally weighted.
        radius: distance of their centres from the origin.
        length: standard deviation along an arm.
        width: standard deviation across an arm.
        twist: ``κ``, in radians per unit of area.
    """

    def __init__(
        self,
        arms: int = 5,
        *,
        radius: float = 2.0,
        length: float = 0.6,
        width: float = 0.2,
        twist: float = 0.15,
    ) -> None:
        super().__init__(2)
        check_positive(arms=arms)
        spokes = _rotation(2 * math.pi * torch.arange(arms, dtype=torch.float64) / arms)
        square = torch.tensor([length**2, width**2], dtype=torch.float64).diag()
        covariances = spokes @ square @ spokes.mT
        self.straight = GaussianMixture(radius * spokes[:, :, 0], covariances=covariances)
        self.twist = twist

    def energy(self, x: Points) -> Values:
        """``-log q(R(-κ|x|²) x)``."""
        return self.straight(self._turn(x, -self.twist))

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = R(κ|u|²) u`` with ``u ~ q``."""
        u = self.straight.sample(n, dtype=dtype, generator=generator)
        return self._turn(u, self.twist)

    def _turn(self, x: Tensor, twist: float) -> Tensor:
        angle = twist * x.square().sum(1)
        return (_rotation(angle) @ x[:, :, None])[:, :, 0]


def moons() -> TargetMixture:
    """Two unit half-circles, the second offset by (1, ½) and turned; noise 0.1; mean near 0."""

    def half_circle(sign: float) -> Callable[[Tensor], Tensor]:
        def arc(t: Tensor) -> Tensor:
            phi = math.pi * t
            return sign * torch.stack([phi.cos() - 0.5, phi.sin() - 0.25], 1)

        return arc

    return TargetMixture([Curve(half_circle(sign), 0.1) for sign in (1.0, -1.0)])


def eight_gaussians() -> GaussianMixture:
    """Eight Gaussians of std 0.15 on the circle of radius 2, equal weights."""
    phi = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    return GaussianMixture(2 * torch.stack([phi.cos(), phi.sin()], 1), 0.15)


def twenty_five_gaussians() -> GaussianMixture:
    """Gaussians of std 0.1 on the grid {-2, ..., 2}², equal weights."""
    axis = torch.arange(-2.0, 3.0)
    return GaussianMixture(torch.cartesian_prod(axis, axis), 0.1)


def rings() -> TargetMixture:
    """Circles of radius 1, 2 and 3 with noise 0.1, equal weights."""
    return TargetMixture([Ring(radius, 0.1) for radius in (1.0, 2.0, 3.0)])


def two_spirals() -> TargetMixture:
    """Two arms ``±θ (cos θ, -sin θ)/3``, θ from π/2 to 3π, θ² uniform; noise 0.1.

    With θ² uniform the points lie nearly evenly along the arms.
    """

    def arm(sign: float) -> Callable[[Tensor], Tensor]:
        def spiral(t: Tensor) -> Tensor:
            theta = math.pi * (0.25 + t * (9 - 0.25)).sqrt()
            return sign * (theta / 3)[:, None] * torch.stack([theta.cos(), -theta.sin()], 1)

        return spiral

    return TargetMixture([Curve(arm(sign), 0.1) for sign in (1.0, -1.0)])


def swiss_roll() -> Curve:
    """``θ (cos θ, sin θ)/5``, θ uniform in [3π/2, 9π/2]; noise 0.1."""

    def roll(t: Tensor) -> Tensor:
        theta = 1.5 * math.pi * (1 + 2 * t)
        return (theta / 5)[:, None] * torch.stack([theta.cos(), theta.sin()], 1)

    return Curve(roll, 0.1)


TOYS: dict[str, Callable[[], Target]] = {
    "moons": moons,
    "eight-gaussians": eight_gaussians,
    "twenty-five-gaussians": twenty_five_gaussians,
    "checkerboard": Checkerboard,
    "rings": rings,
    "pinwheel": Pinwheel,
    "two-spirals": two_spirals,
    "swiss-roll": swiss_roll,
}
"""Name of a toy set -> its target."""


def _rotation(angle: Tensor) -> Tensor:
    """Rotation matrices, ``(batch,) -> (batch, 2, 2)``."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _pieces(curve: Callable[[Tensor], Tensor], std: float) -> int:
    """The number of equal intervals of the parameter whose arcs are no longer than 1.5σ."""
    t = torch.linspace(0, 1, 4097, dtype=torch.float64)
    speed = torch.linalg.vector_norm(curve(t).diff(dim=0), dim=1).max() * 4096
    return max(1, math.ceil(float(speed) / (1.5 * std)))


def _gauss_legendre(pieces: int, order: int = 10) -> tuple[Tensor, Tensor]:
    """Nodes and log-weights on [0, 1], shape (pieces * order,)."""
    u, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(order))
    start = torch.arange(pieces, dtype=torch.float64)[:, None]
    nodes = (start + (u + 1) / 2) / pieces
    return nodes.flatten(), (w / 2 / pieces).log().expand(pieces, order).flatten()
