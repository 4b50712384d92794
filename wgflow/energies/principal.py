"""The principal axes of data, and what a network learns from coordinates along them."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._tensor import Points, Values
from wgflow.data.moments import Spectrum, spectrum_of
from wgflow.energies.base import Callback, Sum
from wgflow.energies.layers import linear, linear_zero, squash
from wgflow.energies.microbatch import whole

WIDTH = 256
"""Hidden units."""

CONTRAST = 0.15
"""c of `contrasted` that serves images."""


class Principal(nn.Module):
    """Mean m, orthonormal axes a_k and variances v_k of the data along them, the largest.

    And r, the mean of the variances along all other axes: what of a covariance can be kept for
    little (probabilistic principal components, Tipping and Bishop 1999).

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
    ):
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

        Squashed as pixels are, so that all that is told of it is bounded.
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
        """``√(v_k - r) a_k``, (count, *event): what the axes have more than the others."""
        # Of few images some axes have no more than the others, and less by rounding.
        more = (self.variances - self.rest).clamp(min=0).sqrt()
        return torch.einsum("k,k...->k...", more, self.axes)


class Overview(nn.Module):
    """What is seen of a whole image at a glance, however much noise it has: a perceptron.

    Where there is more noise than image, all that can be told are a few numbers that sum over
    every pixel with its own weight: matched filters.

    Args:
        coordinates: how many it sees.
        waves: in which it is told the level.
        told: what it tells the blocks of a U-Net.
        generator: source of the initial weights.
    """

    def __init__(
        self, coordinates: int, waves: int, told: int, generator: torch.Generator | None = None
    ):
        super().__init__()
        self.first = linear(coordinates + waves, WIDTH, generator)
        self.second = linear(WIDTH, WIDTH, generator)
        self.told, self.worth = linear_zero(WIDTH, told), linear_zero(WIDTH, 1)

    def forward(self, z: Tensor, waves: Tensor) -> tuple[Tensor, Values]:
        """What blocks are told, (batch, told), and a term of the energy; zero at first."""
        h = F.silu(self.second(F.silu(self.first(torch.cat([z, waves], 1)))))
        return self.told(h), self.worth(h).squeeze(1)


def principal_of(energy: Any) -> Principal | None:
    """The principal axes that an energy knows, a product's first; None if there are none."""
    if not isinstance(energy, nn.Module):
        return None
    return next((part for part in energy.modules() if isinstance(part, Principal)), None)


def contrasted(energy: Any, contrast: float) -> Any:
    """``(1+c) E - c E_0`` at every level, E_0 of the Gaussian of the data's principal moments.

    A network that still learns is between what it learns first, which are the moments, and what it
    should learn; so this goes on a little further in the same direction. It is what autoguidance
    does with a worse network of the same kind (Karras et al. 2024), by the worst one, which is
    known without learning and asks for no evaluation.

    Args:
        energy: E of x and the level.
        contrast: c ≥ 0; 0 for E itself.

    Raises:
        ValueError: c is negative, or the energy knows no principal moments.
    """
    if not 0 <= contrast < math.inf:
        raise ValueError(f"A contrast must not be negative: expected ≥ 0, got {contrast}.")
    if not contrast:
        return energy
    if not contrastable(energy):
        raise ValueError(
            "A contrast is to the Gaussian of the data's principal moments: expected an energy "
            f"that knows them, as kind noisy-unet with principal > 0 does, or 0, got {contrast}."
        )
    principal = principal_of(whole(energy))
    assert principal is not None
    return Sum([energy, Callback(principal.gaussian)], [1 + contrast, -contrast])


def contrastable(energy: Any) -> bool:
    """Whether an energy knows the principal moments of its data."""
    principal = principal_of(whole(energy))
    return principal is not None and principal.known
