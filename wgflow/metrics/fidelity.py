"""How close generated images are to real ones, in a space of features.

Every score stands beside its floor, what as many real images score in the place of the samples.
Scores depend on the features and on the numbers of images: compare only like with like.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wgflow.likelihood.gaussian import GaussianLaw, bures
from wgflow.likelihood.quadrature import Estimate
from wgflow.metrics.features import Features, extract
from wgflow.metrics.neighbours import overlap
from wgflow.metrics.pairwise import flat_pair
from wgflow.metrics.samples import halves

FeatureMetric = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""Features x (n, d) and reference features (m, d) to scores by name, errors as ``NAME_error``."""


@dataclass(frozen=True)
class Frechet:
    """``frechet``, the `frechet_distance`; nothing where there are d or fewer images on a side."""

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The score, where there is one."""
        enough = min(len(x), len(y)) > x.shape[-1]
        return {"frechet": frechet_distance(x, y)} if enough else {}


@dataclass(frozen=True)
class Kernel:
    """``kernel`` and ``kernel_error``, the `kernel_distance` and its standard error."""

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Both."""
        found = kernel_distance(x, y)
        return {"kernel": found.value, "kernel_error": found.error}


@dataclass(frozen=True)
class Neighbourhoods:
    """``precision``, ``recall``, ``density`` and ``coverage``: the `overlap`.

    Args:
        neighbours: k.
    """

    neighbours: int = 5

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The four of them."""
        return overlap(x, y, neighbours=self.neighbours)._asdict()


FEATURE_METRICS: dict[str, FeatureMetric] = {
    "frechet": Frechet(),
    "kernel": Kernel(),
    "neighbourhoods": Neighbourhoods(),
}
"""What images are scored by, in a space of features."""


def fidelity(
    samples: Tensor,
    reference: Tensor,
    features: Features,
    *,
    second_reference: Tensor | None = None,
    metrics: Mapping[str, FeatureMetric] = FEATURE_METRICS,
    chunk: int = 256,
    seed: int = 0,
) -> dict[str, float]:
    """Scores of generated images by stable names, each with ``_floor``.

    ``frechet``, ``kernel`` (with its standard error ``kernel_error``), ``precision``, ``recall``,
    ``density``, ``coverage``. A floor is the same score of ``len(samples)`` images of the second
    reference. Less is better for the first two, more for the others, and a score as good as its
    floor cannot be distinguished from perfection.

    Args:
        samples: generated images in [0, 1], shape (n, c, h, w).
        reference: real images in [0, 1], shape (m, c, h, w).
        features: see `wgflow.metrics.features`.
        second_reference: other real images, in random order; None to split ``reference`` into
            two halves, one of each.
        metrics: what they are scored by.
        chunk: how many images are seen by ``features`` at a time.
        seed: of the halves.

    Raises:
        ValueError: on images of another shape or range, fewer images in the second reference than
            samples, or as few on a side as neighbours.
    """
    if second_reference is None:
        reference, second_reference = halves(reference, seed=seed)
    if len(second_reference) < len(samples):
        raise ValueError(
            f"`second_reference` must have {len(samples)} images or more, as many as are scored: "
            f"got {len(second_reference)}."
        )
    images = (samples, reference, second_reference[: len(samples)])
    x, y, exact = (extract(features, each, chunk=chunk) for each in images)
    scores, floors = feature_scores(x, y, metrics), feature_scores(exact, y, metrics)
    return scores | {f"{n}_floor": v for n, v in floors.items() if not n.endswith("_error")}


def feature_scores(
    x: Tensor, y: Tensor, metrics: Mapping[str, FeatureMetric] = FEATURE_METRICS
) -> dict[str, float]:
    """The scores of `fidelity`, without floors, of features x (n, d) against y (m, d)."""
    parts = (metric(x, y) for metric in metrics.values())
    return {name: float(value) for part in parts for name, value in part.items()}


@torch.no_grad()
def frechet_distance(x: Tensor, y: Tensor, *, chunk: int = 1024) -> Tensor:
    """``|m_x-m_y|² + tr(S_x + S_y - 2(S_x^½ S_y S_x^½)^½)``, a scalar.

    The squared ``W₂`` of the fitted Gaussians; FID with the features of Inception. It is biased
    upwards, by an amount that shrinks as ``1/n`` and grows with d: compare only scores at equal
    sizes. Heusel et al. 2017.

    Args:
        x: features, shape (n, d).
        y: reference features, shape (m, d).
        chunk: how many rows are summed at a time.

    Raises:
        ValueError: on d or fewer points on a side, non-finite or differently shaped features.
    """
    p, q = (fitted(side, chunk=chunk) for side in _features(x, y, x.shape[-1] + 1))
    return bures(p, q) ** 2


@torch.no_grad()
def fitted(x: Tensor, *, chunk: int = 1024) -> GaussianLaw:
    """The Gaussian with the mean and the unbiased covariance of features (n, d), in float64.

    One pass over chunks, each merged as ``M ← M + M_c + δδᵀ n n_c/(n+n_c)``, with δ between the
    means: no digits are lost where the mean is large. Chan et al. 1979.
    """
    count, mean = 0, x.new_zeros(x.shape[1], dtype=torch.float64)
    scatter = torch.zeros_like(mean[:, None] * mean)
    for part in x.split(chunk):
        part = part.double()
        total, delta = count + len(part), part.mean(0) - mean
        centred = part - part.mean(0)
        scatter += centred.mT @ centred + delta[:, None] * delta * (count * len(part) / total)
        mean = mean + delta * (len(part) / total)
        count = total
    covariance = scatter / (count - 1)
    return GaussianLaw(mean, (covariance + covariance.mT) / 2)


@torch.no_grad()
def kernel_distance(x: Tensor, y: Tensor, *, chunk: int = 1024) -> Estimate:
    """``MMD² = E k(X,X') + E k(Y,Y') - 2E k(X,Y)`` with ``k(a,b) = (a·b/d + 1)³``, and its error.

    The unbiased U-statistic over all pairs, so that, unlike the Fréchet distance, it does not
    depend on how many images there are, and is about zero, of either sign, between samples of
    one distribution. KID with the features of Inception. Bińkowski et al. 2018.

    The error is that of the whole statistic and not of a subset, from Hoeffding's decomposition
    ``Var = 4ζ_x/n + 4ζ_y/m + 2ζ_xx/n² + 2ζ_yy/m² + 4ζ_xy/nm``: ``ζ_x, ζ_y`` are the variances of
    one point's share (estimated from row means, less the noise of those means, never below
    zero), and the others those of what is left of the kernel between pairs. Between samples of
    one distribution it errs on the large side: by two fifths with one feature, little with many.

    Args:
        x: features, shape (n, d).
        y: reference features, shape (m, d).
        chunk: how many rows of the kernel are held at a time.

    Raises:
        ValueError: on fewer than three points a side, non-finite or differently shaped features.
    """
    x, y = _features(x, y, 3)
    n, m = len(x), len(y)
    within_x, pairs_x = _within(x, chunk)
    within_y, pairs_y = _within(y, chunk)
    rows, columns, pairs = _between(x, y, chunk)
    share_x, share_y = within_x - rows, within_y - columns
    point_x = (share_x.var() - pairs_x / n - pairs / m).clamp(min=0)
    point_y = (share_y.var() - pairs_y / m - pairs / n).clamp(min=0)
    first = 4 * point_x / n + 4 * point_y / m
    second = 2 * pairs_x / n**2 + 2 * pairs_y / m**2 + 4 * pairs / (n * m)
    return Estimate(share_x.mean() + share_y.mean(), (first + second).sqrt())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.mT / x.shape[1] + 1) ** 3


def _within(x: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Means of ``k(x_i, ·)`` over the other points, and the variance of k about those means."""
    count, sums, squares = len(x) - 1, [], []
    for first in range(0, len(x), chunk):
        values = _kernel(x[first : first + chunk], x)
        values.diagonal(first).zero_()
        sums.append(values.sum(1))
        squares.append(values.square().sum(1))
    rows = torch.cat(sums) / count
    square = torch.cat(squares).mean() / count
    return rows, (square - 2 * rows.square().mean() + rows.mean() ** 2).clamp(min=0)


def _between(x: Tensor, y: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means of ``k(x_i, ·)`` over y and of ``k(·, y_j)`` over x, and the variance about them."""
    rows, columns, square = [], y.new_zeros(len(y)), y.new_zeros(())
    for part in x.split(chunk):
        values = _kernel(part, y)
        rows.append(values.mean(1))
        columns += values.sum(0) / len(x)
        square += values.square().sum() / (len(x) * len(y))
    row = torch.cat(rows)
    spread = square - row.square().mean() - columns.square().mean() + row.mean() ** 2
    return row, columns, spread.clamp(min=0)


def _features(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for side in (x, y):
        if side.ndim != 2:
            got = tuple(side.shape)
            raise ValueError(f"Features must have shape (images, features): got {got}.")
        if len(side) < least:
            raise ValueError(
                f"There must be {least} images or more for {side.shape[1]} features: "
                f"got {len(side)}."
            )
    return flat_pair(x, y, least)
