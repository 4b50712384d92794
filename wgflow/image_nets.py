"""Neural energies of images: one scalar from a U-Net or from a residual convolutional network.

Both are smooth (SiLU throughout, no max-pooling), since samplers and schemes use ``∇E`` and its
derivatives, and have no normalisation layers: the second derivative of a group norm costs more
than its convolutions, and blocks that begin as the identity train without. All but the distance
head begin as zero: the first energy is then the confinement alone, whose law is known and sampled
exactly.

Pixels pass through ``x̃ = R tanh(x/R)`` first. It hardly changes the range of data and noise, and
beyond it the network is bounded: whatever the weights are, the confinement wins far out, and Z is
finite by construction.
"""

import itertools
import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from wgflow._tensor import Points, Values

BOUND = 6.0
"""R, in standardised units: noise of the start law stays within, up to one pixel in 10⁹."""

HEADS = ("distance", "dot", "norm")
"""Kinds of the head of a `UNet`."""

BRAKE = 0.2
"""s of the distance: over this last share of the unit time of a path its speed falls to zero."""


class UNet(nn.Module):
    """A U-Net f of the shape of the image, made a scalar by its head.

    - ``distance``: ``V(x) = h(|x̃ - f(x̃)|)``, see `distance`: how far x is from where f puts it.
      Its gradient flow takes straight paths of unit time to a constant f, so that f learns only
      where the paths end; with f = 0 at first all lead to the grey image. For energy matching:
      particles with weights want an energy that begins as zero.
    - ``dot``: ``V(x) = ⟨x̃, f(x̃)⟩``
    - ``norm``: ``V(x) = |x̃ - f(x̃)|²/2 - |x̃|²/2``, how well f reconstructs the image.

    Args:
        event_shape: (channels, height, width); sides divisible by ``patch · 2^(levels - 1)`` are
            best, others are padded by repeating the border.
        widths: channels per level; each level halves the resolution.
        blocks: residual blocks per level, down and up.
        patch: side of the square of pixels that the first layer sees as one.
        head: ``distance``, ``dot`` or ``norm``.
        attention: self-attention at the lowest level.
        spectral: whether convolutions are normalised to spectral norm one.
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
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_image(event_shape, widths, blocks, patch)
        if head not in HEADS:
            raise ValueError(f"A head makes a scalar: expected one of {HEADS}, got {head!r}.")
        self.patch, self.head = patch, head
        self.multiple = patch * 2 ** (len(widths) - 1)
        conv = Convolutions(generator, spectral)
        pixels, levels = event_shape[0] * patch**2, list(itertools.pairwise(widths))
        self.stem = conv(pixels, widths[0])
        self.down = nn.ModuleList(stack(conv, width, blocks) for width in widths)
        self.shrink = nn.ModuleList(conv(a, b, stride=2) for a, b in levels)
        self.attention = Attention(conv, widths[-1]) if attention else nn.Identity()
        self.grow = nn.ModuleList(conv(b, a, kernel=1) for a, b in levels)
        self.up = nn.ModuleList(stack(conv, a, blocks) for a, _ in levels)
        self.out = conv.zero(widths[0], pixels)

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
        height, width = x.shape[-2:]
        h = self.stem(F.pixel_unshuffle(pad(x, self.multiple), self.patch))
        h = h.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            h = down(h)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        h = self.attention(h)
        for level in reversed(range(len(self.grow))):
            h = F.interpolate(self.grow[level](h), scale_factor=2.0) + skips[level]
            h = self.up[level](h)
        return F.pixel_shuffle(self.out(F.silu(h)), self.patch)[..., :height, :width]


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
        self.multiple = patch * 2 ** (len(widths) - 1)
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

    def __init__(self, energy: nn.Module, enabled: bool = True):
        super().__init__()
        self.energy = energy
        self.enabled = enabled

    def forward(self, x: Points) -> Values:
        """The network's value."""
        if not self.enabled:  # not a disabled context: a caller's own autocast goes on
            return self.energy(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.energy(x)


class Convolutions:
    """Makes 3×3 convolutions whose weights come from one generator (He et al. 2015)."""

    def __init__(self, generator: torch.Generator | None, spectral: bool):
        self.generator = generator
        self.spectral = spectral

    def __call__(self, fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
        """A convolution of unit gain before a SiLU."""
        layer = self.zero(fan_in, fan_out, kernel, stride)
        deviation = math.sqrt(2 / (fan_in * kernel**2))
        with torch.no_grad():
            layer.weight.normal_(0, deviation, generator=self.generator)
        return self.normalised(layer)

    def zero(self, fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
        """A convolution that begins as zero."""
        layer = cast(Callable[..., nn.Conv2d], nn.utils.skip_init)(
            nn.Conv2d, fan_in, fan_out, kernel, stride, kernel // 2
        )
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(cast(Tensor, layer.bias))
        return layer

    def normalised(self, layer: nn.Conv2d) -> nn.Module:
        """The layer, of spectral norm one if asked for."""
        if not self.spectral:
            return layer
        with torch.random.fork_rng(devices=[]):  # its power iteration starts from global noise
            seed = torch.randint(2**31, (), generator=self.generator)
            torch.manual_seed(int(seed))
            return spectral_norm(layer)


class Block(nn.Module):
    """``h + W₂ σ(W₁ h)``, the identity at first."""

    def __init__(self, conv: Convolutions, width: int):
        super().__init__()
        self.first = conv(width, width)
        self.second = conv.zero(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """The block."""
        return h + self.second(F.silu(self.first(h)))


class Attention(nn.Module):
    """``h + W softmax(Q̃ᵀK̃/√c) V`` over the positions of h, the identity at first.

    Queries and keys have ``q̃ = q/√(1 + |q|²/c)``, since h grows without normalisation and with it
    the curvature of the softmax (Henry et al. 2020). Fused kernels lack second derivatives.
    """

    def __init__(self, conv: Convolutions, width: int):
        super().__init__()
        self.project = conv(width, 3 * width, kernel=1)
        self.out = conv.zero(width, width, kernel=1)

    def forward(self, h: Tensor) -> Tensor:
        """Attention over all positions."""
        q, k, v = self.project(h).flatten(2).chunk(3, 1)
        scores = torch.einsum("bci,bcj->bij", bounded(q), bounded(k)) / math.sqrt(q.shape[1])
        mixed = torch.einsum("bij,bcj->bci", scores.softmax(2), v)
        return h + self.out(mixed.reshape(h.shape))


def bounded(q: Tensor) -> Tensor:
    """``q/√(1 + |q|²/c)`` of columns q, of length √c at most, (batch, c, columns)."""
    return q * (1 + q.square().mean(1, keepdim=True)).rsqrt()


def stack(conv: Convolutions, width: int, blocks: int) -> nn.Sequential:
    """Several blocks in a row."""
    return nn.Sequential(*(Block(conv, width) for _ in range(blocks)))


def distance(r: Tensor) -> Values:
    """``h(|r|) = R²s (√(1 + |r|²/(Rs)²) - 1)`` with ``R = √(2d)``, s = `BRAKE`, (batch, *event).

    Noise and an image of d coordinates of unit mean square are about R apart. Far away h is
    ``R|r|``, descended at the speed R, in unit time; within ``Rs`` it is ``|r|²/(2s)``, the well
    in which the paths of `wgflow.schemes.EnergyMatching` with cutoff ``1 - s`` end.
    """
    square = r.flatten(1).square().sum(1)
    scale = 2 * math.prod(r.shape[1:])
    return scale * BRAKE * ((1 + square / (scale * BRAKE**2)).sqrt() - 1)


def squash(x: Tensor) -> Tensor:
    """``x̃ = R tanh(x/R)``."""
    return BOUND * torch.tanh(x / BOUND)


def pad(x: Tensor, multiple: int) -> Tensor:
    """The image with its last row and column repeated until its sides are multiples."""
    height, width = (-side % multiple for side in x.shape[-2:])
    return F.pad(x, (0, width, 0, height), mode="replicate") if height or width else x


def check_image(
    event_shape: tuple[int, ...], widths: tuple[int, ...], blocks: int, patch: int
) -> None:
    """Raise ValueError unless a convolutional energy can be made of these."""
    if len(event_shape) != 3:
        raise ValueError(
            "A convolutional energy is of images: expected events of shape (channels, height, "
            f"width), got {event_shape}."
        )
    if not widths or min(*widths, blocks, patch) < 1:
        raise ValueError(
            "A convolutional energy needs widths, blocks and patch of at least 1: "
            f"got {widths}, {blocks} and {patch}."
        )
