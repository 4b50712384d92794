"""Classical density estimates of vectors, stacked: where the energy of a table starts.

Gaussian mixtures of several sizes, by expectation-maximisation, and a kernel estimate with the
shape of the covariance. All are mixtures of Gaussians, and so is their sum with the weights that
make unseen points most likely (stacked density estimation, Smyth and Wolpert 1999).
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wgflow.data.lazy import PointSource

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Numbers of components that are tried, as long as there are rows for them."""

ROWS_EACH = 20
"""Rows per component, at least; and twice the dimension."""

STARTS, RESTARTED = 4, 8
"""Starts of the fits of few components, which are fast and have bad local optima."""

SEEN, CENTERS, UNSEEN = 20_000, 4096, 5_000
"""Rows that mixtures are fitted on, centers of kernels, and rows for weights, at most."""

FOLDS, FOLDED = 5, 2_000
"""Folds, and rows up to which weights come from cross-validation rather than one split."""

FLOOR = 1e-4
"""Added to variances, in standardised units."""

BANDWIDTHS = tuple(np.geomspace(0.05, 1.0, 13).tolist())
"""Of kernels, in units of the covariance's root."""

PATIENCE = 2
"""Sizes in a row without improvement after which larger ones are not tried."""

NEGLIGIBLE = 1e-3
"""Weight below which an estimate is left out."""


