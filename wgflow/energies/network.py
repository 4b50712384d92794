"""The contract of networks: frozen records of hyper-parameters that build an energy."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.data.dataset import Dataset
from wgflow.data.moments import DataMoments
from wgflow.energies.confined import Confined
from wgflow.energies.noise_levels import NoiseLevels


@dataclass(frozen=True)
class Network(ABC):
    """An energy in standardised units: how it is built, and what other code has to know of it."""

    needs_moments: ClassVar[bool] = False
    """Whether `build` wants the mean and the covariance of the data."""

    needs_extent: ClassVar[bool] = False
    """Whether it wants to know how far the data reach too."""

    needs_mixture: ClassVar[bool] = False
    """Whether it wants a mixture of Gaussians of the data too."""

    is_expensive: ClassVar[bool] = False
    """Whether an evaluation takes so long that scores of many evaluations are left out."""

    @property
    def axes(self) -> int:
        """Leading axes of the data that stand for a covariance of too many coordinates."""
        return 0

    @property
    def needs_coarse(self) -> bool:
        """Whether it wants a mixture of few components too."""
        return False

    @property
    def candidates(self) -> tuple["Network", ...]:
        """Networks of which a trial chooses one: none, but itself."""
        return (self,)

    def settled(self, moments: DataMoments) -> "Network":
        """With values for the settings that are left to the data."""
        return self

    def leads_to(self, known: "Network") -> bool:
        """Whether a run of these settings may have learned the network ``known``."""
        return known in self.candidates

    @property
    def keeps_state(self) -> bool:
        """Whether an evaluation changes buffers, so that a batch is not the sum of its parts."""
        return False

    @property
    def noise_levels(self) -> NoiseLevels | None:
        """The noise levels that its energy takes; None where it takes the point alone."""
        return None

    def weights(self, dim: int) -> int:
        """How many parameters it has at least, of points with ``dim`` coordinates."""
        return 0

    def kept(self, dim: int) -> int:
        """How many numbers per point an evaluation keeps for its gradient, at least."""
        return 0

    def around(self, module: nn.Module | None) -> "Network":
        """The network of a module that the caller passes; only some networks take one."""
        if module is not None:
            raise ValueError(
                f"`energy` must be None for {type(self).__name__}, which builds its own network: "
                f"got {type(module).__name__}."
            )
        return self

    def check_width(self, columns: int) -> None:  # noqa: B027  (most take any)
        """Raise ValueError for a table of more columns than it can learn from; before all else."""

    def check_data(self, dataset: Dataset) -> None:  # noqa: B027  (most take any)
        """Raise ValueError for data that it cannot learn from; asked before any work."""

    @abstractmethod
    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """The energy of points of a shape, initialised.

        Args:
            moments: shape and moments of the standardised data.
            mixed: whether convolutions, if there are any, run in bfloat16.
            generator: source of the initial weights.
        """


@dataclass(frozen=True)
class ConfinedNetwork(Network):
    """A free part, zero at first, plus a confinement, `wgflow.energies.confined.Confined`.

    Args:
        confinement: s; None for the network's own.
        confined: whether there is a confinement; without it Z may be infinite.

    Raises:
        ValueError: when a setting is out of its range.
    """

    confinement: float | None = None
    confined: bool = True

    def __post_init__(self) -> None:
        if self.confinement is not None:
            check_positive(confinement=self.confinement)

    def confine(self, free: nn.Module, moments: DataMoments) -> nn.Module:
        """The free part with the confinement of the moments and the extent, unless unconfined.

        By default ``s = 1 + √(2/d)``. With leading axes in place of C, C is the identity.
        """
        if not self.confined:
            return free
        center = 0.0 if moments.center is None else moments.center
        scale = self.confinement or 1 + math.sqrt(2 / math.prod(moments.event_shape))
        full = moments.covariance if isinstance(moments.covariance, Tensor) else None
        return Confined(free, scale, center, full, moments.extent)
