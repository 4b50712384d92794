"""Distances between the points of two samples, and the form that samples are compared in."""

import torch
from torch import Tensor


def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """``|x_i - y_j|`` for (n, d) and (m, d) -> (n, m): the one home of distances between points.

    Above 25 points it is a matrix product, which loses half of the digits of distances that are
    small beside ``|x|``: centre the points first, as the metrics do.
    """
    return torch.cdist(x, y)


def median_distance(x: Tensor) -> float:
    """The median distance between distinct points of (n, d), n >= 2.

    Raises:
        ValueError: if it is zero.
    """
    first, second = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    median = float(pairwise_distances(x, x)[first, second].median())
    if not median > 0:
        raise ValueError(f"The median distance between points must be > 0: got {median}.")
    return median


def flat_pair(x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both sides as float64 (n, d) and (m, d); refuses what cannot be compared."""
    if x.ndim < 1 or y.ndim < 1 or x.shape[1:] != y.shape[1:]:
        expected, got = tuple(y.shape[1:]), tuple(x.shape[1:])
        raise ValueError(f"Points must have the shape {expected} of the reference: got {got}.")
    if min(len(x), len(y)) < least:
        raise ValueError(f"Both sides must have {least} points: got {len(x)} and {len(y)}.")
    x, y = (side.detach().reshape(len(side), -1).double() for side in (x, y))
    if not (x.isfinite().all() and y.isfinite().all()):
        bad = [int((~side.isfinite()).any(1).sum()) for side in (x, y)]
        raise ValueError(
            f"Points must be finite: got {bad[0]} that are not, and {bad[1]} of the reference."
        )
    return x, y


def centred_pair(x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """`flat_pair`, moved so that the mean of y is the origin."""
    x, y = flat_pair(x, y, least)
    return x - y.mean(0), y - y.mean(0)
