"""Which maps the columns of a table get: those that make it most like a Gaussian."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from wgflow.data.lazy import PointSource, in_parts
from wgflow.data.transforms import Column, Transform

ROWS = 10_000
"""Points at most that maps are fitted on."""

GAIN = 0.05
"""Nats a row that a map must bring."""

BOUNDS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 100.0))
"""Of shares, correlations and percentages."""

NEAR = 0.05
"""Of the distance of two bounds: how close to both of them a bounded column comes."""

NORMAL_QUARTILES = 1.349
"""The interquartile range of N(0, 1)."""

TINY = 1e-300
"""Distance from a bound, in units of the column, at least: one that has a logarithm."""

RIDGE = 1e-3
"""On correlations, so that columns that follow from others have a likelihood."""

FAR = 30.0
"""Robust deviations from the median beyond which a column may have two heavy tails."""

Seen = Sequence[tuple[Tensor, float]]
"""Of each option of a column its y in standard units, (n,), and its score alone."""

SWEEPS = 10
"""Passes over the columns at most, while one map depends on those of the others."""


def fitted(
    x: PointSource,
    rule: str = "auto",
    *,
    validation: Tensor | None = None,
    others: Sequence[Tensor] = (),
) -> Transform | None:
    """The maps that make the columns of x most like a Gaussian together; None if none helps.

    The score of a set of maps is the log-likelihood of the Gaussian that fits their y, as a
    density of x: that of Box and Cox (1964), for many columns at once (Andrews, Gnanadesikan and
    Warner 1971). From no maps, and from those that are best for each column alone, columns are
    revisited in turn, given the others' maps; the better end is taken. A map is kept where it
    gains `GAIN` and ``log n/n`` nats a row over none. Only columns with a point farther from their
    median than the ``√(2 log n)`` robust deviations that Gaussian ones reach, or close to two of
    the `BOUNDS`, have a choice at all: modes are for the energy to learn.

    Args:
        x: train points, (n, d).
        rule: one of `wgflow.data.transforms.RULES`.
        validation: other points that choices are made by, of which those far out count.
        others: points held out, which say nothing but that a bound is none.
    """
    rows = _rows(x, [x] if validation is None else [x, validation])
    low, high = _extremes([x, *others])
    options = [
        _options(column, *ends, rule)
        for column, ends in zip(rows.unbind(1), zip(low, high, strict=True), strict=True)
    ]
    columns = _chosen(rows, options)
    return None if all(c == Column() for c in columns) else Transform(columns)


def _rows(x: PointSource, sources: Sequence[PointSource]) -> Tensor:
    """The first `ROWS` points of x, and all that are far out in columns where none of these is.

    A single one would be all that a likelihood is of.
    """
    rows = x[:ROWS].double()
    lower, median, upper = rows.quantile(rows.new_tensor([0.25, 0.5, 0.75]), 0)
    limit = FAR * (upper - lower) / NORMAL_QUARTILES
    limit = torch.where((limit > 0) & ~((rows - median).abs() > limit).any(0), limit, torch.inf)
    parts = (part.double() for source in sources for part in in_parts(source))
    return torch.cat([rows, *(part[((part - median).abs() > limit).any(1)] for part in parts)])


def _extremes(sets: Iterable[PointSource]) -> tuple[list[float], list[float]]:
    ends = [torch.stack(torch.aminmax(part, dim=0)) for x in sets for part in in_parts(x)]
    low, high = torch.stack(ends).double().unbind(1)
    return low.amin(0).tolist(), high.amax(0).tolist()


def _options(x: Tensor, low: float, high: float, rule: str) -> list[Column]:
    """The maps that a column may have, none first."""
    lower, median, upper = x.quantile(x.new_tensor([0.25, 0.5, 0.75])).tolist()
    spread = (upper - lower) / NORMAL_QUARTILES or float(x.std(correction=0))
    found, (least, most) = [Column()], (float(end) for end in x.aminmax())
    # The farthest of n Gaussian points is about so far. Within, a map could only bend modes.
    if float((x - median).abs().max()) > spread * math.sqrt(2 * math.log(len(x))):
        found.append(_fitted_power(x, median, spread))
        if float((x - median).abs().max()) > FAR * spread:
            found.append(Column("asinh", median, spread))
        if rule == "auto" and low > 0:
            found.append(Column("log", 0.0, median, max(least / median, TINY)))
    for a, b in BOUNDS if rule == "auto" else ():
        near = NEAR * (b - a)
        if a < low < a + near and b - near < high < b:
            nearest = min(least - a, b - most) / (b - a)
            found.append(Column("logit", a, b - a, max(nearest, TINY)))
    return found


def _fitted_power(x: Tensor, location: float, spread: float) -> Column:
    """Yeo and Johnson's map with the most likely λ, of deviations from a robust centre."""
    # Half a second, which settings alone, as `wgflow train --show-config` reads them, do without.
    from scipy.optimize import minimize_scalar

    def column(power: float) -> Column:
        return Column("yeo-johnson", location, spread, power)

    def loss(power: float) -> float:
        return -_seen(x, column(float(power)))[1]

    found: Any = minimize_scalar(loss, bounds=(0.0, 2.0), method="bounded")
    return column(float(found.x))


