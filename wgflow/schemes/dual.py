"""Dual score matching: both derivatives of the energy along the heat flow, free of simulation."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import per_point, sum_event
from wgflow.energies.base import Energy
from wgflow.energies.noise_levels import NoiseLevels, derivatives, levels_of
from wgflow.schemes.base import Loss, Scheme


class RecentBatch(NamedTuple):
    """What dual score matching carries: the data of this step, and of those before it.

    Attributes:
        batch: data of this step, (batch, *event).
        seen: they and the data of the latest steps, (count, *event); None where they are not used.
    """

    batch: Tensor
    seen: Tensor | None
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class DualScoreMatching(Scheme[RecentBatch]):
    """``L(θ) = E[(1+σ)²|σ∇E - ξ|² + a (∂E/∂λ - (d-|ξ|²)/2)²]`` at ``x = x_0 + σξ``, λ = log σ².

    After Guth, Kadkhodaie and Simoncelli (2025). Data x_0 with noise of every level σ are the heat
    flow, the Wasserstein gradient flow of the entropy; ``∇E = ξ/σ`` and ``∂E/∂λ = (d-|ξ|²)/2``
    hold in the mean given x if and only if E is the energy of its distributions, up to one
    constant for all. While ``∇E`` is local, ``∂E/∂λ`` is the mass that flows between levels: modes
    that are far apart are joined where the noise is wide, which fixes their relative depths. The
    first term alone bounds the global relative entropy by the integral of its dissipation.

    Where noise is wide, x could have come from many points of the data, and ξ has a high variance.
    So ξ and |ξ|² are replaced by their means over the latest points seen, each as probable as the
    noise that leads from it to x (after Xu, Tong and Jaakkola 2023): the gradient is the same in
    the mean, with less noise (Rao and Blackwell).

    Of the levels, a share ``uniform`` is uniform in λ, and the others are those of straight paths
    between noise and data, ``σ = (1-t)/t`` with t uniform.

    Args:
        time_weight: a > 0.
        uniform: in [0, 1].
        recent: how many of the latest points are kept for it; 0 for the noise itself.
        inner_steps: optimiser steps per learning step, each with fresh noise and levels.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    time_weight: float = 0.02
    uniform: float = 0.25
    recent: int = 4096
    inner_steps: int = 1

    def __post_init__(self) -> None:
        check_positive(time_weight=self.time_weight, inner_steps=self.inner_steps)
        check_fraction(uniform=self.uniform)
        check_nonnegative(recent=self.recent)

    @property
    def carry_types(self) -> tuple[type, ...]:
        """The latest data."""
        return (RecentBatch,)

    @property
    def adds_noise(self) -> bool:
        """It does."""
        return True

    @property
    def learns_levels(self) -> bool:
        """It does."""
        return True

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> RecentBatch:
        """The first batch."""
        levels_of(energy)
        return RecentBatch(batch, batch if self.recent else None, {})

    def loss(self, energy: Energy, carry: RecentBatch, *, generator: Rng = None) -> Loss:
        """The regression of both derivatives, a mean over points."""
        x, d = carry.batch, carry.batch[0].numel()
        noise = noise_like(x, generator=generator)
        level = self.draw(levels_of(energy), x, generator=generator)
        sigma = (level / 2).exp()
        y = x + per_point(sigma, x) * noise
        square = sum_event(noise**2)
        if carry.seen is not None:
            noise, square = expected_noise(y, sigma, carry.seen)
        _, grad, rate = derivatives(energy, y, level, create_graph=True)
        space = sum_event((per_point(sigma, x) * grad - noise) ** 2)
        time = (rate - (d - square) / 2) ** 2
        value = ((1 + sigma) ** 2 * space + self.time_weight * time).mean()
        metrics = {"space": space.detach().mean() / d, "time": time.detach().mean() / d}
        return Loss(value, metrics)

    def advance(
        self, energy: Energy, batch: Tensor, carry: RecentBatch, *, generator: Rng = None
    ) -> RecentBatch:
        """The next batch."""
        if carry.seen is None:
            return RecentBatch(batch, None, {})
        count = max(self.recent, len(batch))
        return RecentBatch(batch, torch.cat([batch, carry.seen])[:count], {})

    def draw(self, levels: NoiseLevels, x: Tensor, *, generator: Rng = None) -> Tensor:
        """Levels λ for the points of x, (batch,), the uniform ones first."""
        z = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        count = round(self.uniform * len(x))
        low, high = math.log(levels.lowest), math.log(levels.highest)
        first, last = 1 / (1 + levels.highest), 1 / (1 + levels.lowest)
        t = first + (last - first) * z[count:]
        return 2 * torch.cat([low + (high - low) * z[:count], ((1 - t) / t).log()])


def expected_noise(y: Tensor, sigma: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """``E[ξ | y]``, (batch, *event), and ``E[|ξ|² | y]``, (batch,), for ``y = x_0 + σξ``.

    x_0 is any of the data with equal chances, so each is weighted by ``exp(-|y - x_i|²/(2σ²))``.

    Args:
        y: points with noise, (batch, *event).
        sigma: of each, (batch,).
        data: what may be under the noise, (count, *event).
    """
    flat, points = y.flatten(1), data.flatten(1)
    products = flat @ points.T
    square = flat.square().sum(1, True) - 2 * products + points.square().sum(1)
    weights = (-square / (2 * sigma[:, None] ** 2)).softmax(1)
    noise = (flat - weights @ points) / sigma[:, None]
    return noise.reshape(y.shape), (weights * square).sum(1) / sigma**2