class Gaussians(NamedTuple):
    """A weighted sum of Gaussians, float64.

    Attributes:
        weights: (K,), of all the families of a mixture together they sum to one.
        means: (K, d).
        covariances: (K, d, d), or (1, d, d) where all share one.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor


Estimate = Any
"""A fitted estimator with `score_samples`."""


def stacked(train: PointSource, validation: Tensor | None, *, seed: int = 0) -> list[Gaussians]:
    """The stacked mixture of points (n, d): its families, whose weights sum to one.

    Where there are few rows, weights are from `FOLDS`-fold cross-validation on train.

    Args:
        train: points, (n, *event), which are flattened.
        validation: others, (m, *event), for the weights of many rows; None for a tenth of train.
        seed: of the subset of many rows, and of starts.
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SEEN]
    x = train[order].double().flatten(1).numpy()
    if len(x) > FOLDED:
        unseen = x[: len(x) // FOLDS // 2]
        if validation is None:
            x = x[len(unseen) :]
        else:
            unseen = validation[:UNSEEN].double().flatten(1).numpy()
        fits = _fits(x, unseen, seed)
        weights = _weights(np.stack([scores for _, scores in fits], 1))
    else:
        fits, weights = _cross_validated(x, seed)
    chosen = [(fit, w) for (fit, _), w in zip(fits, weights, strict=True) if w > NEGLIGIBLE]
    total = sum(w for _, w in chosen)
    return [fit.gaussians(w / total) for fit, w in chosen]


class MixtureFit:
    """A Gaussian mixture by expectation-maximisation, of a number of components."""

    def __init__(self, x: np.ndarray, size: int, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        starts = STARTS if 1 < size <= RESTARTED else 1
        settings = {"reg_covar": FLOOR, "max_iter": 100, "tol": 1e-3, "n_init": starts}
        # One that is still on its way has a lower likelihood, and so a smaller weight.
        with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
            self.found = GaussianMixture(size, random_state=seed, **settings).fit(x)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """Log densities, (n,)."""
        return self.found.score_samples(x)

    def gaussians(self, weight: float) -> Gaussians:
        """Its components, of a total weight."""
        found = self.found
        parts = (weight * np.asarray(found.weights_), found.means_, found.covariances_)
        return Gaussians(*(torch.from_numpy(np.asarray(part)) for part in parts))


class KernelFit:
    """``mean_j N(x; x_j, h²C)`` with the covariance C; h by likelihood of unseen points."""

    def __init__(self, x: np.ndarray, unseen: np.ndarray) -> None:
        self.covariance = np.atleast_2d(np.cov(x.T)) + FLOOR * np.eye(x.shape[1])
        self.factor = np.linalg.cholesky(self.covariance)
        self.centers, self.width = x[:CENTERS], 1.0
        squares = self._squares(unseen)
        values = [self._log_density(squares, h).mean() for h in BANDWIDTHS]
        self.width = BANDWIDTHS[int(np.argmax(values))]

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """Log densities, (n,)."""
        return self._log_density(self._squares(x), self.width)

    def gaussians(self, weight: float) -> Gaussians:
        """A component for each center, of a total weight."""
        count = len(self.centers)
        weights = torch.full((count,), weight / count, dtype=torch.float64)
        shared = torch.from_numpy(self.width**2 * self.covariance)[None]
        return Gaussians(weights, torch.from_numpy(self.centers), shared)

    def _squares(self, x: np.ndarray) -> np.ndarray:
        """Squared distances to the centers in units of the covariance, (n, centers)."""
        from scipy.linalg import solve_triangular
        from scipy.spatial.distance import cdist

        a, b = (solve_triangular(self.factor, y.T, lower=True).T for y in (x, self.centers))
        return cdist(a, b, "sqeuclidean")

    def _log_density(self, squares: np.ndarray, h: float) -> np.ndarray:
        from scipy.special import logsumexp

        d = len(self.factor)
        log_norm = np.log(np.diag(self.factor)).sum() + d * np.log(h * np.sqrt(2 * np.pi))
        top = logsumexp(-squares / (2 * h**2), axis=1)
        return top - np.log(len(self.centers)) - log_norm


def _fits(x: np.ndarray, unseen: np.ndarray, seed: int) -> list[tuple[Estimate, np.ndarray]]:
    """Estimates of x and their log densities of unseen points."""
    found: list[tuple[Estimate, np.ndarray]] = []
    best, stale = -np.inf, 0
    for size in _sizes(x):
        fit = MixtureFit(x, size, seed)
        found.append((fit, fit.score_samples(unseen)))
        value = found[-1][1].mean()
        best, stale = (value, 0) if value > best else (best, stale + 1)
        if stale >= PATIENCE:
            break
    kernels = KernelFit(x, unseen)
    return [*found, (kernels, kernels.score_samples(unseen))]


def _cross_validated(
    x: np.ndarray, seed: int
) -> tuple[list[tuple[Estimate, np.ndarray]], np.ndarray]:
    """Estimates of x, and weights by the log densities of each part under fits of the others."""
    from sklearn.model_selection import KFold

    folds = KFold(min(FOLDS, len(x)), shuffle=True, random_state=seed)
    tried = [_fits(x[a], x[b], seed) for a, b in folds.split(x)]
    sizes = min(map(len, tried)) - 1  # the last of each are the kernels
    columns = [[fits[k][1] for fits in tried] for k in (*range(sizes), -1)]
    weights = _weights(np.stack([np.concatenate(column) for column in columns], 1))
    fits: list[Estimate] = [MixtureFit(x, size, seed) for size in SIZES[:sizes]]
    kernels = KernelFit(x, x[:1])
    kernels.width = float(np.exp(np.mean([np.log(fits[-1][0].width) for fits in tried])))
    return [(fit, np.empty(0)) for fit in (*fits, kernels)], weights


def _sizes(x: np.ndarray) -> Iterator[int]:
    each = max(ROWS_EACH, 2 * x.shape[1])
    return (size for size in SIZES if size == 1 or size * each <= len(x))


def _weights(scores: np.ndarray, rounds: int = 500) -> np.ndarray:
    """Weights w with the greatest ``Σ_i log Σ_k w_k exp(s_ik)``, by expectation-maximisation."""
    density = np.exp(scores - scores.max(1, keepdims=True))
    weights = np.full(scores.shape[1], 1 / scores.shape[1])
    for _ in range(rounds):
        joint = density * weights
        weights = (joint / joint.sum(1, keepdims=True)).mean(0)
    return weights
