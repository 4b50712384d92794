"""Two schemes at once: the sum of their losses on one energy."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.flows.path import StraightPaths
from wgflow.schemes.base import Loss, Populations, Scheme
from wgflow.schemes.matching import EnergyMatching
from wgflow.schemes.proximal import NearProximal


class Pair(NamedTuple):
    """The carries of two schemes, and the metrics of both."""

    transport: Any
    equilibrium: Any
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Joint(Scheme[Pair]):
    """``L(θ) = L_transport(θ) + a L_equilibrium(θ)``: the path to the data, and the density there.

    The transport keeps noise flowing to the data while the equilibrium makes the long-run
    distribution of the particles that of the data. Dropping the first lets samples from noise
    decay; dropping the second leaves modes that no path ends in.

    Args:
        transport: a scheme, energy matching by default; dual score matching is one too.
        equilibrium: a scheme with particles, near-proximal by default.
        weight: a > 0. Energy matching is in squared units of x, the other in nats, so the default
            is the order of a temperature.
        inner_steps: optimiser steps per learning step, in place of those of the parts.

    Raises:
        ValueError: when a hyper-parameter is not positive, or one scheme adds noise to the data
            itself and the other wants them with it.
    """

    transport: Scheme[Any] = field(default_factory=EnergyMatching)
    equilibrium: Scheme[Any] = field(default_factory=NearProximal)
    weight: float = 0.01
    inner_steps: int = 1

    def __post_init__(self) -> None:
        check_positive(weight=self.weight, inner_steps=self.inner_steps)
        parts = sorted((self.transport, self.equilibrium), key=lambda part: not part.adds_noise)
        if self.transport.adds_noise != self.equilibrium.adds_noise:
            own, other = (type(part).__name__ for part in parts)
            raise ValueError(
                "`transport` and `equilibrium` must both add noise to the data, or neither: got "
                f"{own}, which does, and {other}, which does not; dynamics from-data do with "
                "noisy = true."
            )

    @property
    def carry_types(self) -> tuple[type, ...]:
        """Those of both, and the pair."""
        return (Pair, *self.transport.carry_types, *self.equilibrium.carry_types)

    @property
    def adds_noise(self) -> bool:
        """Whether both do."""
        return self.transport.adds_noise

    @property
    def learns_levels(self) -> bool:
        """Whether one of them does."""
        return self.transport.learns_levels or self.equilibrium.learns_levels

    @property
    def path(self) -> StraightPaths | None:
        """That of the transport."""
        return self.transport.path

    @property
    def is_weighted(self) -> bool:
        """Whether the equilibrium is."""
        return self.equilibrium.is_weighted

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Pair:
        """Both carries."""
        first = self.transport.init(energy, batch, generator=generator)
        return Pair(first, self.equilibrium.init(energy, batch, generator=generator), {})

    def loss(self, energy: Energy, carry: Pair, *, generator: Rng = None) -> Loss:
        """The sum, and the metrics of both."""
        first = self.transport.loss(energy, carry.transport, generator=generator)
        second = self.equilibrium.loss(energy, carry.equilibrium, generator=generator)
        return self._sum(first, second)

    def first_loss(self, energy: Energy, carry: Pair, *, generator: Rng = None) -> Loss:
        """The sum of the first losses."""
        first = self.transport.first_loss(energy, carry.transport, generator=generator)
        second = self.equilibrium.first_loss(energy, carry.equilibrium, generator=generator)
        return self._sum(first, second)

    def _sum(self, first: Loss, second: Loss) -> Loss:
        return Loss(first.value + self.weight * second.value, first.metrics | second.metrics)

    def advance(
        self, energy: Energy, batch: Tensor, carry: Pair, *, generator: Rng = None
    ) -> Pair:
        """Both carries, from the same batch."""
        first = self.transport.advance(energy, batch, carry.transport, generator=generator)
        second = self.equilibrium.advance(energy, batch, carry.equilibrium, generator=generator)
        return Pair(first, second, first.metrics | second.metrics)

    def trusted(self, loss: Loss) -> bool:
        """Whether the equilibrium trusts it."""
        return self.equilibrium.trusted(loss)

    def populations(self, carry: Pair) -> Populations:
        """Those of the equilibrium."""
        return self.equilibrium.populations(carry.equilibrium)
