"""Points that stay as they are stored, as pixels or on disk, until they are asked for."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow.data.images import dequantise

NUMBERS = 2**22
"""How many numbers a pass over a large set holds at a time."""


@dataclass(frozen=True, eq=False)
class LazyPoints:
    """Points (n, *event) of an array, made as they are asked for; indexed as a tensor is.

    Pixels become points with noise. By index it is the noise of the image itself, so that the
    same index gives the same point; `fresh` draws another. Numbers may have noise in them, which
    `fresh` may draw anew.

    Args:
        values: pixels (N, channels, height, width), uint8, or floating-point numbers (N, *event);
            in memory or mapped from a file.
        rows: which of them are the points, (n,), int64.
        dtype: of the points.
        seed: of the noise of each image.
        renew: draws the noise in numbers (batch, *event) anew; None for numbers without.
        change: applied to points, (batch, *event) to the same shape; None for nothing.
    """

    values: np.ndarray
    rows: Tensor
    dtype: torch.dtype
    seed: int = 0
    renew: Callable[[Tensor, Rng], Tensor] | None = None
    change: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *event)."""
        return (len(self.rows), *self.values.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes, that of the points counted."""
        return self.values.ndim

    @property
    def are_pixels(self) -> bool:
        """Whether these are images of eight bits, whose points have noise."""
        return self.values.dtype == np.uint8

    @property
    def are_noisy(self) -> bool:
        """Whether `fresh` draws noise."""
        return self.are_pixels or self.renew is not None

    def __getitem__(self, index: Any) -> Tensor:
        """The points at an index, a slice or a tensor of indices."""
        rows = self.rows[index]
        found = self._stored(rows.reshape(-1))
        if self.are_pixels:
            found = self._own_noise(found, rows.reshape(-1))
        return self._changed(found).reshape(*rows.shape, *self.shape[1:])

    def fresh(self, index: Tensor, *, generator: Rng = None) -> Tensor:
        """The points at indices (batch,), with new noise: (batch, *event)."""
        found = self._stored(self.rows[index])
        if self.are_pixels:
            found = dequantise(found, dtype=self.dtype, generator=generator)
        elif self.renew is not None:
            found = self.renew(found, generator)
        return self._changed(found)

    def raw(self) -> Iterator[Tensor]:
        """All points in parts, without noise and unchanged: pixels, uint8, or numbers."""
        return map(self._stored, self.rows.split(rows_at_once(self.shape[1:])))

    def map(self, change: Callable[[Tensor], Tensor]) -> "LazyPoints":
        """These points after one more change."""
        first = self.change
        return replace(self, change=change if first is None else lambda x: change(first(x)))

    def to(self, device: torch.device) -> "LazyPoints":
        """These points, on a device once they are made."""
        return self.map(lambda x: x.to(device))

    def _stored(self, rows: Tensor) -> Tensor:
        dtype = torch.uint8 if self.are_pixels else self.dtype
        x = torch.empty(len(rows), *self.shape[1:], dtype=dtype)
        x.numpy()[:] = self.values[rows.numpy()]  # of any type and order of bytes
        return x

    def _own_noise(self, pixels: Tensor, rows: Tensor) -> Tensor:
        x, own = torch.empty(pixels.shape, dtype=self.dtype), torch.Generator()
        for place, k, row in zip(x, pixels, rows.tolist(), strict=True):
            own.manual_seed(self.seed + row)
            place.copy_(dequantise(k, dtype=self.dtype, generator=own))
        return x

    def _changed(self, x: Tensor) -> Tensor:
        return x if self.change is None else self.change(x)


PointSource = Tensor | LazyPoints
"""All points of a set: in memory, or made as they are asked for."""


def rows_at_once(event_shape: Sequence[int]) -> int:
    """How many points of a shape have `NUMBERS` numbers; at least one."""
    return max(1, NUMBERS // math.prod(event_shape))


def in_parts(x: PointSource) -> Iterator[Tensor]:
    """All points in their order, `rows_at_once`."""
    rows = rows_at_once(x.shape[1:])
    return (x[start : start + rows] for start in range(0, len(x), rows))


def mean_of(parts: Iterable[Tensor], count: int) -> Tensor:
    """The mean over the ``count`` rows of parts, in double precision."""
    return functools.reduce(Tensor.add_, (x.sum(0, dtype=torch.float64) for x in parts)) / count
