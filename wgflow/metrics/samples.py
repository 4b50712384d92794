"""Distances between samples, each to be read beside its two-sample floor.

A metric compares points ``x`` (batch, *event) with a reference ``y`` (reference, *event); events
are flattened and the arithmetic is float64. All are invariant to the order of the points and to a
common translation. Where a metric draws at random (projections, subsamples), its ``seed`` fixes
the draw, so that the same samples always score the same.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import ot
import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow.metrics.pairwise import centred_pair, median_distance, pairwise_distances

Metric = Callable[[Tensor, Tensor], Tensor]
"""Points and a reference to one number."""


class Scored(NamedTuple):
    """A score, and the floor: what exact samples of the same sizes score."""

    score: float
    floor: float


@dataclass(frozen=True)
class SlicedWasserstein:
    """Sliced ``W₂``: ``(E_u W₂²(u·x, u·y))^½`` over uniform directions u; in the units of x.

    A translation by δ in R^d scores ``|δ|/√d``. Bonneel et al. 2015.

    Args:
        projections: how many directions u are drawn.
        chunk: how many directions are held at a time; bounds the memory.
        seed: of the directions.

    Raises:
        ValueError: on empty, non-finite or differently shaped samples.
    """

    projections: int = 1000
    chunk: int = 25
    seed: int = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance, a scalar."""
        x, y = centred_pair(x, y)
        directions = torch.randn(x.shape[1], self.projections, generator=_seeded(self.seed)).to(x)
        directions = directions / torch.linalg.vector_norm(directions, dim=0)
        parts = directions.split(self.chunk, 1)
        return torch.cat([squares_along(x @ u, y @ u) for u in parts]).mean().sqrt()


def squares_along(x: Tensor, y: Tensor) -> Tensor:
    """``W₂²`` of the columns of x and y, (points, columns) each -> (columns,).

    Of equally many points the optimal coupling is that of their order.
    """
    if len(x) != len(y):
        squares: Any = ot.wasserstein_1d(x, y, p=2)
        return squares
    return (ordered(x.T) - ordered(y.T)).square().mean(1)


def ordered(x: Tensor) -> Tensor:
    """Each row in ascending order."""
    if x.device.type != "cpu" or x.requires_grad:
        return x.sort(1).values
    # NumPy sorts with vector instructions, and keeps no indices: a tenth of the time.
    return torch.from_numpy(np.sort(x.numpy(), 1))


@dataclass(frozen=True)
class Wasserstein:
    """``W₂ = min (E|X-Y|²)^½`` over couplings of the two samples; in the units of x.

    Exact (network simplex) between subsamples. Its floor falls only as ``n^{-1/d}``.

    Args:
        points: the largest subsample of either side; the cost is cubic in it.
        seed: of the subsamples.

    Raises:
        ValueError: on empty, non-finite or differently shaped samples.
    """

    points: int = 1000
    seed: int = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance, a scalar."""
        x, y = centred_pair(x, y)
        generator = _seeded(self.seed)
        x, y = (_subsample(side, self.points, generator) for side in (x, y))
        cost = pairwise_distances(x, y) ** 2
        return x.new_tensor(ot.emd2([], [], cost.cpu().numpy(), numItermax=10**7)).sqrt()


@dataclass(frozen=True)
class EnergyDistance:
    """``2E|X-Y| - E|X-X'| - E|Y-Y'|``, in the units of x (no root is taken).

    The unbiased U-statistic: of mean zero, and so negative half of the time, between samples of
    one distribution. Székely and Rizzo 2013.

    Args:
        chunk: how many rows of distances are held at a time.

    Raises:
        ValueError: on fewer than two points a side, non-finite or differently shaped samples.
    """

    chunk: int = 64

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance, a scalar."""
        x, y = centred_pair(x, y, least=2)
        return -_u_statistic(x, y, lambda r: r, self.chunk)


@dataclass(frozen=True)
class MMD:
    """``MMD² = E k(X,X') + E k(Y,Y') - 2E k(X,Y)`` with ``k = exp(-|x-y|²/2σ²)``; no units.

    The unbiased U-statistic, for a fixed σ. The median heuristic is read from the reference
    alone, so that a score and its floor use the same kernel. Gretton et al. 2012.

    Args:
        bandwidth: σ in the units of x; None for the median distance between reference points.
        points: the subsample of the reference that the median is taken over.
        chunk: how many rows of distances are held at a time.
        seed: of the subsample.

    Raises:
        ValueError: on fewer than two points a side, non-finite or differently shaped samples, a
            bandwidth that is not positive, or a reference whose median distance is zero.
    """

    bandwidth: float | None = None
    points: int = 1000
    chunk: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bandwidth is not None:
            check_positive(bandwidth=self.bandwidth)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The squared discrepancy, a scalar."""
        x, y = centred_pair(x, y, least=2)
        sigma = self.bandwidth
        if sigma is None:
            sigma = median_distance(_subsample(y, self.points, _seeded(self.seed)))
        return _u_statistic(x, y, lambda r: torch.exp(-(r**2) / (2 * sigma**2)), self.chunk)


DISTANCES: dict[str, Metric] = {
    "sliced_w2": SlicedWasserstein(),
    "w2": Wasserstein(),
    "energy_distance": EnergyDistance(),
    "mmd": MMD(),
}
"""Distances between samples and data, by the names of their scores."""


@torch.no_grad()
def evaluate(x: Tensor, reference: Tensor, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Every metric between points and a reference, by name."""
    return {name: float(metric(x, reference)) for name, metric in metrics.items()}


