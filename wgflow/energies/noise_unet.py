"""A scalar U-Net of images with noise of every level: what the heat flow of their law asks for."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wgflow._tensor import Points, Values, per_point, sum_event
from wgflow.energies.layers import Convolutions, linear, linear_zero, squash
from wgflow.energies.noise_levels import Levels
from wgflow.energies.principal import Overview, Principal
from wgflow.energies.unet import Trunk

WAVES = 16
"""Frequencies in which a level enters, from a tenth to two per unit of log σ."""

TOLD = 64
"""Length of the vector that blocks are told of a level."""

SHARPNESS = 20.0
"""How sharply f is bounded, per unit of a pixel."""

HIDDEN = 32
"""Units of the network of the drift."""


class NoisyUNet(Trunk):
    """``E(x, λ) = |n|²/2 + s(x, λ) + d (log 2π + λ)/2 + d c(λ)`` with ``n = (x - f)/σ``.

    Here λ = log σ². The U-Net f(x, λ) says where x would be without noise, so that n is its noise,
    s what the space around f is worth, and c, a function of the level alone, what is known of its
    volume. At first f, s and c are zero: E is the energy of white noise around the grey image,
    with its normaliser. The network sees no more than a bounded range of x, so that E rises as
    ``|x|²/(2σ²)`` far out, and Z is finite.

    If bounded, f is an image: its pixels lie in [-1, 1], the range of those of data scaled by
    range. So in the first term a pixel that is r beyond costs r²/(2σ²) at least.

    Besides the level, the U-Net is told what the first principal coordinates of x say, and s has
    a term of them, see `wgflow.energies.principal`: where noise is wide they are most of what
    there is.

    The network sees ``x/(1+σ)``, the point of a straight path from noise to data. As a function of
    x alone this is the energy of the lowest level.

    Args:
        event_shape: (channels, height, width).
        levels: of the noise.
        widths, blocks, patch, attention, spectral, multiple: see `wgflow.energies.unet.UNet`.
        principal: mean, axes and variances of the data; None for none.
        overview: whether the network is told the coordinates along them.
        bounded: whether f is.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image, or a setting is out of its range.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        levels: Levels,
        widths: tuple[int, ...] = (32, 128, 128),
        blocks: int = 2,
        patch: int = 2,
        attention: bool = True,
        spectral: bool = False,
        principal: Principal | None = None,
        overview: bool = True,
        bounded: bool = True,
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
            TOLD,
            multiple=multiple,
            generator=generator,
        )
        self.levels = levels
        self.bounded = bounded
        self.noise = Convolutions(generator, spectral).zero(widths[0], self.pixels)
        self.fine, self.coarse = linear_zero(widths[0], 1), linear_zero(widths[-1], 1)
        self.told = linear(2 * WAVES, TOLD, generator)
        self.tell = linear(TOLD, TOLD, generator)
        self.level = linear(2 * WAVES, HIDDEN, generator)
        self.drift = linear_zero(HIDDEN, 1)
        self.principal, self.overview = principal, None
        if principal is not None and overview:
            self.overview = Overview(len(principal.axes), 2 * WAVES, TOLD, generator)

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x, λ)``; without a level that of the lowest."""
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(self.levels.lowest))
        d = x[0].numel()
        sigma = per_point((level / 2).exp(), x)
        with torch.autocast(x.device.type, enabled=False):  # energies differ by little of much
            told, drift, seen = self.of_level(x, level)
        fine, coarse = self.features(squash(x / (1 + sigma)), told)
        with torch.autocast(x.device.type, enabled=False):
            fine, coarse = fine.to(x.dtype), coarse.to(x.dtype)
            noise = (x - self.clean(fine, sigma, x)) / sigma
            free = pooled(fine, self.fine) + pooled(coarse, self.coarse) + seen
            volume = d * (math.log(2 * math.pi) + level) / 2 + d * drift
            return sum_event(noise**2) / 2 + free + volume

    def of_level(self, x: Points, level: Values) -> tuple[Tensor, Values, Values | float]:
        """What blocks are told, (batch, `TOLD`), c and the term of the coordinates, (batch,)."""
        turns = torch.linspace(0.1, 2.0, WAVES, dtype=level.dtype, device=level.device)
        angle = level[:, None] / 2 * turns
        waves = torch.cat([angle.sin(), angle.cos()], 1)
        told, seen = self.tell(F.silu(self.told(waves))), 0.0
        if self.principal is not None and self.overview is not None:
            more, seen = self.overview(self.principal(x, level), waves)
            told = told + more
        return told, self.drift(F.silu(self.level(waves))).squeeze(1), seen

    def clean(self, fine: Tensor, sigma: Tensor, x: Points) -> Points:
        """``f(x, λ)``: an image, less an estimate of the noise."""
        f = self.image(self.out(fine) + sigma * self.noise(fine), x)
        return clipped(f) if self.bounded else f


def pooled(h: Tensor, layer: torch.nn.Linear) -> Values:
    """The sum over all positions of a linear function of the channels."""
    return layer(h.flatten(2).sum(2)).squeeze(1)


def clipped(f: Tensor) -> Tensor:
    """f clipped to [-1, 1], smoothly: about f within, of slope one half at the ends."""
    k = SHARPNESS
    return (F.softplus(k * (f + 1)) - F.softplus(k * (f - 1))) / k - 1
