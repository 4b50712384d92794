"""Out-of-distribution detection: scores from energies, and the area under their ROC curve.

Scores are larger for points further from the data. None needs ``log Z``.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._tensor import Points, sum_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.likelihood.quadrature import tabulate

NORMAL_975 = 1.959963984540054
"""The quantile of N(0, 1) of a two-sided interval of 95 %."""


class Auroc(NamedTuple):
    """An area under the ROC curve, and its interval of 95 %.

    Attributes:
        value: 1 for scores that separate both sides, 1/2 for uninformative ones.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


@torch.no_grad()
def energy_scores(
    energy: Energy, x: Points, *, background: Energy | None = None, chunk: int = 256
) -> dict[str, Tensor]:
    """Scores by name that need no other points, each (batch,), float64.

    ``energy``, E(x), can be lower for points simpler than the data than for any draw. ``slope``,
    ``|∇E(x)|²``, is large away from local minima, whatever their depth (Grathwohl et al. 2020).
    With a background, ``likelihood_ratio``, ``E(x) - E_b(x)`` (Ren et al. 2019), removes what both
    energies share.

    Args:
        energy: E.
        x: points to score, (batch, *event).
        background: ``E_b``, of other data.
        chunk: points at a time; bounds the memory.
    """
    pairs = [energy_and_grad(energy, part) for part in x.split(chunk)]
    values = torch.cat([value for value, _ in pairs]).double()
    slopes = torch.cat([sum_event(grad**2) for _, grad in pairs]).double()
    scores = {"energy": values, "slope": slopes}
    if background is not None:
        scores["likelihood_ratio"] = values - tabulate(background, x, chunk)
    return scores


def typicality(values: Tensor, held_out: Tensor) -> Tensor:
    """``|E - m|/s`` of energies (batch,), with m and s over held-out energies, (n,), n ≥ 2.

    Two-sided (Nalisnick et al. 2019), and so for energies of points that are not held out, which
    an energy that was learned from them may have made low.

    Raises:
        ValueError: on fewer of those, or when all are equal.
    """
    if len(held_out) < 2 or not held_out.std() > 0:
        raise ValueError(
            "Typicality is in deviations of energies held out: expected at least 2 that differ, "
            f"got {len(held_out)} of range {_spread(held_out):.3g}."
        )
    return (values - held_out.mean()).abs() / held_out.std()


def mean_zscore(errors: Tensor, held_out: Tensor) -> Tensor:
    """``Σ_k (e_k - m_k)/s_k / K`` of errors (batch, K), with m and s over errors held out, (n, K).

    Raises:
        ValueError: on fewer than two of those, or when all of one kind are equal.
    """
    deviation = held_out.std(0) if len(held_out) > 1 else torch.zeros(1)
    if not (deviation > 0).all():
        raise ValueError(
            "A mean z-score is in deviations of errors held out: expected at least 2 that differ, "
            f"got {len(held_out)} of deviations {deviation.tolist()}."
        )
    return ((errors - held_out.mean(0)) / deviation).mean(1)


def auroc(inside: Tensor, outside: Tensor) -> Auroc:
    """``P(score outside > score inside) + ½ P(equal)``, with an interval of 95 %.

    The value is the Mann-Whitney statistic over all pairs. Its variance is that of DeLong et al.
    (1988), ``Var V_i/m + Var W_j/n``, with ``V_i`` the share of outside points above inside point
    i and ``W_j`` the share of inside points below outside point j; the interval is normal in the
    log-odds, so that it stays within (0, 1). Where the sides do not overlap the variance is zero
    and says nothing: then ``min(m, n)`` disjoint, independent pairs are in order, and an area
    below ``0.025^{1/min(m, n)}`` would show that with less than 2.5 % probability.

    Args:
        inside: scores of points of the data, (m,), at least two.
        outside: scores of other points, (n,), at least two; larger where the scores separate.

    Raises:
        ValueError: on fewer scores a side, scores that are NaN, or of another shape.
    """
    for side in (inside, outside):
        if side.ndim != 1 or len(side) < 2 or side.isnan().any():
            raise ValueError(
                "An area compares scores on two sides: expected shape (2 or more,) without NaN, "
                f"got shape {tuple(side.shape)} with {int(side.isnan().sum())} NaN."
            )
    inside, outside = inside.double(), outside.double()
    above, below = 1 - shares_below(inside, outside), shares_below(outside, inside)
    value = float(below.mean())
    if value in (0.0, 1.0):
        reach = 0.025 ** (1 / min(len(inside), len(outside)))
        return Auroc(value, reach, 1.0) if value else Auroc(value, 0.0, 1 - reach)
    variance = float(above.var() / len(inside) + below.var() / len(outside))
    width = NORMAL_975 * math.sqrt(variance) / (value * (1 - value))
    odds = math.log(value / (1 - value))
    return Auroc(value, _logistic(odds - width), _logistic(odds + width))


def shares_below(x: Tensor, y: Tensor) -> Tensor:
    """Of each x, the share of y below it; equal ones count half."""
    ordered = y.sort().values
    less = torch.searchsorted(ordered, x.contiguous())
    most = torch.searchsorted(ordered, x.contiguous(), right=True)
    return (less + most).double() / (2 * len(y))


def _logistic(odds: float) -> float:
    return (1 + math.tanh(odds / 2)) / 2


def _spread(values: Tensor) -> float:
    return float(values.max() - values.min()) if len(values) else 0.0