@torch.no_grad()
def with_floor(metric: Metric, x: Tensor, reference: Tensor, second_reference: Tensor) -> Scored:
    """The score of x, and the floor: the same metric for as many exact points in the place of x.

    A score at its floor cannot be distinguished from perfection with so many points. Where there
    is only one reference set, split it with `halves`, score against the first half, and report
    that the reference was halved.

    Args:
        metric: the distance.
        x: points, shape (batch, *event).
        reference: exact points, shape (reference, *event).
        second_reference: other exact points, independent and in random order; the first ``batch``
            of them are used.

    Raises:
        ValueError: if the second reference has fewer points than x.
    """
    if len(second_reference) < len(x):
        got = len(second_reference)
        raise ValueError(f"`second_reference` must have {len(x)} points or more: got {got}.")
    floor = metric(second_reference[: len(x)], reference)
    return Scored(float(metric(x, reference)), float(floor))


def halves(reference: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two disjoint halves of a reference set, in random order; an odd point goes to the second."""
    order = torch.randperm(len(reference), generator=_seeded(seed)).to(reference.device)
    first, second = order.tensor_split([len(order) // 2])
    return reference[first], reference[second]


@torch.no_grad()
def mode_occupancy(x: Tensor, means: Tensor, weights: Tensor | None = None) -> Tensor:
    """The (weighted) fraction of points whose nearest mean is each of K: shape (K,), sum one.

    Args:
        x: points, shape (batch, *event).
        means: shape (K, *event).
        weights: shape (batch,), not negative, in any normalisation; default equal.

    Raises:
        ValueError: on empty, non-finite or differently shaped arguments, or invalid weights.
    """
    flat, centers = centred_pair(x, means)
    weights = flat.new_ones(len(flat)) if weights is None else weights.to(flat)
    if weights.shape != (len(flat),) or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"`weights` must be ≥ 0, not all zero, of shape {(len(flat),)}: got shape "
            f"{tuple(weights.shape)}, sum {float(weights.sum())}."
        )
    nearest = pairwise_distances(flat, centers).argmin(1)
    return flat.new_zeros(len(centers)).index_add(0, nearest, weights / weights.sum())


def occupancy_error(masses: Tensor, size: float, reference_size: float = math.inf) -> Tensor:
    """The two-sample floor of `mode_occupancy`: the standard error of exact independent points.

    ``√(a(1-a)(1/n + 1/m))`` for the difference between fractions of n and of m points; with the
    default ``m = ∞``, between fractions of n points and the masses themselves.

    Args:
        masses: ``a``, shape (K,), known or pooled over both samples.
        size: ``n``; for weighted points their effective number ``(Σw)²/Σw²``.
        reference_size: ``m``.

    Raises:
        ValueError: if a mass is outside [0, 1] or a size is not positive.
    """
    if not ((masses >= 0) & (masses <= 1)).all() or not (size > 0 and reference_size > 0):
        raise ValueError(
            "`masses` must be in [0, 1] and both sizes > 0: "
            f"got {masses.tolist()}, {size} and {reference_size}."
        )
    return torch.sqrt(masses * (1 - masses) * (1 / size + 1 / reference_size))


def _u_statistic(x: Tensor, y: Tensor, kernel: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
    within = _mean_within(x, kernel, chunk) + _mean_within(y, kernel, chunk)
    rows = [kernel(pairwise_distances(part, y)).sum() for part in x.split(chunk)]
    return within - 2 * torch.stack(rows).sum() / (len(x) * len(y))


def _mean_within(x: Tensor, kernel: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
    sums = []
    for first in range(0, len(x), chunk):
        values = kernel(pairwise_distances(x[first : first + chunk], x[first:]))
        block = values[:, :chunk]  # counts each pair twice already
        sums.append(2 * values.sum() - block.sum() - block.diagonal().sum())
    return torch.stack(sums).sum() / (len(x) * (len(x) - 1))


def _subsample(x: Tensor, points: int, generator: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=generator)[:points].to(x.device)]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
