"""Neural energies of images: one scalar from a U-Net or from a residual convolutional network.

Both are made of the layers of `wgflow.energies.layers`. All but the distance head begin as zero:
the first energy is then the confinement alone, whose law is known and sampled exactly.

Pixels pass through ``x̃ = R tanh(x/R)`` first. It hardly changes the range of data and noise, and
beyond it the network is bounded: whatever the weights are, the confinement wins far out, and Z is
finite by construction.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._tensor import Points, Values
from wgflow.energies.layers import (
    Attention,
    Convolutions,
    check_image,
    pad,
    squash,
    stack,
    through,
)

HEADS = ("distance", "dot", "norm")
"""Kinds of the head of a `UNet`."""

BRAKE = 0.2
"""s of the distance: over this last share of the unit time of a path its speed falls to zero."""


class Trunk(nn.Module):
    """The layers of a U-Net: from an image to features of its patches.

    Args:
        event_shape: (channels, height, width).
        widths, blocks, patch, attention, spectral, multiple: see `UNet`.
        conditions: length of the vector that every block is told besides; 0 for none.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        widths: tuple[int, ...],
        blocks: int,
        patch: int,
        attention: bool,
        spectral: bool,
        conditions: int = 0,
        *,
        multiple: int = 1,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_image(event_shape, widths, blocks, patch)
        self.patch, self.multiple = patch, math.lcm(patch, multiple)
        self.pixels = event_shape[0] * patch**2
        levels = list(itertools.pairwise(widths))
        conv = Convolutions(generator, spectral)
        self.stem = conv(self.pixels, widths[0])
        self.down = nn.ModuleList(stack(conv, width, blocks, conditions) for width in widths)
        self.shrink = nn.ModuleList(conv(a, b, stride=2) for a, b in levels)
        self.attention = Attention(conv, widths[-1]) if attention else nn.Identity()
        self.grow = nn.ModuleList(conv(b, a, kernel=1) for a, b in levels)
        self.up = nn.ModuleList(stack(conv, a, blocks, conditions) for a, _ in levels)
        self.out = conv.zero(widths[0], self.pixels)

    def features(self, x: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of the patches, for ``out``, and those of the lowest resolution."""
        h = self.stem(F.pixel_unshuffle(pad(x, self.multiple), self.patch))
        h = h.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            h = through(down, h, told)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        coarse = h = self.attention(h)
        for level in reversed(range(len(self.grow))):
            grown = F.interpolate(self.grow[level](h), scale_factor=2.0)
            h = through(self.up[level], cropped(grown, skips[level]) + skips[level], told)
        return F.silu(h), F.silu(coarse)

    def image(self, patches: Tensor, x: Tensor) -> Tensor:
        """Patches as an image of the size of x."""
        return cropped(F.pixel_shuffle(patches, self.patch), x)


def cropped(h: Tensor, like: Tensor) -> Tensor:
    """h without the rows and columns at its end that ``like`` lacks."""
    return h[..., : like.shape[-2], : like.shape[-1]]


class UNet(Trunk):
    """A U-Net f of the shape of the image, made a scalar by its head.

    - ``distance``: ``V(x) = h(|x̃ - f(x̃)|)``, see `distance`: how far x is from where f puts it.
      Its gradient flow takes straight paths of unit time to a constant f, so that f learns only
      where the paths end; with f = 0 at first all lead to the grey image. For energy matching:
      particles with weights want an energy that begins as zero.
    - ``dot``: ``V(x) = ⟨x̃, f(x̃)⟩``
    - ``norm``: ``V(x) = |x̃ - f(x̃)|²/2 - |x̃|²/2``, how well f reconstructs the image.

    Args:
        event_shape: (channels, height, width); sides that ``patch`` does not divide are padded by
            repeating the border.
        widths: channels per level; each level halves the resolution, rounded up.
        blocks: residual blocks per level, down and up.
        patch: side of the square of pixels that the first layer sees as one.
        head: ``distance``, ``dot`` or ``norm``.
        attention: self-attention at the lowest level.
        spectral: whether convolutions are normalised to spectral norm one.
        multiple: of which sides are padded to be multiples, besides of ``patch``.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image, or a setting is unknown or out of its range.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        widths: tuple[int, ...] = (32, 128, 128),
        blocks: int = 1,
        patch: int = 2,
        head: str = "dot",
        attention: bool = False,
        spectral: bool = False,
        *,
        multiple: int = 1,
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            event_shape,
            widths,
            blocks,
            patch,
            attention,
            spectral,
            multiple=multiple,
            generator=generator,
        )
        if head not in HEADS:
            raise ValueError(f"A head makes a scalar: expected one of {HEADS}, got {head!r}.")
        self.head = head

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
        widths: channels per level; each level halves the resolution.
        blocks: residual blocks per level.
        patch: side of the square of pixels that the first layer sees as one.
        attention: self-attention at the lowest level.
        spectral: whether convolutions are normalised to spectral norm one.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image, or a setting is out of its range.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        widths: tuple[int, ...] = (32, 128, 128),
        blocks: int = 2,
        patch: int = 2,
        attention: bool = False,
        spectral: bool = False,
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_image(event_shape, widths, blocks, patch)
        self.patch = patch
        conv = Convolutions(generator, spectral)
        layers: list[nn.Module] = [conv(event_shape[0] * patch**2, widths[0])]
        for a, b in zip(widths, [*widths[1:], None], strict=True):
            layers.append(stack(conv, a, blocks))
            layers += [] if b is None else [conv(a, b, stride=2)]
        layers += [Attention(conv, widths[-1])] if attention else []
        self.layers = nn.Sequential(*layers)
        self.out = conv.zero(widths[-1], 1, kernel=1)

    def forward(self, x: Points) -> Values:
        """``V(x)``."""
        h = F.pixel_unshuffle(pad(squash(x), self.patch), self.patch)
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

    def __init__(self, energy: nn.Module, enabled: bool = True):
        super().__init__()
        self.energy = energy
        self.enabled = enabled
        self.levels = getattr(energy, "levels", None)

    def forward(self, x: Points, *level: Tensor) -> Values:
        """The network's value."""
        if not self.enabled:  # not a disabled context: a caller's own autocast goes on
            return self.energy(x, *level)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.energy(x, *level)


def distance(r: Tensor) -> Values:
    """``h(|r|) = R²s (√(1 + |r|²/(Rs)²) - 1)`` with ``R = √(2d)``, s = `BRAKE`, (batch, *event).

    Noise and an image of d coordinates of unit mean square are about R apart. Far away h is
    ``R|r|``, descended at the speed R, in unit time; within ``Rs`` it is ``|r|²/(2s)``, the well
    in which the paths of `wgflow.schemes.EnergyMatching` with cutoff ``1 - s`` end.
    """
    square = r.flatten(1).square().sum(1)
    scale = 2 * math.prod(r.shape[1:])
    return scale * BRAKE * ((1 + square / (scale * BRAKE**2)).sqrt() - 1)
