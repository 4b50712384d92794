"""A perceptron of points and noise levels, zero at first."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians
from wgflow.energies.layers import linear

WAVES = 8
"""Frequencies that a level is embedded in, from a tenth to one per unit of log σ."""


class Residual(nn.Module):
    """``s(u, λ)`` with ``u = (C + σ²I)^{-1/2} (x - m)``, λ = log σ².

    A perceptron with skip connections on u, of unit variance, learned Fourier features of it and
    those of the level. It grows at most linearly, so that the normaliser of a Gaussian mixture
    times ``e^{-s}`` is finite.

    A feature is of one column of x at first, ``cos(b x_j)`` where noise is small, b ~ N(0, σ²):
    columns of tables have edges, gaps and peaks of their own, which phases across all columns,
    ``cos(b·x)``, tell only many at a time (periodic embeddings of numbers, Gorishniy, Rubachev
    and Babenko 2022).

    Args:
        gaussian: m and C, as a mixture of one.
        features: number of frequencies, as many for each coordinate.
        frequency: the deviation of a phase on data of unit variance, in radians.
        hidden: units of each hidden layer.
        generator: source of the initial weights.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(
        self,
        gaussian: Gaussians,
        features: int,
        frequency: float,
        hidden: list[int],
        *,
        generator: Rng = None,
    ) -> None:
        super().__init__()
        variances, axes = torch.linalg.eigh(gaussian.covariances[0])
        self.register_buffer("mean", gaussian.means[0])
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)
        dim = len(self.mean)
        each = torch.eye(dim).repeat(1, features // dim)
        along = each * torch.randn(features, generator=generator)
        # The axes turn u: this turns it back, where noise is small.
        turned = (variances.clamp(min=0).sqrt()[:, None] * axes.T).float()
        self.frequencies = nn.Parameter(frequency * (turned @ along))
        sizes = [dim + 2 * features + 2 * WAVES, *hidden]
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in itertools.pairwise(sizes))
        self.head = nn.Parameter(torch.zeros(hidden[-1]))

    def forward(self, x: Points, level: Values) -> Values:
        """``s(u, λ)``, (batch,)."""
        centered = x.flatten(1) - self.mean.to(x.dtype)
        spread = self.variances.to(x.dtype) + level.exp()[:, None]
        u = centered @ self.axes.to(x.dtype) / spread.sqrt()
        phase = u @ self.frequencies
        turns = torch.linspace(0.1, 1.0, WAVES, dtype=x.dtype, device=x.device)
        angle = level[:, None] / 2 * turns
        h = torch.cat([u, phase.cos(), phase.sin(), angle.cos(), angle.sin()], 1)
        first, *others = self.layers
        h = F.silu(first(h))
        for layer in others:
            h = h + F.silu(layer(h))
        return h @ self.head
