"""Architectures of the energies of images: records that build those of `wgflow.energies.unet`."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, nn

from wgflow._check import check_choice, check_nonnegative, check_positive
from wgflow.data.dataset import Dataset
from wgflow.energies.base import Confined, Tempered
from wgflow.energies.layers import check_image
from wgflow.energies.network import Confinable, Network
from wgflow.energies.noise_levels import Levels
from wgflow.energies.noise_unet import NoisyUNet
from wgflow.energies.principal import Principal
from wgflow.energies.unet import HEADS, Mixed, ResNet, UNet


@dataclass(frozen=True)
class Convolutional(Confinable):
    """A potential of images at a temperature: ``E(u) = V(u)/ε + |u|²/(2s²)``, with s = 1.

    V is of the order of squared distances between images, ε of the variance of the finest detail
    that the density resolves. The confinement alone is the law of white noise, from which
    transport starts.

    Args:
        confinement, confined: see `Confinable`.
        temperature: ε > 0, in squared standardised units.
        widths: channels per level; each level halves the resolution.
        patch: side of the square of pixels that the first layer sees as one.
        attention: self-attention at the lowest level.
        spectral: whether convolutions are normalised to spectral norm one.

    Raises:
        ValueError: when a setting is out of its range.
    """

    is_expensive: ClassVar[bool] = True

    temperature: float = 0.0125
    widths: tuple[int, ...] = (32, 128, 128)
    patch: int = 2
    attention: bool = False
    spectral: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_positive(temperature=self.temperature, patch=self.patch)
        for width in self.widths or (0,):
            check_positive(widths=width)

    @property
    def keeps_state(self) -> bool:
        """With spectral normalisation, whose power iteration moves on."""
        return self.spectral

    def check_data(self, dataset: Dataset) -> None:
        """Images of one or several channels."""
        check_image(dataset.event_shape, self.widths, 1, self.patch)

    def free(self, event_shape, mixed, generator) -> nn.Module:
        """``V/ε``."""
        potential = self.potential(event_shape, generator)
        return Tempered(Mixed(potential, mixed), self.temperature)

    @abstractmethod
    def potential(self, event_shape: tuple[int, ...], generator: Generator | None) -> nn.Module:
        """V."""

    def confine(self, free, event_shape, covariance, center) -> Confined:
        """``E(u) + |u|²/(2s²)``."""
        return Confined(free, self.confinement or 1.0)


@dataclass(frozen=True)
class ImageUNet(Convolutional):
    """A scalar `UNet`.

    Args:
        confinement, confined: see `Confinable`.
        temperature, widths, patch, attention, spectral: see `Convolutional`.
        blocks: residual blocks per level, down and up.
        head, multiple: see `wgflow.energies.unet.UNet`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    blocks: int = 1
    head: str = "dot"
    multiple: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_positive(blocks=self.blocks, multiple=self.multiple)
        check_choice("head", self.head, HEADS)

    def potential(self, event_shape, generator) -> nn.Module:
        """V."""
        return UNet(
            event_shape,
            self.widths,
            self.blocks,
            self.patch,
            self.head,
            self.attention,
            self.spectral,
            multiple=self.multiple,
            generator=generator,
        )


@dataclass(frozen=True)
class ImageResNet(Convolutional):
    """A residual convolutional `ResNet`.

    Args:
        confinement, confined: see `Confinable`.
        temperature, widths, patch, attention, spectral: see `Convolutional`.
        blocks: residual blocks per level.

    Raises:
        ValueError: when a setting is out of its range.
    """

    blocks: int = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive(blocks=self.blocks)

    def potential(self, event_shape, generator) -> nn.Module:
        """V."""
        return ResNet(
            event_shape,
            self.widths,
            self.blocks,
            self.patch,
            self.attention,
            self.spectral,
            generator=generator,
        )


@dataclass(frozen=True)
class ImageNoisyUNet(Network):
    """A scalar `NoisyUNet` of images with noise of every level; Z is finite without confinement.

    Args:
        lowest, highest: levels of the noise, see `wgflow.energies.noise_levels.Levels`; the law
            that is learned is that of the data with noise of the lowest.
        widths, patch, attention, spectral: see `Convolutional`.
        blocks: residual blocks per level, down and up.
        principal: axes of the data whose variances it knows, at most as many as pixels; 0 for
            none. Samples start from them, see `wgflow.energies.principal`.
        overview: whether the network is told the coordinates of an image along them.
        bounded: whether the image under the noise lies in [-1, 1], as data scaled by range do.
        multiple: see `wgflow.energies.unet.UNet`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True
    is_expensive: ClassVar[bool] = True

    lowest: float = 0.05
    highest: float = 10.0
    widths: tuple[int, ...] = (32, 128, 128)
    blocks: int = 2
    patch: int = 2
    attention: bool = True
    spectral: bool = False
    principal: int = 64
    overview: bool = True
    bounded: bool = True
    multiple: int = 1

    def __post_init__(self):
        check_nonnegative(principal=self.principal)
        sizes = {"patch": self.patch, "blocks": self.blocks, "multiple": self.multiple}
        check_positive(**sizes)
        for width in self.widths or (0,):
            check_positive(widths=width)
        Levels(self.lowest, self.highest)

    @property
    def noise_levels(self) -> Levels:
        """From the lowest to the highest."""
        return Levels(self.lowest, self.highest)

    @property
    def axes(self) -> int:
        """The principal ones."""
        return self.principal

    @property
    def keeps_state(self) -> bool:
        """With spectral normalisation, whose power iteration moves on."""
        return self.spectral

    def check_data(self, dataset: Dataset) -> None:
        """Images, and in [-1, 1] where the network takes that for granted."""
        check_image(dataset.event_shape, self.widths, self.blocks, self.patch)
        if self.bounded and dataset.shift.ndim:
            raise ValueError(
                '`energy.bounded` needs images scaled by range, data.scaling = "range": got '
                f"{dataset.name} scaled by coordinate; or choose energy.bounded = false."
            )

    def build(
        self, event_shape, covariance=None, center=None, *, mixed=False, generator=None
    ) -> nn.Module:
        """The network."""
        count = min(self.principal, math.prod(event_shape))
        principal = Principal(event_shape, count, covariance, center) if count else None
        net = NoisyUNet(
            event_shape,
            self.noise_levels,
            self.widths,
            self.blocks,
            self.patch,
            self.attention,
            self.spectral,
            principal,
            self.overview,
            self.bounded,
            multiple=self.multiple,
            generator=generator,
        )
        return Mixed(net, mixed)
