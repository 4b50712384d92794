"""The units in which points are learned: shift and scale, and maps of columns before them."""

import math

import torch
from torch import Tensor

from wgflow.data.lazy import LazyPoints, PointSource, in_parts, mean_of
from wgflow.data.transforms import Transform

PIXEL_FLOOR = 0.1
SMALL_SIDE = 8
"""Pixels of a side up to which images are scaled per pixel by default."""


def units(train: PointSource, scaling: str | None = None) -> tuple[Tensor, Tensor]:
    """Shift and scale of points (n, *event): see `wgflow.data.dataset.load`, ``scaling``."""
    images = train.ndim == 4 and train.shape[1] in (1, 3)
    low, high = _span(train) if images or scaling == "range" else (-math.inf, math.inf)
    fits = images and 0 <= low <= high <= 1
    if scaling == "range" and not fits:
        raise ValueError(
            "`scaling` by range needs images (1 or 3, height, width) in [0, 1]: got shape "
            f"{tuple(train.shape[1:])} in [{low:.3g}, {high:.3g}]."
        )
    if scaling == "range" or (scaling is None and fits and max(train.shape[2:]) > SMALL_SIDE):
        return torch.tensor(0.5, dtype=train.dtype), torch.tensor(0.5, dtype=train.dtype)
    shift = mean_of(in_parts(train), len(train)).to(train.dtype)
    square = mean_of(((x - shift).square_() for x in in_parts(train)), len(train))
    scale = square.sqrt().to(train.dtype)
    if train.ndim > 2:
        # A pixel that hardly varies is not blown up, so that the noise on it stays small.
        scale = scale.clamp(min=PIXEL_FLOOR * scale.square().mean().sqrt())
    return shift, scale


def mapped(x: PointSource, maps: Transform | None) -> PointSource:
    """Points after their maps, in their own precision."""
    if maps is None:
        return x

    def of_part(part: Tensor) -> Tensor:
        return maps.forward(part).to(part.dtype)

    if isinstance(x, LazyPoints):
        return x.map(of_part)
    return torch.cat([of_part(part) for part in in_parts(x)])  # doubles need memory


def _span(x: PointSource) -> tuple[float, float]:
    """The least and the greatest number; for pixels the whole range."""
    if isinstance(x, LazyPoints) and x.are_pixels:
        return 0.0, 1.0
    ends = [torch.stack(part.aminmax()) for part in in_parts(x)]
    return float(torch.stack(ends).min()), float(torch.stack(ends).max())
