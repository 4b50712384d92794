"""The heat flow ``p_σ = p * N(0, σ²I)`` backwards: steps from noise to less noise.

The energies are noise-conditional, `wgflow.energies.noise_levels`; λ = log σ².
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, Values
from wgflow.energies.base import energy_and_grad
from wgflow.energies.mixture import NoisyMixture, mixture_of
from wgflow.energies.noise_levels import At, NoiseLevels, denoised
from wgflow.energies.principal import principal_of
from wgflow.likelihood.annealing import STEP
from wgflow.samplers.langevin import MALA, LangevinState


class MixtureStart(NamedTuple):
    """The highest level itself, of an energy that starts from a mixture of Gaussians.

    Attributes:
        mixture: of all levels.
        like: a point, (1, *event).
        sigma: of the highest level.
    """

    mixture: NoisyMixture
    like: Points
    sigma: float

    @property
    def center(self) -> Tensor:
        """The mean, (*event)."""
        parts = [f.log_weights.exp() @ f.means for f in self.mixture.parts]
        return torch.stack(parts).sum(0).to(self.like).reshape(self.like.shape[1:])

    def sample(self, count: int, *, generator: Rng = None) -> Points:
        """``count`` points."""
        like = self.like.new_empty(count, *self.like.shape[1:])
        return self.mixture.sample(like, self._level(like), generator=generator)

    def log_prob(self, x: Points) -> Values:
        """The log density of points, (batch,), float64."""
        return -self.mixture(x.double(), self._level(x).double())

    def _level(self, x: Points) -> Values:
        return x.new_full((len(x),), 2 * math.log(self.sigma))


class Start(NamedTuple):
    """``N(m, σ²I + Σ_k s_k s_kᵀ)``, where the flow starts: nearly the highest level.

    Attributes:
        center: m, (*event).
        axes: s_k, (count, *event).
        sigma: σ, of the highest level and of the data along all other axes.
    """

    center: Tensor
    axes: Tensor
    sigma: float

    def sample(self, count: int, *, generator: Rng = None) -> Points:
        """``count`` points."""
        like = {"device": self.center.device, "dtype": self.center.dtype, "generator": generator}
        noise = torch.randn(count, *self.center.shape, **like)
        along = torch.randn(count, len(self.axes), **like)
        return self.center + self.sigma * noise + torch.einsum("nk,k...->n...", along, self.axes)

    def log_prob(self, x: Points) -> Values:
        """The log density of points, (batch,), float64."""
        center, factor = self.center.double().flatten(), self.axes.double().flatten(1).T
        diagonal = torch.full_like(center, self.sigma**2)
        return LowRankMultivariateNormal(center, factor, diagonal).log_prob(x.double().flatten(1))


def start(energy: Any, levels: NoiseLevels, like: Points) -> Start | MixtureStart:
    """The Gaussian nearest to the highest level, in the shape and dtype of the points ``like``.

    Its mean and variances are those of the data along their principal axes, and in the mean along
    all others, where the energy knows them; otherwise those of the noise, around the denoised
    origin, which is nearly the mean of the data. An energy that starts from a mixture of Gaussians
    knows the distribution itself.
    """
    if (mixture := mixture_of(energy)) is not None:
        return MixtureStart(mixture, like[:1], levels.highest)
    principal = principal_of(energy)
    if principal is not None:
        sigma = math.sqrt(levels.highest**2 + float(principal.rest))
        return Start(principal.center.to(like), principal.deviations.to(like), sigma)
    origin = torch.zeros(1, *like.shape[1:], device=like.device, dtype=like.dtype)
    return Start(denoised(energy, origin, levels.highest)[0], origin, levels.highest)


def probability_flow(energy: Any, x: Points, sigmas: list[float]) -> Iterator[Points]:
    """x, and x at each further level: Heun steps of ``dx/dσ = σ∇E(x, log σ²)``.

    Deterministic; points of a level keep its distribution as the level changes (Song et al. 2021;
    Karras et al. 2022). Order 2, two gradients a step.

    Args:
        energy: E of x and the level.
        x: points of the first level, (batch, *event).
        sigmas: levels, in either order.
    """
    yield x
    for a, b in itertools.pairwise(sigmas):
        _, here = energy_and_grad(At(energy, a), x)
        ahead = x + (b - a) * a * here
        _, there = energy_and_grad(At(energy, b), ahead)
        x = x + (b - a) * (a * here + b * there) / 2
        yield x


def ancestral_sampling(
    energy: Any, x: Points, sigmas: list[float], *, generator: Rng = None
) -> Iterator[Points]:
    """x, and x at each further level: ``x ← x - (a²-b²)∇E(x, log a²) + b√(1-b²/a²) ξ``.

    The distribution of x at level b given x at level a and x_0, for which its mean given x stands
    (Ho et al. 2020). Fresh noise removes errors of earlier levels, which `probability_flow`
    keeps. One gradient a step.
    """
    yield x
    for a, b in itertools.pairwise(sigmas):
        mean, variance = ancestral_posterior(chains_at(energy, x, a), a, b)
        x = mean + math.sqrt(variance) * noise_like(x, generator=generator)
        yield x


def chains_at(energy: Any, x: Points, sigma: float) -> LangevinState:
    """Chains at x under the energy of level σ, with the MALA step ``σ²/8``."""
    return MALA(STEP * sigma**2, adaptation=0.0).init(At(energy, sigma), x)


def ancestral_posterior(state: LangevinState, a: float, b: float) -> tuple[Points, float]:
    """Mean and variance of x at level b < a given x at a, with ``x_0 = E[x_0 | x]``."""
    return state.x - (a**2 - b**2) * state.grad, b**2 * (1 - b**2 / a**2)
