"""The heat flow of a learned law backwards: from noise to samples.

It asks for an energy of levels of noise, `wgflow.energies.noise_levels`.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import noise_like
from wgflow._tensor import Points, Values
from wgflow.energies.base import Tempered, energy_and_grad
from wgflow.energies.microbatch import whole
from wgflow.energies.noise_levels import At, Levels, denoised
from wgflow.energies.principal import contrasted, principal_of
from wgflow.likelihood.annealing import STEP
from wgflow.samplers import MALA, ULA, sample
from wgflow.samplers.langevin import LangevinState

DETERMINISTIC, STOCHASTIC = 10, 40
"""Steps down all levels, of two gradients and of one."""

POWER = 3.0
"""Of the levels of stochastic steps, which want more of much noise."""


class Start(NamedTuple):
    """``N(m, σ²I + Σ_k s_k s_kᵀ)``, the law that the heat flow backwards starts from.

    Attributes:
        center: m, (*event).
        axes: s_k, (count, *event).
        sigma: σ, of the highest level and of the data along all other axes.
    """

    center: Tensor
    axes: Tensor
    sigma: float

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Points:
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


def start(energy: Any, levels: Levels, like: Points) -> Start:
    """The law of the highest level, nearly, in the shape and type of the points of ``like``.

    That of data of the same mean, and of the same variances along their principal axes and in the
    mean of all others, where the energy knows those; otherwise of the noise alone, around where
    the energy thinks that the origin comes from, which is the mean of the law, nearly.
    """
    principal = principal_of(whole(energy))
    if principal is not None:
        sigma = math.sqrt(levels.highest**2 + float(principal.rest))
        return Start(principal.center.to(like), principal.deviations.to(like), sigma)
    origin = torch.zeros(1, *like.shape[1:], device=like.device, dtype=like.dtype)
    return Start(denoised(energy, origin, levels.highest)[0], origin, levels.highest)


def cool(energy: Any, x: Points, sigmas: list[float]) -> Iterator[Points]:
    """x, and x at each further level: Heun steps of ``dx/dσ = σ∇E(x, log σ²)``.

    The points of a level keep its law while it falls, without any noise: the probability flow
    (Song et al. 2021; Karras et al. 2022). Two gradients a step.

    Args:
        energy: E of x and the level.
        x: points of the first level, (batch, *event).
        sigmas: levels, falling.
    """
    yield x
    for a, b in itertools.pairwise(sigmas):
        _, here = energy_and_grad(At(energy, a), x)
        ahead = x + (b - a) * a * here
        _, there = energy_and_grad(At(energy, b), ahead)
        x = x + (b - a) * (a * here + b * there) / 2
        yield x


def wander(
    energy: Any, x: Points, sigmas: list[float], *, generator: torch.Generator | None = None
) -> Iterator[Points]:
    """x, and x at each further level: ``x ← x - (a²-b²)∇E(x, log a²) + b√(1-b²/a²) ξ``.

    The law of x at level b, given it at level a and what is under the noise, for which its mean
    stands (ancestral sampling, Ho et al. 2020). Fresh noise takes out errors of earlier levels,
    which `cool` keeps. One gradient a step.
    """
    yield x
    for a, b in itertools.pairwise(sigmas):
        mean, variance = colder(at(energy, x, a), a, b)
        noise = noise_like(x, generator=generator)
        x = mean + math.sqrt(variance) * noise
        yield x


def generate(
    energy: Any,
    levels: Levels,
    like: Points,
    *,
    steps: int | None = None,
    stochastic: bool = False,
    langevin: int = 0,
    temperature: float = 1.0,
    contrast: float = 0.0,
    chunk: int = 256,
    generator: torch.Generator | None = None,
) -> Points:
    """Fresh points, of the shape of ``like``: noise, from `start`, that goes down all levels.

    By `cool` on ten steps of `Levels.grid`, two gradients each, or by `wander` on forty, one each;
    and one gradient more for the mean of what is under the noise of the lowest level. With
    ``langevin`` steps they are draws of the law of that level instead, by as many of ULA of
    ``σ²/8``, one gradient each.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        like: a tensor of the shape, type and device of the result.
        steps: from the highest level to the lowest.
        stochastic: whether with fresh noise at each level.
        langevin: steps at the lowest.
        temperature: T, with which those are of ``p^{1/T}`` of that level; tempered laws have no
            flow of levels, so the way down is that of p.
        contrast: c of `contrasted`, for the energies on the way; the last step is of E itself.
        chunk: points at a time; bounds the memory.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range, or there is nothing to contrast with.
    """
    steps = (STOCHASTIC if stochastic else DETERMINISTIC) if steps is None else steps
    check_positive(steps=steps)
    check_nonnegative(langevin=langevin)
    if temperature != 1 and not langevin:
        raise ValueError(
            "Tempered laws have no flow of levels and are drawn from at the lowest: expected "
            f"Langevin steps there, such as 200, with temperature {temperature}, got none."
        )
    parts, first, law = [], start(energy, levels, like), contrasted(energy, contrast)
    for part in like.split(chunk):
        x = first.sample(len(part), generator=generator)
        if stochastic:
            way = wander(law, x, levels.grid(steps, POWER), generator=generator)
        else:
            way = cool(law, x, levels.grid(steps))
        (x,) = deque(way, maxlen=1)
        if langevin:
            sampler = ULA(STEP * levels.lowest**2 * min(1, temperature))
            lowest = Tempered(At(energy, levels.lowest), temperature)
            settled = sample(sampler, lowest, x, langevin, generator=generator)
            parts.append(settled)
        else:
            parts.append(denoised(energy, x, levels.lowest))
    return torch.cat(parts)


def stages(
    energy: Any,
    levels: Levels,
    like: Points,
    *,
    steps: int = DETERMINISTIC,
    contrast: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Points]:
    """The points of `generate` on their way, at each level, and at last without noise.

    Each is ``x/(1+σ)``, of the size of a point of a straight path from noise to the data.
    """
    x = start(energy, levels, like).sample(len(like), generator=generator)
    sigmas, law = levels.grid(steps), contrasted(energy, contrast)
    for sigma, stage in zip(sigmas, cool(law, x, sigmas), strict=True):
        x = stage
        yield x / (1 + sigma)
    yield denoised(energy, x, levels.lowest)


def at(energy: Any, x: Points, sigma: float) -> LangevinState:
    """Chains at x that feel the energy of a level, with the step that suits it."""
    return MALA(STEP * sigma**2, adaptation=0.0).init(At(energy, sigma), x)


def colder(state: LangevinState, a: float, b: float) -> tuple[Points, float]:
    """Mean and variance of the step from level a to b, for points that E knows the noise of.

    With ``x_0 = E[x_0 | x]`` in place of what is under the noise, that of ``x_b`` given x and x_0.
    """
    return state.x - (a**2 - b**2) * state.grad, b**2 * (1 - b**2 / a**2)
