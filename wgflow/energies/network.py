"""Architectures: records of hyper-parameters that build the energy of points of a given shape."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from wgflow._check import check_choice, check_nonnegative, check_positive
from wgflow.data.dataset import Dataset
from wgflow.data.moments import Spectrum
from wgflow.energies.base import Confined
from wgflow.energies.mlp import ACTIVATIONS, MLP
from wgflow.energies.noise_levels import Levels


@dataclass(frozen=True)
class Network(ABC):
    """An energy in standardised units: how it is built, and what other code has to know of it."""

    needs_moments: ClassVar[bool] = False
    """Whether `build` wants the mean and the covariance of the data."""

    is_expensive: ClassVar[bool] = False
    """Whether an evaluation takes so long that scores of many evaluations are left out."""

    needs_module: ClassVar[bool] = False
    """Whether it is around a module that the caller passes, since no file can name one."""

    @property
    def axes(self) -> int:
        """Leading axes of the data that stand for a covariance of too many coordinates."""
        return 0

    @property
    def keeps_state(self) -> bool:
        """Whether an evaluation changes buffers, so that a batch is not the sum of its parts."""
        return False

    @property
    def noise_levels(self) -> Levels | None:
        """The noise levels that its energy takes; None where it takes the point alone."""
        return None

    def check_data(self, dataset: Dataset) -> None:  # noqa: B027  (most take any)
        """Raise ValueError for data that it cannot learn from; asked before any work."""

    @abstractmethod
    def build(
        self,
        event_shape: tuple[int, ...],
        covariance: Tensor | Spectrum | None = None,
        center: Tensor | None = None,
        *,
        mixed: bool = False,
        generator: torch.Generator | None = None,
    ) -> nn.Module:
        """The energy; covariance (of flattened points) and center are the standardised data's.

        `ImageNoisyUNet` makes do with leading axes in its place, of images of many numbers.
        ``mixed`` asks for convolutions in bfloat16, of architectures that have some.
        """


@dataclass(frozen=True)
class Confinable(Network):
    """A free part plus a confinement ``uᵀC⁻¹u/(2s²)``.

    Args:
        confinement: s; None for the architecture's own.
        confined: whether there is a confinement; without it Z may be infinite.

    Raises:
        ValueError: when a setting is out of its range.
    """

    confinement: float | None = None
    confined: bool = True

    def __post_init__(self):
        if self.confinement is not None:
            check_positive(confinement=self.confinement)

    def build(
        self, event_shape, covariance=None, center=None, *, mixed=False, generator=None
    ) -> nn.Module:
        """The free part, confined unless it is not to be."""
        free = self.free(event_shape, mixed, generator)
        if not self.confined:
            return free
        full = covariance if isinstance(covariance, Tensor) else None
        return self.confine(free, event_shape, full, center)

    @abstractmethod
    def free(
        self, event_shape: tuple[int, ...], mixed: bool, generator: torch.Generator | None
    ) -> nn.Module:
        """The free part, zero at first."""

    @abstractmethod
    def confine(
        self,
        free: nn.Module,
        event_shape: tuple[int, ...],
        covariance: Tensor | None,
        center: Tensor | None,
    ) -> Confined:
        """The free part with its confinement."""


@dataclass(frozen=True)
class Perceptron(Confinable):
    """An `MLP`, confined with the covariance C of the standardised data.

    With ``s = 1 + √(2/d)`` the confinement is wider than a Gaussian of that covariance by 0.6
    (d = 2) to 2 nats of relative entropy, so the start does not move away from the data as the
    dimension d grows.

    Args:
        confinement, confined: see `Confinable`.
        width, depth, features, frequency, activation: see `wgflow.energies.mlp.MLP`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True

    width: int = 128
    depth: int = 2
    features: int = 64
    frequency: float = 4.0
    activation: str = "silu"

    def __post_init__(self):
        super().__post_init__()
        check_positive(width=self.width, depth=self.depth, frequency=self.frequency)
        check_nonnegative(features=self.features)
        check_choice("activation", self.activation, ACTIVATIONS)

    def free(self, event_shape, mixed, generator) -> nn.Module:
        """The perceptron."""
        return MLP(
            event_shape,
            self.width,
            self.depth,
            self.features,
            self.frequency,
            self.activation,
            generator=generator,
        )

    def confine(self, free, event_shape, covariance, center) -> Confined:
        """``E(u) + uᵀC⁻¹u/(2s²)``."""
        scale = self.confinement or 1 + math.sqrt(2 / math.prod(event_shape))
        return Confined(free, scale, 0.0 if center is None else center, covariance)
