"""The principal axes of data, and what a network learns from coordinates along them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._tensor import Points, Values
from wgflow.image_layers import linear, linear_zero, squash

WIDTH = 256
"""Hidden units."""


class Principal(nn.Module):
    """Mean m, orthonormal axes a_k and variances v_k of the data along them, the largest.

    Args:
        event_shape: of a point.
        count: how many axes.
        covariance: of flattened points, (d, d); None for no axes, all zero.
        center: m, of the shape of a point; None for zero.
    """

    center: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        count: int,
        covariance: Tensor | None,
        center: Tensor | None,
    ):
        super().__init__()
        variances, axes = torch.zeros(count), torch.zeros(count, *event_shape)
        if covariance is not None:
            found, columns = torch.linalg.eigh(covariance)
            variances = found.flip(0)[:count].float()
            axes = columns.flip(1)[:, :count].T.reshape(-1, *event_shape).float()
        center = torch.zeros(event_shape) if center is None else center.float()
        self.register_buffer("center", center)
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)

    def forward(self, x: Points, level: Values) -> Tensor:
        """``⟨a_k, x - m⟩/√(v_k + σ²)``, (batch, count), of unit variance at every level λ.

        Squashed as pixels are, so that all that is told of it is bounded.
        """
        along = (x - self.center).flatten(1) @ self.axes.flatten(1).T
        return squash(along / (self.variances + level.exp()[:, None]).sqrt())

    @property
    def deviations(self) -> Tensor:
        """``√v_k a_k``, (count, *event)."""
        return torch.einsum("k,k...->k...", self.variances.sqrt(), self.axes)


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
