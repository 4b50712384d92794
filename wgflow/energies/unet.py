"""Neural energies of images: one scalar from a U-Net or from a residual convolutional network.

Both are made of the layers of `wgflow.energies.layers`. All but the distance head are zero at
first: the first energy is the confinement alone, whose distribution is known and sampled exactly.

Pixels pass through ``x̃ = R tanh(x/R)`` first. It hardly changes the range of data and noise, and
beyond it the network is bounded: whatever the weights are, the confinement dominates far out, and
Z is finite by construction.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._check import check_choice, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.moments import DataMoments
from wgflow.energies.base import Tempered, energy_at
from wgflow.energies.confined import Confined
from wgflow.energies.layers import (
    Attention,
    Convolutions,
    check_image,
    pad,
    residual_blocks,
    squash,
)
from wgflow.energies.network import ConfinedNetwork
from wgflow.energies.trunk import ConvolutionalSpec, Trunk

HEADS = ("distance", "dot", "norm")
"""Kinds of the head of a `UNet`."""

BRAKE = 0.2
"""s of the distance: over this last share of the unit time of a path its speed falls to zero."""


@dataclass(frozen=True)
class PotentialSpec(ConvolutionalSpec, ConfinedNetwork):
    """A potential of images at a temperature: ``E(u) = V(u)/ε + |u|²/(2s²)``, with s = 1.

    V is of the order of squared distances between images, ε of the variance of the finest detail
    that the density resolves. The confinement alone is the energy of white noise, from which
    transport starts.

    Args:
        confinement, confined: see `ConfinedNetwork`.
        widths, patch, attention, spectral, blocks, multiple: see `ConvolutionalSpec`.
        temperature: ε > 0, in squared standardised units.

    Raises:
        ValueError: when a setting is out of its range.
    """

    temperature: float = 0.0125

    def __post_init__(self) -> None:
        super().__post_init__()
        ConfinedNetwork.__post_init__(self)
        check_positive(temperature=self.temperature)

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """``V(u)/ε + |u|²/(2s²)``."""
        free = Tempered(
            Mixed(self.potential(moments.event_shape, generator), mixed), self.temperature
        )
        return Confined(free, self.confinement or 1.0) if self.confined else free

    @abstractmethod
    def potential(self, event_shape: tuple[int, ...], generator: Rng) -> nn.Module:
        """V."""


@dataclass(frozen=True)
class UNetSpec(PotentialSpec):
    """A scalar `UNet`.

    Args:
        confinement, confined, temperature: see `PotentialSpec`.
        widths, patch, attention, spectral, blocks, multiple: see `ConvolutionalSpec`.
        head: ``distance``, ``dot`` or ``norm``, see `UNet`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    head: str = "dot"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("head", self.head, HEADS)

    def potential(self, event_shape: tuple[int, ...], generator: Rng) -> nn.Module:
        """V."""
        return UNet(event_shape, self, generator=generator)


@dataclass(frozen=True)
class ResNetSpec(PotentialSpec):
    """A residual convolutional `ResNet`; arguments as of `PotentialSpec`."""

    blocks: int = 2

    def potential(self, event_shape: tuple[int, ...], generator: Rng) -> nn.Module:
        """V."""
        return ResNet(event_shape, self, generator=generator)


class UNet(Trunk):
    """A U-Net f of the shape of the image, made a scalar by its head.

    - ``distance``: ``V(x) = h(|x̃ - f(x̃)|)``, see `distance`: how far x is from where f puts it.
      Its gradient flow takes straight paths of unit time to a constant f, so that f learns only
      where the paths end; with f = 0 at first all lead to the grey image. For energy matching:
      particles with weights need an energy that is zero at first.
    - ``dot``: ``V(x) = ⟨x̃, f(x̃)⟩``
    - ``norm``: ``V(x) = |x̃ - f(x̃)|²/2 - |x̃|²/2``, how well f reconstructs the image.

    Args:
        event_shape: (channels, height, width).
        spec: its sizes and its head.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image.
    """

    def __init__(
        self, event_shape: tuple[int, ...], spec: UNetSpec, *, generator: Rng = None
    ) -> None:
        super().__init__(event_shape, spec, generator=generator)
        self.head = spec.head

    def forward(self, x: Points) -> Values:
        """``V(x)``."""
        x = squash(x)
        f = self.field(x).to(x.dtype)
        if self.head == "distance":
            return distance(x - f)
        density = x * f if self.head == "dot" else (f / 2 - x) * f
        return density.flatten(1).sum(1)

    def field(self, x: Tensor) -> Tensor:
        """``f(x)``, of the shape of x."""
        h, _ = self.features(x)
        return self.image(self.out(h), x)


class ResNet(nn.Module):
    """A residual convolutional energy: ``V(x) = Σ_pixels aᵀ φ(x̃)`` at the lowest resolution.

    Args:
        event_shape: (channels, height, width).
        spec: its sizes.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image.
    """

    def __init__(
        self, event_shape: tuple[int, ...], spec: ResNetSpec, *, generator: Rng = None
    ) -> None:
        super().__init__()
        check_image(event_shape)
        widths, patch = spec.widths, spec.patch
        self.patch, self.multiple = patch, spec.padding
        conv = Convolutions(generator, spec.spectral)
        layers: list[nn.Module] = [conv(event_shape[0] * patch**2, widths[0])]
        for a, b in zip(widths, [*widths[1:], None], strict=True):
            layers.append(residual_blocks(conv, a, spec.blocks))
            layers += [] if b is None else [conv(a, b, stride=2)]
        layers += [Attention(conv, widths[-1])] if spec.attention else []
        self.layers = nn.Sequential(*layers)
        self.out = conv.zero(widths[-1], 1, kernel=1)

    def forward(self, x: Points) -> Values:
        """``V(x)``."""
        h = F.pixel_unshuffle(pad(squash(x), self.multiple), self.patch)
        h = self.layers(h.contiguous(memory_format=torch.channels_last))
        return self.out(F.silu(h)).to(x.dtype).flatten(1).sum(1)


class Mixed(nn.Module):
    """A network evaluated in mixed precision, its value in the dtype of x.

    Weights stay in their own precision; convolutions and products run in bfloat16, with three
    decimal digits or so, which suit learning and unadjusted steps, not acceptance ratios.

    Args:
        energy: the network.
        enabled: whether it is mixed; otherwise this is the network itself.
    """

    def __init__(self, energy: nn.Module, enabled: bool = True) -> None:
        super().__init__()
        self.energy = energy
        self.enabled = enabled

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """The network's value."""
        if not self.enabled:  # not a disabled context: a caller's own autocast goes on
            return energy_at(self.energy, x, level)
        with torch.autocast(x.device.type, torch.bfloat16):
            return energy_at(self.energy, x, level)


def distance(r: Tensor) -> Values:
    """``h(|r|) = R²s (√(1 + |r|²/(Rs)²) - 1)`` with ``R = √(2d)``, s = `BRAKE`, (batch, *event).

    Noise and an image of d coordinates of unit mean square are about R apart. Far away h is
    ``R|r|``, descended at the speed R, in unit time; within ``Rs`` it is ``|r|²/(2s)``, the
    minimum at which the paths of `wgflow.schemes.EnergyMatching` with cutoff ``1 - s`` end.
    """
    square = r.flatten(1).square().sum(1)
    scale = 2 * math.prod(r.shape[1:])
    return scale * BRAKE * ((1 + square / (scale * BRAKE**2)).sqrt() - 1)
