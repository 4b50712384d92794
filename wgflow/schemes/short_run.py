"""Dynamics whose chains start anew: at the data (CD) or from noise (short run)."""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import noise_like
from wgflow.energies.base import Energy
from wgflow.energies.noise_levels import levels_of
from wgflow.samplers import MALA, Sampler, advance
from wgflow.samplers.particles import Particles
from wgflow.schemes.dynamics import Carry, Dynamics, start_law, values_at


@dataclass(frozen=True)
class FromData(Dynamics):
    """Chains that start at data and live for a number of learning steps: contrastive divergence.

    In a life of one step they start at every batch anew: CD-k. In a longer one they find what k
    steps do not reach, such as a well beside the data that long chains end in. They die in turn,
    so that at any time there are chains of all ages, and each is compared with the point that it
    left, where it would still be at home if the energy were right. What point and chain have in
    common, most of the spread of E in high dimension, is no noise of the gradient then.

    Args:
        sampler: the transport.
        steps: k, its steps per learning step.
        life: learning steps that a chain lives for.
        settle: steps that the first chains take besides, so that they are old from the start.
        noisy: whether data come without the noise of the lowest level of an energy of levels,
            which is then added here: where they start, and at every learning step anew where they
            are compared.

    Raises:
        ValueError: when a count is out of its range, or a noisy one meets an energy that knows no
            levels.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 10
    life: int = 1
    settle: int = 0
    noisy: bool = False

    def __post_init__(self):
        check_positive(steps=self.steps, life=self.life)
        check_nonnegative(settle=self.settle)

    @property
    def adds_noise(self) -> bool:
        """If noisy."""
        return self.noisy

    def init(self, energy, batch, *, generator=None) -> Carry:
        """The first chains."""
        start = self._smoothed(energy, batch, generator)
        steps = self.settle + self.steps
        carry = _short_run(self.sampler, steps, energy, start, start, None, generator)
        return carry._replace(origins=batch) if self.noisy else carry

    def advance(self, energy, batch, carry, *, generator=None) -> Carry:
        """Old chains start anew at points of the batch; all move."""
        origins = carry.batch if carry.origins is None else carry.origins
        count, done = len(origins), int(carry.done)
        first, last = (count * k // self.life for k in (done, done + 1))
        where = torch.arange(first, last, device=batch.device) % count
        fresh = batch[: len(where)]
        origins = origins.index_copy(0, where, fresh)
        x = carry.particles.x.index_copy(0, where, self._smoothed(energy, fresh, generator))
        compared = self._smoothed(energy, origins, generator) if self.noisy else origins
        carry = _short_run(self.sampler, self.steps, energy, compared, x, carry, generator)
        return carry._replace(origins=origins) if self.noisy else carry

    def time(self, carry) -> float:
        """τ = k × the sampler's time per step."""
        return self.steps * self.sampler.time(carry.particles.state)

    def _smoothed(self, energy: Energy, x: Tensor, generator) -> Tensor:
        if not self.noisy:
            return x
        noise = noise_like(x, generator=generator)
        return x + levels_of(energy).lowest * noise


@dataclass(frozen=True)
class FromNoise(Dynamics):
    """Chains that start from noise at every learning step: short-run learning.

    Args:
        sampler: the transport.
        steps: its steps per learning step.
        size: number of chains.
        scale: standard deviation of the noise, in the units of x; the chains of a `Confined`
            energy start from its own reference instead.

    Raises:
        ValueError: when a hyper-parameter is not positive.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 50
    size: int = 512
    scale: float = 2.0

    def __post_init__(self):
        check_positive(steps=self.steps, size=self.size, scale=self.scale)

    def init(self, energy, batch, *, generator=None) -> Carry:
        """The first chains."""
        x, _ = start_law(energy, batch, self.size, self.scale, generator=generator)
        return _short_run(self.sampler, self.steps, energy, batch, x, None, generator)

    def advance(self, energy, batch, carry, *, generator=None) -> Carry:
        """New chains from new noise."""
        x, _ = start_law(energy, batch, self.size, self.scale, generator=generator)
        return _short_run(self.sampler, self.steps, energy, batch, x, carry, generator)

    def time(self, carry) -> float:
        """τ = steps × the sampler's time per step."""
        return self.steps * self.sampler.time(carry.particles.state)


def _short_run(
    sampler: Sampler[Any],
    steps: int,
    energy: Energy,
    batch: Tensor,
    x: Tensor,
    carry: Carry | None,
    generator: torch.Generator | None,
) -> Carry:
    """Equally weighted chains after ``steps`` moves from x; the step size goes on adapting."""
    state = sampler.init(energy, x, generator=generator)
    if carry is not None:
        state = state._replace(step_size=carry.particles.state.step_size)
    ((state, info),) = deque(islice(advance(sampler, energy, state, generator), steps), maxlen=1)
    equal = torch.zeros_like(state.energy)
    p = Particles(state, equal, equal.new_zeros((), dtype=torch.float64))
    metrics = {"acceptance": info.acceptance.mean(), "step_size": state.step_size}
    zero = torch.zeros((), dtype=torch.int64)
    done = zero if carry is None else carry.done + 1
    return Carry(batch, values_at(energy, batch), p, None, done, zero, {}, metrics)
