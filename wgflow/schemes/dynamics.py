"""Dynamics: how the particles of a scheme start, react and move between learning steps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow.energies.base import Energy, HasReference
from wgflow.energies.confined import Confined
from wgflow.energies.microbatch import full_batch
from wgflow.samplers import Sampler
from wgflow.samplers.particles import Particles
from wgflow.schemes.base import Populations, Scheme
from wgflow.schemes.sample import Draws, Sample, sample_of


class Carry(NamedTuple):
    """What a scheme with particles carries from one learning step to the next.

    Attributes:
        batch: data of this step, (batch, *event).
        batch_energy: ``E_k`` at the batch, (batch,).
        particles: the population that trains, with ``E_k`` and, where it moves, ``∇E_k`` cached in
            its state.
        held_out: a population that never enters a gradient; None without one.
        done: k, the number of learning steps done, an integer scalar tensor.
        seed: of the randomness of the held-out particles, an integer scalar tensor. It is theirs
            alone, so that watching a run does not change it.
        frozen: of ``E_k``: parameters, for schemes that evaluate it away from the particles, or
            gradients that these have not cached.
        metrics: of the last transport, detached scalars by name.
        origins: data that the chains started from, without the noise that is added to them,
            (batch, *event); None where none is added.
        draws: of the reference, for where the model has less mass than a particle; None for none.
    """

    batch: Tensor
    batch_energy: Tensor
    particles: Particles
    held_out: Particles | None
    done: Tensor
    seed: Tensor
    frozen: dict[str, Tensor]
    metrics: dict[str, Tensor]
    origins: Tensor | None = None
    draws: Draws | None = None

    @property
    def sample(self) -> Sample:
        """The weighted points that stand for the model in a loss."""
        return sample_of(self.particles, self.draws)


class Dynamics(ABC):
    """Where the particles of a scheme come from and how they follow the energy.

    Attributes:
        sampler: the transport.
        steps: its steps per learning step.
    """

    sampler: Sampler[Any]
    steps: int

    @property
    def state_types(self) -> tuple[type, ...]:
        """NamedTuples that particles are kept in."""
        return self.sampler.carry_types

    @property
    def adds_noise(self) -> bool:
        """Whether they add the noise of the learned distribution to the data themselves."""
        return False

    @property
    def is_weighted(self) -> bool:
        """Whether particles carry weights, which estimate log Z."""
        return False

    @property
    def keeps_population(self) -> bool:
        """Whether particles stay, with energies that are not relative to a reference."""
        return True

    @abstractmethod
    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The carry before the first learning step."""

    @abstractmethod
    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """The carry of the next learning step, under the new energy."""

    def measured(self, energy: Energy) -> Energy:
        """The energy, relative to the measure that the particles' weights refer to: itself."""
        return energy

    def time(self, carry: Carry) -> float:
        """Langevin time τ of one learning step, in squared units of x: that of its steps."""
        return self.steps * self.sampler.time(carry.particles.state)


@dataclass(frozen=True)
class ParticleScheme(Scheme[Carry]):
    """A scheme whose carry is that of its dynamics; only the loss is left to say.

    Args:
        dynamics: the particles.
    """

    dynamics: Dynamics

    @property
    def carry_types(self) -> tuple[type, ...]:
        """The carry, its particles, and the state of their sampler."""
        return (Carry, Draws, Particles, *self.dynamics.state_types)

    @property
    def adds_noise(self) -> bool:
        """Whether its dynamics do."""
        return self.dynamics.adds_noise

    @property
    def is_weighted(self) -> bool:
        """Whether its particles are."""
        return self.dynamics.is_weighted

    @property
    def keeps_population(self) -> bool:
        """Whether its dynamics do."""
        return self.dynamics.keeps_population

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The first particles, with what the scheme keeps of the first energy."""
        carry = self.dynamics.init(energy, batch, generator=generator)
        return carry._replace(frozen=self.freeze(energy, carry.particles))

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """Reaction and transport, and what the scheme keeps of the new energy."""
        carry = self.dynamics.advance(energy, batch, carry, generator=generator)
        return carry._replace(frozen=self.freeze(energy, carry.particles))

    def freeze(self, energy: Energy, p: Particles) -> dict[str, Tensor]:
        """What the loss needs of ``E_k`` besides what particles have cached: nothing."""
        return {}

    def populations(self, carry: Carry) -> Populations:
        """Those of the dynamics; none where they are made anew, and follow no energy."""
        if not self.keeps_population:
            return None, None
        return carry.particles, carry.held_out


def energies(energy: Energy, carry: Carry, sample: Sample) -> tuple[Tensor, Tensor]:
    """``E_θ`` at the batch and at the sample, in one pass."""
    values = energy(torch.cat([carry.batch, sample.x]))
    return values[: len(carry.batch)], values[len(carry.batch) :]


def values_at(energy: Energy, x: Tensor) -> Tensor:
    """``E(x)``, outside the graph."""
    with torch.no_grad():
        return energy(x)


def starting_points(
    energy: Energy, like: Tensor, count: int, scale: float, *, generator: Rng = None
) -> tuple[Tensor, Tensor]:
    """``count`` points to start from, shaped like those of ``like``, and their log-density.

    From the reference of the energy, which is its distribution before it learns; from
    ``N(0, scale²)`` where it has none.
    """
    source = full_batch(energy)
    if not isinstance(source, HasReference):
        source = Confined(_zero, scale)
    return source.reference(like, count, generator=generator)


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(len(x))
