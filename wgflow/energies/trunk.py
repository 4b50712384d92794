"""What U-Nets of images share: their sizes, and the layers from an image to its features."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.data.dataset import Dataset
from wgflow.energies.layers import (
    Attention,
    Convolutions,
    check_image,
    pad,
    residual_blocks,
    through,
)
from wgflow.energies.network import Network


@dataclass(frozen=True)
class ConvolutionalSpec(Network):
    """Sizes of a convolutional network of images.

    Args:
        widths: channels per stage; each stage has half the resolution of the one before, rounded
            up.
        patch: side of the square of pixels that the first layer sees as one.
        attention: self-attention at the last stage.
        spectral: whether convolutions are normalised to spectral norm one.
        blocks: residual blocks per stage; of a U-Net, down and up.
        multiple: sides are padded to multiples of it and of ``patch``, by repeating the border.

    Raises:
        ValueError: when a setting is out of its range.
    """

    is_expensive: ClassVar[bool] = True

    widths: tuple[int, ...] = (32, 128, 128)
    patch: int = 2
    attention: bool = False
    spectral: bool = False
    blocks: int = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        check_positive(patch=self.patch, blocks=self.blocks, multiple=self.multiple)
        for width in self.widths or (0,):
            check_positive(widths=width)

    @property
    def keeps_state(self) -> bool:
        """With spectral normalisation, whose power iteration continues at every evaluation."""
        return self.spectral

    @property
    def padding(self) -> int:
        """Of which sides are padded to be multiples."""
        return math.lcm(self.patch, self.multiple)

    def check_data(self, dataset: Dataset) -> None:
        """Images of one or several channels."""
        check_image(dataset.event_shape)


class Trunk(nn.Module):
    """The layers of a U-Net: from an image to features of its patches.

    Args:
        event_shape: (channels, height, width).
        spec: its sizes.
        conditions: length of the conditioning vector of every block; 0 for none.
        generator: source of the initial weights.

    Raises:
        ValueError: the event is not an image.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        spec: ConvolutionalSpec,
        conditions: int = 0,
        *,
        generator: Rng = None,
    ) -> None:
        super().__init__()
        check_image(event_shape)
        widths, blocks = spec.widths, spec.blocks
        self.patch, self.multiple = spec.patch, spec.padding
        self.pixels = event_shape[0] * spec.patch**2
        steps = list(itertools.pairwise(widths))
        conv = Convolutions(generator, spec.spectral)
        self.stem = conv(self.pixels, widths[0])
        self.down = nn.ModuleList(residual_blocks(conv, w, blocks, conditions) for w in widths)
        self.shrink = nn.ModuleList(conv(a, b, stride=2) for a, b in steps)
        self.attention = Attention(conv, widths[-1]) if spec.attention else nn.Identity()
        self.grow = nn.ModuleList(conv(b, a, kernel=1) for a, b in steps)
        self.up = nn.ModuleList(residual_blocks(conv, a, blocks, conditions) for a, _ in steps)
        self.out = conv.zero(widths[0], self.pixels)

    def features(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of the patches, for ``out``, and those of the last stage."""
        h = self.stem(F.pixel_unshuffle(pad(x, self.multiple), self.patch))
        h = h.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for stage, down in enumerate(self.down):
            h = through(down, h, condition)
            if stage < len(self.shrink):
                skips.append(h)
                h = self.shrink[stage](h)
        coarse = h = self.attention(h)
        for stage in reversed(range(len(self.grow))):
            grown = F.interpolate(self.grow[stage](h), scale_factor=2.0)
            h = through(self.up[stage], cropped(grown, skips[stage]) + skips[stage], condition)
        return F.silu(h), F.silu(coarse)

    def image(self, patches: Tensor, x: Tensor) -> Tensor:
        """Patches as an image of the size of x."""
        return cropped(F.pixel_shuffle(patches, self.patch), x)


def cropped(h: Tensor, like: Tensor) -> Tensor:
    """h without the rows and columns at its end that ``like`` lacks."""
    return h[..., : like.shape[-2], : like.shape[-1]]
