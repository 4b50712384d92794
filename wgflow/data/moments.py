"""Mean and covariance of standardised points: the confinement and the start of an energy."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow.data.dataset import Dataset
from wgflow.data.lazy import PointSource, in_parts, mean_of, rows_at_once
from wgflow.data.mixtures import Gaussians

LARGEST = 1024
"""Coordinates up to which all of their covariance is known."""

SEEN = 20_000
"""Points that leading axes are found by, of more coordinates than that."""

MORE, PASSES = 10, 3
"""Axes beside those asked for, and passes over the points, of the search for them."""

RIDGE = 0.01
"""Of the mean variance, added to every direction so that none has nothing."""

FARTHEST = 10
"""Points whose distances tell how fast the tail of the data falls."""

NARROWEST = 0.2
"""Width of the margin around data whose tail falls faster, such as those of bounded support."""


class Spectrum(NamedTuple):
    """What of a covariance can be kept for little.

    Attributes:
        variances: along the leading axes, (count,), falling.
        axes: those, orthonormal, (count, d).
        rest: the mean variance along all others.
    """

    variances: Tensor
    axes: Tensor
    rest: Tensor


class Extent(NamedTuple):
    """How far points reach, as distances from their mean in whitened coordinates.

    Attributes:
        radius: R, that of the farthest point.
        width: w, of the margin beyond it in which more points may be expected.
    """

    radius: float
    width: float


class DataMoments(NamedTuple):
    """What a network is built for: the shape of standardised points, and moments if known.

    Attributes:
        event_shape: shape of one point.
        covariance: of flattened points, (d, d), or its leading axes in its place.
        center: mean, (*event).
        families: of a mixture of Gaussians fitted to flattened points; none if it is not known.
        coarse: of another, with few components; none if it is not known.
        extent: how far the points reach by that covariance.
        points: how many they are; None if that is not known.
    """

    event_shape: tuple[int, ...]
    covariance: Tensor | Spectrum | None = None
    center: Tensor | None = None
    families: tuple[Gaussians, ...] = ()
    coarse: tuple[Gaussians, ...] = ()
    extent: Extent | None = None
    points: int | None = None


def bandwidth(count: int, dim: int) -> float:
    """Silverman's ``(4/((d+2) n))^{1/(d+4)}``, for n points of unit variance in d dimensions."""
    return (4 / ((dim + 2) * count)) ** (1 / (dim + 4))


def center_of(dataset: Dataset, u: PointSource, *, flips: bool = False) -> Tensor | None:
    """The mean of standardised points, (*event), float64; None where it is zero by their units.

    With flips, of the images and their mirror images.

    Images scaled by range have a mean of their own in every pixel. A confinement around the
    origin would cost them thousands of nats in the pixels that hardly vary.
    """
    if dataset.shift.ndim:
        return None
    mean = mean_of(in_parts(u), len(u))
    return (mean + mean.flip(-1)) / 2 if flips else mean


def covariance_of(u: PointSource, *, flips: bool = False) -> Tensor | None:
    """The covariance of flattened points, (d, d), float64; None above `LARGEST` coordinates.

    With flips, of images and their mirror images, which may lie far from the span of the images.
    `RIDGE` of the mean variance is added to the diagonal, so that it is never singular.
    """
    d = math.prod(u.shape[1:])
    if d > LARGEST:
        return None
    second, mean = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    for part in in_parts(u):
        flat = part.flatten(1).double()
        second += flat.T @ flat / len(u)
        mean += flat.sum(0) / len(u)
    if flips:
        mirror = torch.arange(d).reshape(u.shape[1:]).flip(-1).flatten()
        mean = (mean + mean[mirror]) / 2
        second = (second + second[mirror][:, mirror]) / 2
    covariance = second - mean[:, None] * mean
    ridge = RIDGE * covariance.diagonal().mean()
    return covariance + ridge * torch.eye(d, dtype=torch.float64)


def extent_of(
    u: PointSource,
    covariance: Tensor,
    center: Tensor | None = None,
    *,
    flips: bool = False,
    noise: float = 0.0,
) -> Extent:
    """How far points reach by their own moments, covariance (d, d) and center (*event) or zero.

    The distance of each point is that by the moments of all others: where n points have about as
    many coordinates, fresh ones lie far outside of the ellipsoid of these n, and one that alone
    makes the covariance lies far outside of the rest. Removing one of n points turns r² into
    ``n r²/(n-1-r²)`` (Sherman and Morrison). The width is the difference between the largest
    distance and the `FARTHEST`-th largest: a heavy tail goes on far beyond the data.

    Args:
        flips: whether the points are images and their mirror images.
        noise: σ of the Gaussian noise with which they are learned.
    """
    factor = torch.linalg.cholesky(covariance)
    mean = factor.new_zeros(()) if center is None else center.double()
    generator, largest = torch.Generator().manual_seed(0), factor.new_zeros(0)
    for part in seen(u, torch.arange(len(u)), flips):
        x = part.double() - mean
        x = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        white = torch.linalg.solve_triangular(factor, x.flatten(1).T, upper=False)
        largest = torch.cat([largest, white.square().sum(0)])
        largest = largest.topk(min(FARTHEST, len(largest))).values
    n = len(u)
    left = (n - 1 - largest).clamp(min=1 / n)  # what rounding, a ridge or noise may take
    radii = (n * largest / left).sqrt()
    return Extent(float(radii[0]), max(NARROWEST, float(radii[0] - radii[-1])))


def spectrum_of(covariance: Tensor, count: int) -> Spectrum:
    """The leading axes of a covariance (d, d)."""
    found, columns = torch.linalg.eigh(covariance)
    rest = found[:-count].sum() / max(1, len(found) - count)
    return Spectrum(found.flip(0)[:count], columns.flip(1)[:, :count].T, rest)


def leading(u: PointSource, count: int, *, flips: bool = False) -> Spectrum:
    """The spectrum of flattened points of too many coordinates for a covariance, float64.

    By subspace iteration from random directions (Halko, Martinsson and Tropp 2011), on `SEEN` of
    the points at most, a few at a time; with the ridge, and with flips, as `covariance_of`.
    """
    d = math.prod(u.shape[1:])
    points = torch.arange(0, len(u), -(-len(u) // SEEN))
    mean = mean_of(seen(u, points, flips), len(points) * (1 + flips)).flatten()
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(d, count + MORE, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(start).Q
    product, total = basis, mean.new_zeros(())
    for _ in range(PASSES):
        basis = torch.linalg.qr(product).Q
        product, total = torch.zeros_like(basis), mean.new_zeros(())
        for part in seen(u, points, flips):
            flat = (part.flatten(1).double() - mean) / math.sqrt(len(points) * (1 + flips))
            product += flat.T @ (flat @ basis)
            total += flat.square().sum()
    variances, turns = torch.linalg.eigh(basis.T @ product)
    variances, axes = variances.flip(0)[:count], (basis @ turns).T.flip(0)[:count]
    ridge = RIDGE * total / d
    return Spectrum(variances + ridge, axes, (total - variances.sum()) / max(1, d - count) + ridge)


def seen(u: PointSource, points: Tensor, flips: bool) -> Iterator[Tensor]:
    """Points by index, in parts, and with flips their mirror images."""
    for part in points.split(rows_at_once(u.shape[1:])):
        yield u[part]
        if flips:
            yield u[part].flip(-1)
