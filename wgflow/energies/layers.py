"""Layers of convolutional energies: smooth, without normalisation, and identities at first.

All are smooth (SiLU throughout, no max-pooling), since samplers and schemes use ``∇E`` and its
derivatives. The second derivative of a group norm costs more than its convolutions, and blocks
that are the identity at initialisation train without.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from wgflow._random import Rng

BOUND = 6.0
"""R, in standardised units: white noise stays within, up to one pixel in 10⁹."""


Layer = TypeVar("Layer", bound=nn.Module)


class Convolutions:
    """Makes 3×3 convolutions whose weights come from one generator (He et al. 2015)."""

    def __init__(self, generator: Rng, spectral: bool) -> None:
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
        """A convolution that is zero at first."""
        layer = unset(nn.Conv2d, fan_in, fan_out, kernel, stride, kernel // 2)
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
    """``h + W₂ σ((1 + g) W₁ h + b)``, the identity at first.

    Gain g and bias b per channel are linear in the conditioning vector, zero at first.
    """

    def __init__(self, conv: Convolutions, width: int, conditions: int = 0) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = conv.zero(width, width)
        self.conditioning = linear_zero(conditions, 2 * width) if conditions else None

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        """The block; condition is (batch, conditions)."""
        inner = self.first(h)
        if self.conditioning is not None:
            gain, bias = self.conditioning(condition)[:, :, None, None].chunk(2, 1)
            inner = inner * (1 + gain) + bias
        return h + self.second(F.silu(inner))


class Attention(nn.Module):
    """``h + W softmax(Q̃ᵀK̃/√c) V`` over the positions of h, the identity at first.

    Queries and keys have ``q̃ = q/√(1 + |q|²/c)``, since h grows without normalisation and with it
    the curvature of the softmax (Henry et al. 2020). Fused kernels lack second derivatives.
    """

    def __init__(self, conv: Convolutions, width: int) -> None:
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


def residual_blocks(
    conv: Convolutions, width: int, count: int, conditions: int = 0
) -> nn.Sequential:
    """Several blocks in a row."""
    return nn.Sequential(*(Block(conv, width, conditions) for _ in range(count)))


def through(blocks: nn.Module, h: Tensor, condition: Tensor | None) -> Tensor:
    """h through several blocks, all with the same conditioning vector."""
    for block in blocks.children():
        h = block(h, condition)
    return h


def unset(kind: Callable[..., Layer], *sizes: int) -> Layer:
    """A layer whose parameters have no values yet, and took no random numbers.

    As `torch.nn.utils.skip_init`, which imports two seconds' worth of PyTorch's compiler.
    """
    layer = kind(*sizes, device="meta")
    for name, like in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(torch.empty(like.shape, dtype=like.dtype)))
    return layer


def linear(fan_in: int, fan_out: int, generator: Rng) -> nn.Linear:
    """A linear layer of unit gain before a SiLU."""
    layer = linear_zero(fan_in, fan_out)
    nn.init.normal_(layer.weight, 0, math.sqrt(2 / fan_in), generator=generator)
    return layer


def linear_zero(fan_in: int, fan_out: int) -> nn.Linear:
    """A linear layer that is zero at first."""
    layer = unset(nn.Linear, fan_in, fan_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def squash(x: Tensor) -> Tensor:
    """``x̃ = R tanh(x/R)``."""
    return BOUND * torch.tanh(x / BOUND)


def pad(x: Tensor, multiple: int) -> Tensor:
    """The image with its last row and column repeated until its sides are multiples."""
    height, width = (-side % multiple for side in x.shape[-2:])
    return F.pad(x, (0, width, 0, height), mode="replicate") if height or width else x


def check_image(event_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless points of this shape are images."""
    if len(event_shape) != 3:
        raise ValueError(
            "`event_shape` must be (channels, height, width) for a convolutional energy: "
            f"got {event_shape}."
        )
