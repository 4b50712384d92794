"""Dynamics whose chains start anew: at the data (CD) or from noise (short run)."""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow.energies.base import Energy
from wgflow.energies.noise_levels import levels_of
from wgflow.samplers import MALA, Sampler, advance
from wgflow.samplers.particles import Particles
from wgflow.schemes.base import divided
from wgflow.schemes.dynamics import Carry, Dynamics, starting_points, values_at


class ShortRun(Dynamics):
    """Equally weighted chains; only their step size goes on from one learning step to the next."""

    def run(
        self,
        energy: Energy,
        batch: Tensor,
        x: Tensor,
        *,
        after: Carry | None = None,
        settle: int = 0,
        generator: Rng = None,
    ) -> Carry:
        """The carry of chains that moved ``settle + steps`` times from x, beside a batch."""
        state, steps = self.sampler.init(energy, x, generator=generator), settle + self.steps
        if after is not None:
            state = state._replace(step_size=after.particles.state.step_size)
        chain = islice(advance(self.sampler, energy, state, generator), steps)
        ((state, info),) = deque(chain, maxlen=1)
        equal = torch.zeros_like(state.energy)
        p = Particles(state, equal, equal.new_zeros((), dtype=torch.float64))
        metrics = {"acceptance": info.acceptance.mean(), "step_size": state.step_size}
        zero = torch.zeros((), dtype=torch.int64)
        done = zero if after is None else after.done + 1
        return Carry(batch, values_at(energy, batch), p, None, done, zero, {}, metrics)


@dataclass(frozen=True)
class FromData(ShortRun):
    """Chains that start at data and live for a number of learning steps: contrastive divergence.

    In a life of one step they start at every batch anew: CD-k. In a longer one they find what k
    steps do not reach, such as a mode beside the data. They die in turn, so that at any time there
    are chains of all ages, and each is compared with the point that it left, where it would still
    be at home if the energy were right. What point and chain have in common, most of the spread of
    E in high dimension, cancels in the gradient.

    Args:
        sampler: the transport.
        steps: k, its steps per learning step.
        life: learning steps that a chain lives for.
        settle: steps that the first chains take besides, so that they are old from the start.
        noisy: whether the data lack the noise of the lowest level of an energy of noise levels,
            which is then added here: where chains start, and at every learning step anew where
            they are compared.

    Raises:
        ValueError: when a count is out of its range, or a noisy one meets an energy without noise
            levels.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 10
    life: int = 1
    settle: int = 0
    noisy: bool = False

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, life=self.life)
        check_nonnegative(settle=self.settle)

    @property
    def adds_noise(self) -> bool:
        """If noisy."""
        return self.noisy

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The first chains."""
        start = self._smoothed(energy, batch, generator)
        carry = self.run(energy, start, start, settle=self.settle, generator=generator)
        return carry._replace(origins=batch) if self.noisy else carry

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """Old chains start anew at points of the batch; all move."""
        origins = carry.batch if carry.origins is None else carry.origins
        count, done = len(origins), int(carry.done)
        first, last = (count * k // self.life for k in (done, done + 1))
        where = torch.arange(first, last, device=batch.device) % count
        fresh = batch[: len(where)]
        origins = origins.index_copy(0, where, fresh)
        x = carry.particles.x.index_copy(0, where, self._smoothed(energy, fresh, generator))
        compared = self._smoothed(energy, origins, generator)
        carry = self.run(energy, compared, x, after=carry, generator=generator)
        return carry._replace(origins=origins) if self.noisy else carry

    def _smoothed(self, energy: Energy, x: Tensor, generator: Rng) -> Tensor:
        """The points with the noise of the lowest level, if noisy."""
        if not self.noisy:
            return x
        return x + levels_of(energy).lowest * noise_like(x, generator=generator)


@dataclass(frozen=True)
class FromNoise(ShortRun):
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
    size: int = divided(512)
    scale: float = 2.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, size=self.size, scale=self.scale)

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The first chains."""
        return self._fresh(energy, batch, None, generator)

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """New chains from new noise."""
        return self._fresh(energy, batch, carry, generator)

    def _fresh(self, energy: Energy, batch: Tensor, after: Carry | None, generator: Rng) -> Carry:
        x, _ = starting_points(energy, batch, self.size, self.scale, generator=generator)
        return self.run(energy, batch, x, after=after, generator=generator)
