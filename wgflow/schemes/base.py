"""The contract of schemes: how the energy learns, and what other code has to know of it."""

from abc import ABC, abstractmethod
from dataclasses import field
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.flows.path import StraightPaths
from wgflow.samplers.particles import Particles

C = TypeVar("C")

Populations = tuple[Particles | None, Particles | None]
"""The particles that train, and those that never enter a gradient."""


class Loss(NamedTuple):
    """What the optimiser minimises.

    Attributes:
        value: a scalar in the graph of the parameters.
        metrics: detached scalars by name.
    """

    value: Tensor
    metrics: dict[str, Tensor]


class Scheme(ABC, Generic[C]):
    """A numerical scheme of learning: a frozen record of hyper-parameters.

    A learning step freezes a carry (the batch, the particles and what is cached on them), takes up
    to ``inner_steps`` optimiser steps, the first on `first_loss` and the others on `loss`, then
    calls `advance` once. A carry is a
    NamedTuple with a field ``metrics``, detached scalars by name; a checkpoint holds it.
    """

    inner_steps: int

    @property
    @abstractmethod
    def carry_types(self) -> tuple[type, ...]:
        """The NamedTuples in its carry, which a checkpoint may hold."""

    @property
    def adds_noise(self) -> bool:
        """Whether it adds the noise of the learned distribution to the data itself."""
        return False

    @property
    def learns_levels(self) -> bool:
        """Whether it teaches an energy all of its noise levels."""
        return False

    @property
    def path(self) -> StraightPaths | None:
        """The paths from noise to data that it matches the energy to; None for none."""
        return None

    @property
    def is_weighted(self) -> bool:
        """Whether its particles carry weights, which estimate log Z."""
        return False

    @property
    def keeps_population(self) -> bool:
        """Whether samples may start from its particles."""
        return True

    @abstractmethod
    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> C:
        """The carry before the first learning step."""

    @abstractmethod
    def loss(self, energy: Energy, carry: C, *, generator: Rng = None) -> Loss:
        """The objective on the frozen carry."""

    def first_loss(self, energy: Energy, carry: C, *, generator: Rng = None) -> Loss:
        """The objective where the energy is still that of the carry, which may be simpler."""
        return self.loss(energy, carry, generator=generator)

    @abstractmethod
    def advance(self, energy: Energy, batch: Tensor, carry: C, *, generator: Rng = None) -> C:
        """The carry of the next learning step, after the energy moved: reaction and transport."""

    def trusted(self, loss: Loss) -> bool:
        """Whether another inner step on the same frozen particles may be taken."""
        return True

    def populations(self, carry: C) -> Populations:
        """The particles in a carry."""
        return None, None


def divided(default: int) -> Any:
    """A setting that is a total over ranks, each of which takes an equal share of it."""
    return field(default=default, metadata={"divided": True})
