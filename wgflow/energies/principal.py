"""The principal axes of data, and what a network learns from coordinates along them."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._check import check_nonnegative
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.moments import Spectrum, spectrum_of
from wgflow.energies.base import Callback, Sum
from wgflow.energies.layers import linear, linear_zero, squash
from wgflow.energies.microbatch import full_batch

WIDTH = 256
"""Hidden units."""

AUTOGUIDANCE = 0.15
"""c of `autoguided` that suits images."""


class Principal(nn.Module):
    """Mean m, orthonormal axes a_k and variances v_k of the data along them, the largest.

    And r, the mean of the variances along all other axes: a covariance in little memory
    (probabilistic principal components, Tipping and Bishop 1999).

    Args:
        event_shape: of a point.
        count: how many axes.
        covariance: of flattened points, (d, d), or its leading axes; None for none, all zero.
        center: m, of the shape of a point; None for zero.
    """

    center: Tensor
    axes: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        count: int,
        covariance: Tensor | Spectrum | None,
        center: Tensor | None,
    ) -> None:
        super().__init__()
        variances, axes = torch.zeros(count), torch.zeros(count, *event_shape)
        rest = torch.zeros(())
        if isinstance(covariance, Tensor):
            covariance = spectrum_of(covariance, count)
        if covariance is not None:
            variances, axes, rest = (each.float() for each in covariance)
            axes = axes.reshape(-1, *event_shape)
        center = torch.zeros(event_shape) if center is None else center.float()
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)
        self.register_buffer("rest", rest)

    def forward(self, x: Points, level: Values) -> Tensor:
        """``⟨a_k, x - m⟩/√(v_k + σ²)``, (batch, count), of unit variance at every level λ.

        Squashed as pixels are, so that what the network sees is bounded.
        """
        along = (x - self.center).flatten(1) @ self.axes.flatten(1).T
        return squash(along / (self.variances + level.exp()[:, None]).sqrt())

    def gaussian(self, x: Points, level: Values) -> Values:
        """``-log N(x; m, Σ_k v_k a_k a_kᵀ + r (I - Σ_k a_k a_kᵀ) + σ²I)``, (batch,)."""
        flat, d = (x - self.center).flatten(1), x[0].numel()
        with torch.autocast(x.device.type, enabled=False):  # a small difference of large numbers
            along = flat @ self.axes.flatten(1).T
        inside, outside = self.variances + level.exp()[:, None], self.rest + level.exp()
        square = along**2
        across = flat.square().sum(1) - square.sum(1)
        size = (
            inside.log().sum(1) + (d - len(self.axes)) * outside.log() + d * math.log(2 * math.pi)
        )
        return ((square / inside).sum(1) + across / outside + size) / 2

    @property
    def known(self) -> bool:
        """Whether there are any moments."""
        return bool(self.variances.any())

    @property
    def deviations(self) -> Tensor:
        """``√(v_k - r) a_k``, (count, *event): the excess over the variance of other axes."""
        # With few images some axes have no more variance than the others, and less by rounding.
        more = (self.variances - self.rest).clamp(min=0).sqrt()
        return torch.einsum("k,k...->k...", more, self.axes)


class PrincipalEmbedding(nn.Module):
    """A perceptron of the principal coordinates of an image and of its noise level.

    Where there is more noise than image, all that is known about the image are a few sums over
    all pixels, each with its own weight: matched filters.

    Args:
        coordinates: their number.
        waves: numbers that the level is embedded in.
        conditions: length of the conditioning vector of a U-Net.
        generator: source of the initial weights.
    """

    def __init__(
        self, coordinates: int, waves: int, conditions: int, generator: Rng = None
    ) -> None:
        super().__init__()
        self.first = linear(coordinates + waves, WIDTH, generator)
        self.second = linear(WIDTH, WIDTH, generator)
        self.conditioning, self.energy = linear_zero(WIDTH, conditions), linear_zero(WIDTH, 1)

    def forward(self, z: Tensor, waves: Tensor) -> tuple[Tensor, Values]:
        """Part of the conditioning vector, (batch, conditions), and of the energy; both zero at
        first.
        """
        h = F.silu(self.second(F.silu(self.first(torch.cat([z, waves], 1)))))
        return self.conditioning(h), self.energy(h).squeeze(1)


def principal_of(energy: Any) -> Principal | None:
    """The principal axes that an energy knows, of a product the first; None if there are none."""
    plain = full_batch(energy)
    modules = plain.modules() if isinstance(plain, nn.Module) else ()
    return next((part for part in modules if isinstance(part, Principal)), None)


def knows_moments(energy: Any) -> bool:
    """Whether an energy knows the principal moments of its data."""
    principal = principal_of(energy)
    return principal is not None and principal.known


def autoguided(energy: Any, scale: float) -> Any:
    """``(1+c) E - c E_0`` at every level, E_0 of the Gaussian of the data's principal moments.

    A network that still learns lies between the moments, which it learns first, and what it
    should learn; so this extrapolates in the same direction. It is autoguidance (Karras et al.
    2024), which guides by a worse network of the same kind, with the Gaussian as the worst one: it
    needs no learning and no evaluation of a network.

    Args:
        energy: E of x and the level.
        scale: c ≥ 0; 0 for E itself.

    Raises:
        ValueError: c is negative, or the energy knows no principal moments.
    """
    check_nonnegative(autoguidance=scale)
    if not scale:
        return energy
    principal = principal_of(energy)
    if principal is None or not principal.known:
        raise ValueError(
            "`autoguidance` must be 0 for an energy that does not know the data's principal "
            f"moments, as kind noisy-unet with principal > 0 does: got {scale}."
        )
    return Sum([energy, Callback(principal.gaussian)], [1 + scale, -scale])
