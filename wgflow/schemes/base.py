"""The contract of schemes: how the energy learns."""

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from wgflow.energies.base import Energy
from wgflow.flows.path import StraightPaths

C = TypeVar("C")


class Loss(NamedTuple):
    """What the optimiser minimises, and what a person may want to see of it.

    Attributes:
        value: a scalar in the graph of the parameters.
        metrics: detached scalars by name.
    """

    value: Tensor
    metrics: dict[str, Tensor]


class Scheme(ABC, Generic[C]):
    """A numerical scheme of learning: a frozen record of hyper-parameters.

    A learning step freezes a carry (the batch, the particles and whatever was cached on them),
    takes up to ``inner_steps`` optimiser steps on `loss`, then calls `advance` once.
    """

    inner_steps: int

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

    @abstractmethod
    def init(
        self, energy: Energy, batch: Tensor, *, generator: torch.Generator | None = None
    ) -> C:
        """The carry before the first learning step."""

    @abstractmethod
    def loss(self, energy: Energy, carry: C, *, generator: torch.Generator | None = None) -> Loss:
        """The objective on the frozen carry."""

    @abstractmethod
    def advance(
        self, energy: Energy, batch: Tensor, carry: C, *, generator: torch.Generator | None = None
    ) -> C:
        """The carry of the next learning step, after the energy moved: reaction and transport."""

    def trusted(self, loss: Loss) -> bool:
        """Whether another inner step on the same frozen particles is worth taking."""
        return True
