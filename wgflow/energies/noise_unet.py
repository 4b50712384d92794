"""A noise-conditional U-Net of images: the energy of their distribution along the heat flow."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._check import check_nonnegative
from wgflow._random import Rng
from wgflow._tensor import Points, Values, per_point, sum_event
from wgflow.data.dataset import Dataset
from wgflow.data.moments import DataMoments
from wgflow.energies.layers import Convolutions, linear, linear_zero, squash
from wgflow.energies.noise_levels import NoiseLevels
from wgflow.energies.principal import Principal, PrincipalEmbedding
from wgflow.energies.trunk import ConvolutionalSpec, Trunk
from wgflow.energies.unet import Mixed

WAVES = 16
"""Frequencies that a level is embedded in, from a tenth to two per unit of log σ."""

CONDITIONS = 64
"""Length of the conditioning vector of the blocks."""

SHARPNESS = 20.0
"""How sharply f is bounded, per unit of a pixel."""

HIDDEN = 32
"""Units of the network of the drift."""


@dataclass(frozen=True)
class NoisyUNetSpec(ConvolutionalSpec):
    """A scalar `NoisyUNet` of images with noise of every level; Z is finite without confinement.

    Args:
        lowest, highest: see `wgflow.energies.noise_levels.NoiseLevels`; the distribution that is
            learned is that of the data with noise of the lowest level.
        widths, patch, attention, spectral, blocks, multiple: see `ConvolutionalSpec`.
        principal: number of principal axes of the data whose variances it knows, at most as many
            as pixels; 0 for none. Samples start from them, see `wgflow.energies.principal`.
        overview: whether blocks are conditioned on the coordinates of an image along them.
        bounded: whether the image under the noise lies in [-1, 1], as data scaled by range do.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True

    attention: bool = True
    blocks: int = 2
    lowest: float = 0.05
    highest: float = 10.0
    principal: int = 64
    overview: bool = True
    bounded: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nonnegative(principal=self.principal)
        NoiseLevels(self.lowest, self.highest)

    @property
    def noise_levels(self) -> NoiseLevels:
        """From the lowest to the highest."""
        return NoiseLevels(self.lowest, self.highest)

    @property
    def axes(self) -> int:
        """The principal ones."""
        return self.principal

    def check_data(self, dataset: Dataset) -> None:
        """Images, scaled to [-1, 1] if the network is bounded."""
        super().check_data(dataset)
        if self.bounded and dataset.shift.ndim:
            raise ValueError(
                '`energy.bounded` needs images scaled by range, data.scaling = "range": got '
                f"{dataset.name} scaled by coordinate; or choose energy.bounded = false."
            )

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """The network, with the leading axes of a covariance."""
        shape = moments.event_shape
        count = min(self.principal, math.prod(shape))
        principal = Principal(shape, count, moments.covariance, moments.center) if count else None
        return MixedNoisyUNet(NoisyUNet(shape, self, principal, generator=generator), mixed)


class NoisyUNet(Trunk):
    """``E(x, λ) = |n|²/2 + s(x, λ) + d (log 2π + λ)/2 + d c(λ)`` with ``n = (x - f)/σ``.

    Here λ = log σ². The U-Net f(x, λ) estimates x without noise, so that n is the noise; s is a
    free energy, and c, a function of the level alone, corrects the volume. At first f, s and c are
    zero: E is the energy of white noise around the grey image, with its normaliser. The network
    sees no more than a bounded range of x, so that E rises as ``|x|²/(2σ²)`` far out, and Z is
    finite.

    If bounded, the pixels of f lie in [-1, 1], the range of those of data scaled by range. So in
    the first term a pixel that is r beyond costs r²/(2σ²) at least.

    Blocks are conditioned on the level and on the first principal coordinates of x, and s has a
    term of these, see `wgflow.energies.principal`: at high noise they hold most of the
    information.

    The network sees ``x/(1+σ)``, the point of a straight path from noise to data. As a function of
    x alone this is the energy of the lowest level.

    Args:
        event_shape: (channels, height, width).
        spec: its sizes and noise levels.
        principal: mean, axes and variances of the data; None for none.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        spec: NoisyUNetSpec,
        principal: Principal | None = None,
        *,
        generator: Rng = None,
    ) -> None:
        super().__init__(event_shape, spec, CONDITIONS, generator=generator)
        widths = spec.widths
        self.levels, self.bounded = spec.noise_levels, spec.bounded
        self.noise = Convolutions(generator, spec.spectral).zero(widths[0], self.pixels)
        self.fine, self.coarse = linear_zero(widths[0], 1), linear_zero(widths[-1], 1)
        self.embedding = linear(2 * WAVES, CONDITIONS, generator)
        self.conditioning = linear(CONDITIONS, CONDITIONS, generator)
        self.level = linear(2 * WAVES, HIDDEN, generator)
        self.drift = linear_zero(HIDDEN, 1)
        self.principal, self.overview = principal, None
        if principal is not None and spec.overview:
            count = len(principal.axes)
            self.overview = PrincipalEmbedding(count, 2 * WAVES, CONDITIONS, generator)

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x, λ)``; without a level that of the lowest."""
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(self.levels.lowest))
        d = x[0].numel()
        sigma = per_point((level / 2).exp(), x)
        with torch.autocast(x.device.type, enabled=False):  # energies differ by little of much
            condition, drift, free = self.condition(x, level)
        fine, coarse = self.features(squash(x / (1 + sigma)), condition)
        with torch.autocast(x.device.type, enabled=False):
            fine, coarse = fine.to(x.dtype), coarse.to(x.dtype)
            noise = (x - self.clean(fine, sigma, x)) / sigma
            free = pooled(fine, self.fine) + pooled(coarse, self.coarse) + free
            volume = d * (math.log(2 * math.pi) + level) / 2 + d * drift
            return sum_event(noise**2) / 2 + free + volume

    def condition(self, x: Points, level: Values) -> tuple[Tensor, Values, Values | float]:
        """The conditioning vector, (batch, `CONDITIONS`), c, and the principal term of s."""
        turns = torch.linspace(0.1, 2.0, WAVES, dtype=level.dtype, device=level.device)
        angle = level[:, None] / 2 * turns
        waves = torch.cat([angle.sin(), angle.cos()], 1)
        vector, free = self.conditioning(F.silu(self.embedding(waves))), 0.0
        if self.principal is not None and self.overview is not None:
            more, free = self.overview(self.principal(x, level), waves)
            vector = vector + more
        return vector, self.drift(F.silu(self.level(waves))).squeeze(1), free

    def clean(self, fine: Tensor, sigma: Tensor, x: Points) -> Points:
        """``f(x, λ)``: an image, less an estimate of the noise."""
        f = self.image(self.out(fine) + sigma * self.noise(fine), x)
        return clipped(f) if self.bounded else f


class MixedNoisyUNet(Mixed):
    """A `NoisyUNet` in mixed precision if ``enabled``, see `Mixed`; with its noise levels."""

    def __init__(self, energy: NoisyUNet, enabled: bool = True) -> None:
        super().__init__(energy, enabled)
        self.levels = energy.levels


def pooled(h: Tensor, layer: nn.Linear) -> Values:
    """The sum over all positions of a linear function of the channels."""
    return layer(h.flatten(2).sum(2)).squeeze(1)


def clipped(f: Tensor) -> Tensor:
    """f clipped to [-1, 1], smoothly: about f within, of slope one half at the ends."""
    k = SHARPNESS
    return (F.softplus(k * (f + 1)) - F.softplus(k * (f - 1))) / k - 1
