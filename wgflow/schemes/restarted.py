"""Dynamics without memory: chains that start anew at every learning step (CD, short run)."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from wgflow.energy import Energy
from wgflow.particles import Particles
from wgflow.samplers import MALA, Sampler, advance
from wgflow.samplers.base import check_positive
from wgflow.schemes.dynamics import Carry, Dynamics, start_law, values_at


@dataclass(frozen=True)
class FromData(Dynamics):
    """Chains that start at the batch at every learning step: contrastive divergence, CD-k.

    Args:
        sampler: the transport.
        steps: k.

    Raises:
        ValueError: when ``steps`` is not positive.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 10

    def __post_init__(self):
        check_positive("FromData", steps=self.steps)

    def init(self, energy, batch, *, generator=None) -> Carry:
        """The first chains."""
        return _short_run(self.sampler, self.steps, energy, batch, batch, None, generator)

    def advance(self, energy, batch, carry, *, generator=None) -> Carry:
        """New chains from the new batch."""
        return _short_run(self.sampler, self.steps, energy, batch, batch, carry, generator)

    def time(self, carry) -> float:
        """τ = k × the sampler's time per step."""
        return self.steps * self.sampler.time(carry.particles.state)


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
        check_positive("FromNoise", steps=self.steps, size=self.size, scale=self.scale)

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
    *_, (state, info) = islice(advance(sampler, energy, state, generator), steps)
    equal = torch.zeros_like(state.energy)
    p = Particles(state, equal, equal.new_zeros((), dtype=torch.float64))
    metrics = {"acceptance": info.acceptance.mean(), "step_size": state.step_size}
    zero = torch.zeros((), dtype=torch.int64)
    done = zero if carry is None else carry.done + 1
    return Carry(batch, values_at(energy, batch), p, None, done, zero, {}, metrics)
