"""Nearest neighbours: how much of one set lies where another does, and whether samples are copies.

Distances are Euclidean between flattened events, in float64 and a chunk of rows at a time, so
that memory grows with ``chunk · (n + m)`` and the chunk changes nothing.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow.metrics.pairwise import centred_pair, flat_pair, pairwise_distances


class Overlap(NamedTuple):
    """Shares of points, each a scalar tensor: all near one between samples of one distribution."""

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


class Copying(NamedTuple):
    """How near samples lie to training points, beside fresh points of the data.

    ``neighbours`` (samples,) are the places in the training set of the nearest points and
    ``distances`` (samples,) how far they are; ``fresh`` (held out,) are the same distances of
    held-out points, and ``ratio`` that of the medians: near one for samples that are as new as
    fresh data, near zero for copies.
    """

    neighbours: Tensor
    distances: Tensor
    fresh: Tensor
    ratio: float


@torch.no_grad()
def overlap(x: Tensor, y: Tensor, *, neighbours: int = 5, chunk: int = 1024) -> Overlap:
    """How the balls around points x and reference points y cover each other.

    A point's ball has the radius r of its k-th nearest neighbour within its own set:

    - precision: the share of x inside any ball of y, whether samples look like data;
    - recall: the share of y inside any ball of x, whether all data have samples near them;
    - density: ``(1/kn) Σ_i #{j: |x_i - y_j| <= r(y_j)}``, precision that counts the balls, so that
      one outlier of y with a huge ball cannot vouch for many x; it may exceed one;
    - coverage: the share of balls of y that hold any x, recall that outliers of x cannot raise.

    Kynkäänniemi et al. 2019 (precision, recall); Naeem et al. 2020 (density, coverage). With few
    points in many dimensions even exact samples score well below one: read them beside a floor.

    Args:
        x: points, shape (n, *event).
        y: reference points, shape (m, *event).
        neighbours: k.
        chunk: how many rows of distances are held at a time.

    Raises:
        ValueError: on k < 1, k or fewer points on a side, non-finite or differently shaped points.
    """
    check_positive(neighbours=neighbours)
    x, y = centred_pair(x, y, least=neighbours + 1)
    radii_x, radii_y = (_radii(side, neighbours, chunk) for side in (x, y))
    balls = x.new_zeros(len(x))
    nearest = torch.full_like(radii_y, torch.inf)
    recalled = torch.zeros_like(radii_y, dtype=torch.bool)
    for first in range(0, len(x), chunk):
        rows = slice(first, first + chunk)
        distances = pairwise_distances(x[rows], y)
        balls[rows] = (distances <= radii_y).sum(1).to(balls)
        nearest = torch.minimum(nearest, distances.amin(0))
        recalled |= (distances <= radii_x[rows, None]).any(0)
    return Overlap(
        precision=(balls > 0).double().mean(),
        recall=recalled.double().mean(),
        density=balls.mean() / neighbours,
        coverage=(nearest <= radii_y).double().mean(),
    )


@torch.no_grad()
def copying(samples: Tensor, train: Tensor, held_out: Tensor, *, chunk: int = 1024) -> Copying:
    """Nearest training points of samples, and of held-out data for comparison.

    Give pixels to find copies, features to find copies up to what the features ignore.

    Args:
        samples: shape (samples, *event).
        train: what the model was trained on, shape (train, *event).
        held_out: data it was not, shape (held out, *event).
        chunk: how many points of either side are compared at a time.

    Raises:
        ValueError: on empty, non-finite or differently shaped sets, or where half of the held-out
            points are in the training set, so that their median distance is zero.
    """
    neighbours, distances = nearest(samples, train, chunk=chunk)
    _, fresh = nearest(held_out, train, chunk=chunk)
    scale = float(fresh.median())
    if not scale > 0:
        raise ValueError(f"`held_out` must be new, at a median distance > 0: got {scale}.")
    return Copying(neighbours, distances, fresh, float(distances.median()) / scale)


@torch.no_grad()
def nearest(x: Tensor, y: Tensor, *, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Place in y of the point nearest to each point of x, and its distance: both (n,).

    Raises:
        ValueError: on empty, non-finite or differently shaped points.
    """
    found = [_nearest_of(part, y, chunk) for part in x.split(chunk)]
    places, distances = zip(*found, strict=True)
    return torch.cat(places), torch.cat(distances)


def _nearest_of(x: Tensor, y: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    # Block by block, so that a large training set is never copied to float64 as a whole.
    minima = [pairwise_distances(*centred_pair(x, block)).min(1) for block in y.split(chunk)]
    block = torch.stack([m.values for m in minima]).argmin(0)
    within = torch.stack([m.indices for m in minima]).gather(0, block[None])[0]
    place = block * chunk + within
    # Once more from the difference, since a distance by matrix products is not zero for a copy.
    x, match = flat_pair(x, y[place])
    return place, torch.linalg.vector_norm(x - match, dim=1)


def _radii(x: Tensor, neighbours: int, chunk: int) -> Tensor:
    """The distance from each point to its k-th nearest other point, shape (n,)."""
    radii = []
    for first in range(0, len(x), chunk):
        distances = pairwise_distances(x[first : first + chunk], x)
        distances.diagonal(first).fill_(torch.inf)
        radii.append(distances.kthvalue(neighbours, dim=1).values)
    return torch.cat(radii)
