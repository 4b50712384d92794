"""Clusters of the data and where the data end: do other points fall there as often as the data?"""

import math
import warnings
from typing import Any, NamedTuple

import torch
from sklearn.covariance import oas
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as FittedMixture
from sklearn.pipeline import make_pipeline
from torch import Tensor

from wgflow._tensor import Points
from wgflow.data.targets import GaussianMixture
from wgflow.metrics.alarms import ERRORS, SHARE
from wgflow.metrics.samples import occupancy_error

MOST = 8
"""Clusters at most."""

AXES = 10
"""Principal axes that clusters are found on, at most."""

NARROWEST = 1e-3
"""Variance that no cluster falls below, in squared units of the points."""


RIDGE = 0.01
"""Of the mean variance, added to every direction of a reach."""

CERTAIN = 9.0
"""Nats: exact points lie beyond the farthest of n rows with a share over 9/n in .01 % of cases.

For n independent rows all miss a share s with probability ``(1 - s)^n < exp(-ns)``, whatever the
distribution is.
"""

UNUSUAL = 0.01
"""Share of points beyond the farthest row that no number of rows forbids."""


class Shares(NamedTuple):
    """Shares of clusters, (K,), and the number of independent points that they are of."""

    of: Tensor
    points: float


class Estimated(NamedTuple):
    """A share, or by how much it is too large, and its standard error."""

    value: float
    error: float


class Clusters:
    """The parts of a Gaussian mixture on the leading principal axes of points.

    The number of parts is that of the least Bayesian information criterion (Schwarz 1978).

    Args:
        x: standardised points, (batch, d).
        most: parts at most.
        seed: of the search.
    """

    def __init__(self, x: Points, *, most: int = MOST, seed: int = 0) -> None:
        rows = x.double().numpy()
        axes = PCA(min(AXES, *rows.shape), random_state=seed)
        flat = axes.fit_transform(rows)
        with warnings.catch_warnings():  # repeated rows, or a search that ends early, do no harm
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits = [
                FittedMixture(k, reg_covar=NARROWEST, random_state=seed).fit(flat)
                for k in range(1, min(most, len(rows) - 1) + 1)
            ]
        self._model: Any = make_pipeline(axes, min(fits, key=lambda fit: fit.bic(flat)))

    def __len__(self) -> int:
        return self._model[-1].n_components

    def labels(self, x: Points) -> Tensor:
        """The cluster that each point most likely belongs to, (batch,), int64."""
        return torch.from_numpy(self._model.predict(x.double().numpy()))

    def shares(self, x: Points, log_weight: Tensor | None = None) -> Shares:
        """The (weighted) share of points in each cluster.

        Args:
            x: points, (batch, d).
            log_weight: logarithms of weights in any normalisation, (batch,); default equal.
        """
        w = _weights(x, log_weight)
        of = w.new_zeros(len(self)).index_add(0, self.labels(x), w)
        return Shares(of, _points(w))

    def mixture(self, x: Points, spread: float = 1.25) -> GaussianMixture:
        """A Gaussian for each cluster of points, a little wider than it, in all dimensions.

        Covariances are shrunk by as much as few points need (Chen et al. 2010), and clusters of
        fewer than three points are left out.

        Args:
            x: points, (batch, d).
            spread: factor of all covariances.
        """
        labels = self.labels(x)
        parts = [x[labels == k].double() for k in range(len(self))]
        parts = [part for part in parts if len(part) > 2]
        ridge = NARROWEST * torch.eye(x.shape[1], dtype=torch.float64)
        covariances = [torch.from_numpy(oas(part.numpy())[0]) + ridge for part in parts]
        return GaussianMixture(
            torch.stack([part.mean(0) for part in parts]),
            covariances=spread * torch.stack(covariances),
            weights=torch.tensor([float(len(part)) for part in parts]),
        )


class Reach:
    """How far out the data lie, as they are spread.

    By the distance of Mahalanobis from the mean, and how far the farthest row is by that. A row
    that had its part in the mean and covariance counts as if it had none: leaving it out turns q,
    its squared distance, into ``n/(n-1) q / (1 - q/(n-1))`` (Sherman and Morrison 1950).

    Args:
        x: rows that say how the data are spread, (batch, d).
        others: more rows, (more, d), none of which lies outside either.
    """

    def __init__(self, x: Points, others: Tensor) -> None:
        rows, more = x.double(), others.double()
        self._mean = rows.mean(0)
        centred = rows - self._mean
        covariance = centred.T @ centred / len(rows)
        ridge = RIDGE * covariance.diagonal().mean()
        covariance.diagonal().add_(ridge)
        self._whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
        n, q = len(rows), self.distance(rows) ** 2
        left_out = n / (n - 1) * q / (1 - q / (n - 1)).clamp(min=1e-12)
        self.radius = float(torch.cat([left_out.sqrt(), self.distance(more)]).max())
        self.floor = max(UNUSUAL, CERTAIN / (len(rows) + len(more)))

    def distance(self, x: Points) -> Tensor:
        """Distance of Mahalanobis from the mean of the data, (batch,), float64."""
        return torch.linalg.vector_norm((x.double() - self._mean) @ self._whiten.T, dim=1)

    def outside(self, x: Points, log_weight: Tensor | None = None) -> Estimated:
        """The (weighted) share of points farther out than every row, with its standard error.

        Exact points score less than ``floor``, by `UNUSUAL` and `CERTAIN`.
        """
        w = _weights(x, log_weight)
        share = float(w @ (self.distance(x.cpu()) > self.radius).double())
        return Estimated(share, math.sqrt(max(share * (1 - share), 0.0) / _points(w)))


def _weights(x: Points, log_weight: Tensor | None) -> Tensor:
    log_weight = torch.zeros(len(x)) if log_weight is None else log_weight
    return log_weight.double().cpu().softmax(0)


def _points(weights: Tensor) -> float:
    """Effective number of independent points."""
    return float(1 / weights.square().sum())


def largest_difference(shares: Shares, data: Shares) -> Estimated:
    """Of the cluster whose share differs most from that of the data, for its error.

    The error is that of the difference between exact points, see
    `wgflow.metrics.samples.occupancy_error`.
    """
    n, m = shares.points, data.points
    pooled = ((n * shares.of + m * data.of) / (n + m)).clamp(0, 1)
    error = occupancy_error(pooled, n, m)
    off = shares.of - data.of
    worst = int((off.abs() / (ERRORS * error).clamp(min=SHARE)).argmax())
    return Estimated(float(off[worst]), float(error[worst]))
