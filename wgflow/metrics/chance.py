"""How far apart exact samples may be by chance."""

import math

import torch
from scipy.special import chdtri
from torch import Tensor

from wgflow.metrics.samples import Metric, SlicedWasserstein, halves

RARE = 6e-5
"""The probability of chance that counts as none: four standard errors."""

REPETITIONS = 24
"""Pairs of exact samples by which chance is known."""

QUICK = SlicedWasserstein(projections=100)
"""Of the many distances by which chance is known."""


@torch.no_grad()
def chance(
    metric: Metric,
    exact: Tensor,
    *,
    probability: float = RARE,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> float:
    """The distance between two exact samples that is exceeded with that probability.

    The squares of the distances between random halves of the exact points have the law of the
    squared distance. It is close to a weighted sum of χ² variables, and is taken for the multiple
    ``m χ²_k / k`` of one that has their mean m and their variance ``2m²/k``. Where one direction
    decides, as the share of one of two clusters, k is near 1 and chance goes far: then a distance
    is beyond twice another such one in a sixth of the cases. Satterthwaite 1946.

    Args:
        metric: a distance, such as `SlicedWasserstein`, whose square averages over the points.
        exact: points of both sides together, in any order.
        probability: of chance.
        repetitions: how many pairs of halves are compared.
        seed: of the halves.

    Raises:
        ValueError: as the metric, and unless there are two repetitions or more.
    """
    if repetitions < 2:
        raise ValueError(f"`repetitions` must be 2 or more: got {repetitions}.")
    pairs = (halves(exact, seed=seed + i) for i in range(repetitions))
    squares = torch.stack([metric(*pair).square() for pair in pairs])
    mean, variance = float(squares.mean()), float(squares.var())
    if not variance > 0:
        return math.sqrt(mean)
    freedom = 2 * mean**2 / variance
    return math.sqrt(mean * float(chdtri(freedom, probability)) / freedom)
