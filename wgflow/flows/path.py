"""Flows along straight paths from noise to data, which energy matching learns.

Along ``x_t = (1-t) s ξ + t x`` the potential ``V = εE`` has the gradient ``x_0 - x_1`` in the
mean, so that ``dx/dt = -∇V(x)`` carries noise to the data in unit time.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, sum_event
from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import Energy
from wgflow.energies.conditional import Conditional, Conditioned
from wgflow.energies.confined import Confined
from wgflow.flows.base import (
    CHUNK,
    DEFAULT_STEP,
    DEFAULT_TEMPERATURE,
    TIMES,
    ClassGuidance,
    Flow,
)
from wgflow.likelihood.annealing import STEP, LogZ, log_z as annealed_log_z
from wgflow.samplers.base import sample
from wgflow.samplers.descent import anneal
from wgflow.samplers.langevin import MALA, ULA
from wgflow.samplers.particles import Particles, systematic_indices

SHARE = 1 / 8
"""Langevin step as a share of the variance of the local minima at the data."""

LOOKS = (0.3, 0.5)
"""Times of a path at which draws are classified; earlier ones show too little."""

CHAINS, SETTLING = 16, 1000
"""Chains annealed each way for log Z, and exact steps that they take first."""

SETTLE, DENOISING_STEPS = 0.5, 60
"""Time that `MatchedPath.denoise` follows the potential past the end of a path, and its steps."""

RECONSTRUCTION_STEPS = 10


@dataclass(frozen=True)
class StraightPaths:
    """The paths ``x_t = (1-t) s ξ + t x`` that an energy was matched to.

    Args:
        temperature: ε of the energy, ``V = εE``, in squared units of x.
        cutoff: t* in (0, 1]; below 1 data are local minima of V, of variance ``ε(1-t*)`` in p.
        noise: s, the standard deviation of the noise.
    """

    temperature: float
    cutoff: float = 1.0
    noise: float = 1.0

    @property
    def variance(self) -> float:
        """``ε(1-t*)``, of the distribution near a data point; 0 without a cutoff."""
        return self.temperature * (1 - self.cutoff)


@final
@dataclass(frozen=True, eq=False)
class MatchedPath(Flow):
    """Follows the potential ``V = εE`` by Euler steps of ``dx/dt = -∇V(x)`` from noise.

    Args:
        energy: E, matched to the paths.
        paths: what it was matched to.
        time: of the path; noise arrives near the data at time 1 and settles after it.
        steps: Euler steps, one gradient each.
        langevin: Langevin steps at temperature ε after the path, of the same length.

    Raises:
        ValueError: when an option is out of its range.
    """

    options: ClassVar[tuple[str, ...]] = ("time", "steps", "langevin")

    paths: StraightPaths
    time: float = 2.0
    steps: int = 80
    langevin: int = 0

    def __post_init__(self) -> None:
        check_positive(time=self.time, steps=self.steps)
        check_nonnegative(langevin=self.langevin)

    def sample(self, like: Points, *, generator: Rng = None) -> Points:
        """The ends of paths from ``N(0, s²I)``: see `follow`."""
        return self._follow(self.noise(like, generator), generator=generator)

    def trajectory(self, like: Points, *, generator: Rng = None) -> Iterator[Points]:
        """The points after 0, 1 ... ``steps`` Euler steps."""
        return self._descent(self.noise(like, generator))

    def noise(self, like: Points, generator: Rng = None) -> Points:
        """Where paths start, ``N(0, s²I)``."""
        return self.paths.noise * noise_like(like, generator=generator)

    def denoise(self, y: Points, sigma: Tensor) -> Points:
        """The end of the path through y.

        ``y = x + σξ`` is the point ``y t`` of a path at ``t = s/(s + σ)``; V is followed for the
        time ``1 - t`` that is left. With noise that differs between coordinates the largest sets
        the time.

        Raises:
            ValueError: unless σ is positive.
        """
        level = torch.as_tensor(sigma, dtype=y.dtype, device=y.device)
        check_positive(sigma=float(level.min()))
        t = self.paths.noise / (self.paths.noise + level)
        time = 1 - float(t.min()) + SETTLE
        return replace(self, time=time, steps=DENOISING_STEPS, langevin=0)._follow(t * y)

    def bridge(
        self, x: Points, hidden: Tensor, *, steps: int = 80, generator: Rng = None
    ) -> Points:
        """Hidden coordinates follow ``dv/dt = -∂V/∂v`` from noise over ``time``.

        The known ones are at ``(1-t) x_0 + t x`` until t = 1, where they stay, so that E sees the
        noise that it was matched to.
        """
        check_positive(steps=steps)
        noise = self.noise(x, generator)
        h, parts = self.time / steps, []
        for end, begin in zip(x.split(CHUNK), noise.split(CHUNK), strict=True):
            whole = Conditioned(self.energy, end, hidden)
            v = whole.hidden(begin)
            for k in range(steps):
                now = Conditioned(self.energy, begin.lerp(end, min(1.0, k * h)), hidden)
                _, v = anneal(now, v, (0.0,), step=self.paths.temperature * h)
            parts.append(whole.complete(v))
        return torch.cat(parts)

    def interpolate(self, a: Tensor, b: Tensor, points: int) -> None:
        """None: the flow is no invertible map."""

    def reconstruction_error(self, x: Points, *, generator: Rng = None) -> Tensor:
        """By paths that start at ``(1-t) s ξ + t x``, ten gradients for each time t."""
        found = []
        for t in TIMES:
            y = self.noise(x, generator).lerp(x, t)
            way = replace(self, time=2 * (1 - t), steps=RECONSTRUCTION_STEPS, langevin=0)
            found.append(sum_event((way._follow(y) - x) ** 2).double())
        return torch.stack(found, 1)

    def log_z(
        self, like: Points, held_out: Particles | None, *, generator: Rng = None
    ) -> LogZ | None:
        """By annealing from the confinement, white noise, to the local minima at the data."""
        energy = self.energy
        if self.paths.cutoff == 1 or not isinstance(energy, Confined):
            return None
        d, stiffness = like[0].numel(), energy.scale**2 / self.paths.variance
        if held_out is None:
            x, _ = energy.reference(like, CHAINS, generator=generator)
            x = replace(self, time=2.0, steps=80, langevin=0)._follow(x)
        else:
            weights = held_out.log_weight
            x = held_out.x[systematic_indices(weights, CHAINS, generator=generator)]
        exact = MALA(STEP * self.paths.variance, adaptation=0.0)
        return annealed_log_z(
            energy,
            sample(exact, energy, x, SETTLING, generator=generator),
            GaussianMixture(torch.zeros(1, d), energy.scale),
            temperatures=round(d * math.log1p(stiffness)),
            stiffness=stiffness,
            generator=generator,
        )

    def sample_class(self, like: Points, guide: ClassGuidance, *, generator: Rng = None) -> Points:
        """The path with guidance ``k s²(1-t)/(εt)`` of `Conditional` until t = 1."""
        h, epsilon = self.time / self.steps, self.paths.temperature
        one = replace(self, time=h, steps=1, langevin=0)
        x = self.noise(like, generator)
        for k in range(self.steps):
            t = (k + 0.5) * h  # the middle of the step, where 1/t is finite
            g = guide.scale * self.paths.noise**2 * (1 - t) / (epsilon * t)
            energy = self.energy
            if t < 1:
                energy = Conditional(energy, guide.log_prob, guide.label, g)
            x = replace(one, energy=energy)._follow(x)
        if self.langevin:
            x = sample(ULA(epsilon * h), self.energy, x, self.langevin, generator=generator)
        return x

    def legs(self, generator: Rng = None) -> list[Callable[[Points], Points]]:
        """The path cut at the steps nearest to `LOOKS`."""
        h, steps = self.time / self.steps, self.steps
        cuts = sorted({0, steps} | {min(steps, max(1, round(look / h))) for look in LOOKS})
        lengths = [after - before for before, after in itertools.pairwise(cuts)]
        parts = [replace(self, time=n * h, steps=n, langevin=0) for n in lengths]
        parts[-1] = replace(parts[-1], langevin=self.langevin)
        first, *others = [partial(part._follow, generator=generator) for part in parts]
        return [lambda like: first(self.noise(like, generator)), *others]

    def langevin_step(self, settled: float | None) -> float:
        """What particles settled to, else an eighth of the variance ``ε(1-t*)``."""
        if settled is not None:
            return settled
        return SHARE * self.paths.variance if self.paths.cutoff < 1 else DEFAULT_STEP

    @property
    def highest_temperature(self) -> float:
        """That at which the local minima at the data are as wide as the noise of the paths."""
        if self.paths.cutoff == 1:
            return DEFAULT_TEMPERATURE
        return max(1.0, self.paths.noise**2 / self.paths.variance)

    def check_product(self, other: Flow | None) -> None:
        """Any energy can be a factor."""

    def _follow(self, x: Points, *, generator: Rng = None) -> Points:
        options: dict[str, Any] = {"time": self.time, "steps": self.steps}
        options |= {"langevin": self.langevin, "generator": generator}
        return follow(self.energy, x, temperature=self.paths.temperature, **options)

    def _descent(self, x: Points) -> Iterator[Points]:
        options: dict[str, Any] = {"time": self.time, "steps": self.steps}
        return descent(self.energy, x, temperature=self.paths.temperature, **options)


def follow(
    energy: Energy,
    x: Points,
    *,
    temperature: float,
    time: float = 2.0,
    steps: int = 80,
    langevin: int = 0,
    generator: Rng = None,
) -> Points:
    """Points that follow the potential ``V = εE`` from x, `CHUNK` at a time.

    Euler steps of ``dx/dt = -∇V(x)`` over ``time``, then ``langevin`` unadjusted Langevin steps at
    temperature ε of the same length, which draw from the density. One gradient a step.

    Args:
        energy: E, in the units of x.
        x: where to start, (batch, *event).
        temperature: ε.
        time: of the path.
        steps: Euler steps.
        langevin: Langevin steps after them.
        generator: source of the noise of the Langevin steps.

    Raises:
        ValueError: when a number is out of its range.
    """
    check_nonnegative(langevin=langevin)
    parts = []
    for part in x.split(CHUNK):
        way = descent(energy, part, temperature=temperature, time=time, steps=steps)
        (end,) = deque(way, maxlen=1)
        if langevin:
            sampler = ULA(temperature * time / steps)
            end = sample(sampler, energy, end, langevin, generator=generator)
        parts.append(end)
    return torch.cat(parts)


def descent(
    energy: Energy, x: Points, *, temperature: float, time: float = 2.0, steps: int = 80
) -> Iterator[Points]:
    """The points after 0, 1 ... ``steps`` Euler steps of ``dx/dt = -ε∇E(x)``: see `follow`."""
    check_positive(temperature=temperature, time=time, steps=steps)
    return anneal(energy, x, [0.0] * steps, step=temperature * time / steps)
