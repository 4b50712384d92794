"""Dual score matching: both derivatives of the energy along the heat flow, free of simulation."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wgflow._tensor import per_point, sum_event
from wgflow.energy import Energy
from wgflow.levels import Levels, derivatives
from wgflow.parts import whole
from wgflow.samplers.base import check_fraction, check_positive
from wgflow.schemes.base import Loss, Scheme
from wgflow.schemes.matching import Paths


@dataclass(frozen=True)
class DualScoreMatching(Scheme[Paths]):
    """``L(θ) = E[(1+σ)²|σ∇E - ξ|² + a (∂E/∂λ - (d-|ξ|²)/2)²]`` at ``x = x_0 + σξ``, λ = log σ².

    After Guth, Kadkhodaie and Simoncelli (2025). Data x_0 with noise of every level σ are the heat
    flow, the Wasserstein gradient flow of the entropy; ``∇E = ξ/σ`` and ``∂E/∂λ = (d-|ξ|²)/2``
    hold in the mean given x if and only if E is the energy of its laws, up to one constant for
    all. Where ``∇E`` sees a law only locally, ``∂E/∂λ`` tells how much mass flows between levels:
    wells that are far apart are joined where the noise is wide, and so are their depths. The first
    term alone bounds the global relative entropy by the integral of its dissipation.

    Of the levels, a share ``uniform`` is uniform in λ, and the others are those of straight paths
    between noise and data, ``σ = (1-t)/t`` with t uniform.

    Args:
        time_weight: a > 0.
        uniform: in [0, 1].
        inner_steps: optimiser steps per learning step, each with fresh noise and levels.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    noises: ClassVar[bool] = True

    time_weight: float = 0.02
    uniform: float = 0.25
    inner_steps: int = 1

    def __post_init__(self):
        check_positive(
            "DualScoreMatching", time_weight=self.time_weight, inner_steps=self.inner_steps
        )
        check_fraction("DualScoreMatching", uniform=self.uniform)

    def init(self, energy, batch, *, generator=None) -> Paths:
        """The first batch."""
        levels_of(energy)
        return Paths(batch, {})

    def loss(self, energy: Energy, carry: Paths, *, generator=None) -> Loss:
        """The regression of both derivatives, a mean over points."""
        x, d = carry.batch, carry.batch[0].numel()
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        level = self.draw(levels_of(energy), x, generator=generator)
        sigma = (level / 2).exp()
        y = x + per_point(sigma, x) * noise
        _, grad, rate = derivatives(energy, y, level, create_graph=True)
        space = sum_event((per_point(sigma, x) * grad - noise) ** 2)
        time = (rate - (d - sum_event(noise**2)) / 2) ** 2
        value = ((1 + sigma) ** 2 * space + self.time_weight * time).mean()
        metrics = {"space": space.detach().mean() / d, "time": time.detach().mean() / d}
        return Loss(value, metrics)

    def advance(self, energy, batch, carry, *, generator=None) -> Paths:
        """The next batch."""
        return Paths(batch, {})

    def draw(self, levels: Levels, x: Tensor, *, generator=None) -> Tensor:
        """Levels λ for the points of x, (batch,), the uniform ones first."""
        z = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        count = round(self.uniform * len(x))
        low, high = math.log(levels.lowest), math.log(levels.highest)
        first, last = 1 / (1 + levels.highest), 1 / (1 + levels.lowest)
        t = first + (last - first) * z[count:]
        return 2 * torch.cat([low + (high - low) * z[:count], ((1 - t) / t).log()])


def levels_of(energy: Energy) -> Levels:
    """The levels of noise that an energy knows.

    Raises:
        ValueError: it knows none.
    """
    found = getattr(whole(energy), "levels", None)
    if not isinstance(found, Levels):
        raise ValueError(
            "Dual score matching learns energies of levels of noise: expected an energy with "
            f"levels, such as kind noisy-unet, got {type(whole(energy)).__name__}."
        )
    return found
