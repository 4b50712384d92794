"""The flow of a noise-conditional energy: down the noise levels to the data, and up again."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, sum_event
from wgflow.energies.base import Tempered
from wgflow.energies.conditional import Conditional, check_mask
from wgflow.energies.noise_levels import At, NoiseLevels, denoised
from wgflow.energies.principal import AUTOGUIDANCE, autoguided, knows_moments
from wgflow.flows import log_z as annealing
from wgflow.flows.base import CHUNK, DEFAULT_TEMPERATURE, TIMES, ClassGuidance, Flow
from wgflow.flows.heat import ancestral_sampling, probability_flow, start
from wgflow.likelihood.annealing import STEP, LogZ
from wgflow.samplers.base import sample
from wgflow.samplers.langevin import ULA, CrankNicolson
from wgflow.samplers.particles import Particles

DETERMINISTIC, STOCHASTIC = 10, 40
"""Steps down all levels, of two gradients and of one."""

POWER = 3.0
"""Exponent of `NoiseLevels.grid` for stochastic steps, which need more steps at high noise."""

VISITS = 8
"""Visits of each level where some coordinates are known."""

INTERPOLATION_STEPS = 20

CHAINS, SETTLING = 16, 1000
"""Chains annealed each way for log Z, and exact steps at the data that they take first."""

UNSETTLED = 3.0
"""Standard errors of a drift that chance does not explain: one in a hundred with 16 chains."""

LANGEVIN_SHARE, CRANK_NICOLSON_SHARE = 1 / 8, 1 / 4
"""Steps of chains at the lowest level, as shares of its variance."""


@final
@dataclass(frozen=True, eq=False)
class HeatFlow(Flow):
    """From ``N(m, C + σ²I)`` at the highest noise level down to the data.

    By `probability_flow` on ten steps of `NoiseLevels.grid`, two gradients each, or by
    `ancestral_sampling` on forty, one each; and one gradient more for the mean of what is under
    the noise of the lowest level. With ``langevin`` steps samples are draws of the lowest level
    itself, by as many steps of ULA of ``σ²/8``.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        temperature: T ≥ 1, by which E is flatter than the energy that was learned. The way down is
            that of the learned one, since tempered distributions have no heat flow.
        steps: from the highest level to the lowest; None for 10, or 40 if stochastic.
        stochastic: whether with fresh noise at each level.
        langevin: steps at the lowest.
        autoguidance: c of `autoguided`, for the energies on the way; None for `AUTOGUIDANCE`, or
            for 0 with Langevin steps or where the energy does not know the data's moments.

    Raises:
        ValueError: when an option is out of its range.
    """

    options: ClassVar[tuple[str, ...]] = ("steps", "stochastic", "langevin", "autoguidance")

    levels: NoiseLevels
    temperature: float = 1.0
    steps: int | None = None
    stochastic: bool = False
    langevin: int = 0
    autoguidance: float | None = None

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, steps=self._steps)
        check_nonnegative(langevin=self.langevin)

    def sample(self, like: Points, *, generator: Rng = None) -> Points:
        """Noise carried down all levels, then denoised or settled by Langevin steps.

        Raises:
            ValueError: a flattened energy without Langevin steps, or autoguidance of an energy
                that does not know the data's moments.
        """
        if self.temperature != 1 and not self.langevin:
            raise ValueError(
                f"`langevin` must be > 0 for an energy flattened by {self.temperature}, such as "
                "200: it has no heat flow and is sampled at the lowest level."
            )
        first = start(self._leading, self.levels, like)
        parts = []
        for part in like.split(CHUNK):
            x = first.sample(len(part), generator=generator)
            (x,) = deque(self._down(x, generator), maxlen=1)
            parts.append(self._arrived(x, generator))
        return torch.cat(parts)

    def trajectory(self, like: Points, *, generator: Rng = None) -> Iterator[Points]:
        """The points of `sample` at each level by the probability flow, and without noise.

        Each is ``x/(1+σ)``, of the size of a point of a straight path from noise to the data.
        """
        x = start(self._leading, self.levels, like).sample(len(like), generator=generator)
        way = replace(self, stochastic=False)
        sigmas = self.levels.grid(way._steps)
        for sigma, stage in zip(sigmas, way._down(x, generator), strict=True):
            x = stage
            yield x / (1 + sigma)
        yield denoised(self._leading, x, self.levels.lowest)

    def denoise(self, y: Points, sigma: Tensor) -> Points | None:
        """``E[x | y]`` in one step; None unless all coordinates have the same σ.

        σ is clamped to the range of the levels.
        """
        level = sigma.flatten()[:1]
        if not (sigma == level).all():
            return None
        level = level.clamp(self.levels.lowest, self.levels.highest)
        return torch.cat([denoised(self.energy, part, level) for part in y.split(CHUNK)])

    def bridge(
        self,
        x: Points,
        hidden: Tensor,
        *,
        steps: int = 80,
        visits: int | None = None,
        generator: Rng = None,
    ) -> Points:
        """Hidden coordinates come down all levels while the known ones are put at ``x + bξ``.

        From a level a to the next, b, by `ancestral_sampling`, and up again by the noise
        ``√(a²-b²) ξ``, until b was visited ``visits`` times, by default up to eight, on
        ``steps // visits`` levels (Lugmayr et al. 2022). Going up and
        down leaves the distribution of the level nearly as it is, so hidden coordinates come to
        agree with the known ones: of two coordinates of correlation .9, where the known one
        implies 1.34, 80 levels visited once bring the other to 0.91, and 10 levels visited 8
        times to 1.25.
        """
        visits = max(1, min(steps // DETERMINISTIC, VISITS)) if visits is None else visits
        check_positive(steps=steps, visits=visits)
        check_mask(hidden, x)
        hidden = hidden.to(x.device)
        first = start(self._leading, self.levels, x)
        grid, parts = self.levels.grid(steps // visits, POWER), []
        for known in x.split(CHUNK):

            def noisy(y: Points, sigma: float) -> Points:
                return y + sigma * noise_like(y, generator=generator)

            y = first.sample(len(known), generator=generator)
            y = torch.where(hidden, y, noisy(known, self.levels.highest))
            for a, b in itertools.pairwise(grid):
                for visit in range(visits):
                    above = noisy(y, math.sqrt(a**2 - b**2)) if visit else y
                    way = ancestral_sampling(self._leading, above, [a, b], generator=generator)
                    *_, below = way
                    y = torch.where(hidden, below, noisy(known, b))
            parts.append(torch.where(hidden, y, known))
        return torch.cat(parts)

    def interpolate(self, a: Tensor, b: Tensor, points: int) -> Points:
        """Both ends go up to noise; between them an arc of a sphere, which comes down again.

        The probability flow maps the data to noise and back, so that all points are typical
        samples, as far as a and b are (Song et al. 2021).

        Raises:
            ValueError: on fewer than two points, or equal ends.
        """
        check_positive(points=points - 1)
        if torch.equal(a, b):
            raise ValueError("`a` and `b` must be two different points: got the same.")
        grid = self.levels.grid(INTERPOLATION_STEPS)
        (ends,) = deque(probability_flow(self.energy, torch.stack([a, b]), grid[::-1]), maxlen=1)
        center = start(self.energy, self.levels, a[None]).center
        u, v = ends - center
        angle = torch.arccos((u * v).sum() / (u.norm() * v.norm()))
        t = torch.linspace(0, 1, points, dtype=a.dtype, device=a.device)
        t = t.reshape(-1, *[1] * a.ndim)
        arc = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / torch.sin(angle)
        (x,) = deque(probability_flow(self.energy, center + arc, grid), maxlen=1)
        return torch.cat([a[None], x[1:-1], b[None]])

    def reconstruction_error(self, x: Points, *, generator: Rng = None) -> Tensor:
        """By `denoised` at the levels ``σ = (1-t)/t``, one gradient for each time t."""
        found = []
        for t in TIMES:
            sigma = (1 - t) / t
            y = x + sigma * noise_like(x, generator=generator)
            ends = torch.cat([denoised(self.energy, part, sigma) for part in y.split(CHUNK)])
            found.append(sum_event((ends - x) ** 2).double())
        return torch.stack(found, 1)

    def log_z(
        self, like: Points, held_out: Particles | None = None, *, generator: Rng = None
    ) -> LogZ:
        """Along the flow both ways, from samples that settled at the lowest level.

        Where these chains drift, by `wgflow.flows.log_z.drift`, they are not yet distributed as
        the model: the upper bound is infinite and the value NaN. The lower bound needs no samples
        of the model. Held-out particles are not used.
        """
        levels, energy = self.levels, self.energy
        like = like.expand(CHAINS, *like.shape[1:])
        way = HeatFlow(energy, levels, langevin=1)
        x = way.sample(like, generator=generator)
        step = CRANK_NICOLSON_SHARE * levels.lowest**2
        kernel = CrankNicolson(step, width=levels.lowest, adaptation=0.0)
        settled = sample(kernel, energy, x, SETTLING, generator=generator)
        moved, error = annealing.drift(energy, levels, x, settled, generator=generator)
        found = annealing.log_z(energy, levels, settled, generator=generator)
        if abs(moved) > UNSETTLED * error:
            return found._replace(value=math.nan, error=math.inf, upper=math.inf)
        return found

    def sample_class(self, like: Points, guide: ClassGuidance, *, generator: Rng = None) -> Points:
        """`sample` of `Conditional` with guidance k at each level.

        Raises:
            ValueError: the energy is flattened.
        """
        if self.temperature != 1:
            raise ValueError(
                f"`temperature` must be 1 with guidance to a class: got {self.temperature}."
            )
        energy = Conditional(self.energy, *guide)
        guided = replace(self, energy=energy, autoguidance=self._autoguidance)
        return guided.sample(like, generator=generator)

    def legs(self, generator: Rng = None) -> list[Callable[[Points], Points]]:
        """None: draws are classified at the end."""
        return []

    def langevin_step(self, settled: float | None) -> float:
        """An eighth of the variance of the lowest level."""
        return LANGEVIN_SHARE * self.levels.lowest**2

    @property
    def highest_temperature(self) -> float:
        """Ten."""
        return DEFAULT_TEMPERATURE

    def check_product(self, other: Flow | None) -> None:
        """The other energy must be noise-conditional too."""
        if not isinstance(other, HeatFlow):
            raise ValueError(
                "A product with a noise-conditional energy needs noise-conditional energies, or "
                "an energy without noise levels as its first: got another after the first."
            )

    @property
    def _leading(self) -> Any:
        """The energy that leads down the levels: as steep as the one that was learned."""
        return Tempered(self.energy, 1 / self.temperature)

    @property
    def _steps(self) -> int:
        usual = STOCHASTIC if self.stochastic else DETERMINISTIC
        return usual if self.steps is None else self.steps

    @property
    def _autoguidance(self) -> float:
        if self.autoguidance is not None:
            return self.autoguidance
        return AUTOGUIDANCE if not self.langevin and knows_moments(self.energy) else 0.0

    def _down(self, x: Points, generator: Rng) -> Iterator[Points]:
        energy = autoguided(self._leading, self._autoguidance)
        if self.stochastic:
            grid = self.levels.grid(self._steps, POWER)
            return ancestral_sampling(energy, x, grid, generator=generator)
        return probability_flow(energy, x, self.levels.grid(self._steps))

    def _arrived(self, x: Points, generator: Rng) -> Points:
        lowest = self.levels.lowest
        if not self.langevin:
            return denoised(self._leading, x, lowest)
        sampler = ULA(STEP * lowest**2 * min(1, self.temperature))
        energy = Tempered(At(self._leading, lowest), self.temperature)
        return sample(sampler, energy, x, self.langevin, generator=generator)