def _seen(x: Tensor, column: Column) -> tuple[Tensor, float]:
    """Its y in standard units, (n,), and ``log`` of their unit, in that of x, on the mean."""
    transform = Transform((column,))
    y = transform.forward(x[:, None])[:, 0]
    deviation = y.std(correction=0)
    score = transform.log_derivative(x[:, None]).mean() - deviation.log()
    return (y - y.mean()) / deviation, float(score)


def _chosen(x: Tensor, options: Sequence[Sequence[Column]]) -> tuple[Column, ...]:
    """One of the options of each column."""
    gain = max(GAIN, math.log(len(x)) / len(x))
    seen = [[_seen(x[:, j], c) for c in columns] for j, columns in enumerate(options)]
    alone = [_best([score for _, score in column], gain) for column in seen]
    # Columns that follow from others need none of the maps, or the right ones of several.
    starts = [alone, [0] * len(options)] if any(alone) else [alone]
    found = [_revisited(seen, start, gain) for start in starts]
    best, _ = max(found, key=lambda pair: pair[1])
    return tuple(columns[k] for columns, k in zip(options, best, strict=True))


def _revisited(seen: Sequence[Seen], start: list[int], gain: float) -> tuple[list[int], float]:
    """The choice after passes over the columns from a start, and its score."""
    choice = list(start)
    u = torch.stack([column[k][0] for column, k in zip(seen, choice, strict=True)], 1)
    correlation = u.T @ u / len(u)
    for _ in range(SWEEPS):
        before = list(choice)
        for j, column in enumerate(seen):
            y = torch.stack([y for y, _ in column], 1)
            rest = _residuals(correlation, u.T @ y / len(u), j)
            scores = [score - rest[k] for k, (_, score) in enumerate(column)]
            choice[j] = _best(scores, gain)
            u[:, j] = y[:, choice[j]]
            correlation[j] = correlation[:, j] = u.T @ u[:, j] / len(u)
        if choice == before:
            break
    ridge = RIDGE * torch.eye(len(seen), dtype=u.dtype)
    own = sum(column[k][1] for column, k in zip(seen, choice, strict=True))
    return choice, own - float(torch.logdet(correlation + ridge)) / 2


def _best(scores: Sequence[float], gain: float) -> int:
    """The place of the highest score; 0 unless it is higher than that of 0 by the gain."""
    best = max(range(len(scores)), key=lambda k: scores[k])
    return best if scores[best] >= scores[0] + gain else 0


def _residuals(correlation: Tensor, covariance: Tensor, j: int) -> list[float]:
    """``log`` of the deviation of options from what all columns but the j-th say of them.

    Args:
        correlation: of the columns, (d, d).
        covariance: of columns and options, which have variance one, (d, options).
        j: the column that the options are for.
    """
    others = [k for k in range(len(correlation)) if k != j]
    ridge = RIDGE * torch.eye(len(others), dtype=correlation.dtype)
    factor = torch.linalg.cholesky(correlation[others][:, others] + ridge)
    explained = torch.linalg.solve_triangular(factor, covariance[others], upper=False)
    return (0.5 * (1 - explained.square().sum(0)).log()).tolist()
