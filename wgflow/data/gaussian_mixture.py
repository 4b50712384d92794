"""Gaussian mixtures fitted to points, by expectation-maximisation with a prior of covariances.

A component to which n_k rows belong with covariance S_k gets ``(n_k S_k + ν T_k)/(n_k + ν)``,
the mode under an inverse Wishart prior that counts as ν rows. T_k is the diagonal of S_k, or the
mean of all S_k (Friedman, Regularized discriminant analysis, 1989): few rows in many dimensions
then still have a covariance that unseen rows agree with.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wgflow.data.lazy import PointSource
from wgflow.data.targets import GaussianMixture

FLOOR = 1e-4
"""Added to variances, in squared units of the points, unless less is asked for."""

STARTS, RESTARTED = 4, 8
"""Starts of the fits of few components, which are fast and have bad local optima."""

TRIED, MOST = 4_000, 128
"""Rows that starts are on, at least; and components that have all of them."""

ROUNDS, TOLERANCE = 100, 1e-3
"""Of expectation-maximisation: at most, and the gain in nats per row that ends it."""

SHARE = 1e-6
"""A row's share in a component below which its part in the covariance is left out."""

FEW = 16
"""Dimensions up to which squares are products with monomials, in one go for all components."""

SEEN = 5000
"""Points that `fitted` looks at, of more than that."""

SIZES = (1, 2, 4, 8, 16)
"""Numbers of components that `fitted` chooses from."""


class Mixture(NamedTuple):
    """Weights (K,), means (K, d) and covariances (K, d, d) of Gaussians, float64."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Parts(NamedTuple):
    """What of the rows belongs to each component: counts (K,), means and covariances of those."""

    counts: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Prior(NamedTuple):
    """Of covariances.

    Attributes:
        rows: ν, as how many rows it counts; may be infinite.
        pooled: whether T is the mean of the components' covariances, not each one's diagonal.
        floor: added to variances, as noise of that variance would.
    """

    rows: float = 0.0
    pooled: bool = False
    floor: float = FLOOR


PLAIN = Prior()
"""One that counts nothing."""


def mixture_of(parts: Parts, prior: Prior) -> Mixture:
    """The most probable mixture, given what belongs to each component."""
    counts, means, covariances = parts
    weights, eye = counts / counts.sum(), np.eye(means.shape[1])
    target = np.einsum("k,kij->ij", weights, covariances) if prior.pooled else covariances * eye
    share = 1.0 if prior.rows == np.inf else (prior.rows / (counts + prior.rows))[:, None, None]
    return Mixture(
        weights, means, covariances + share * (target - covariances) + prior.floor * eye
    )


class Rows(NamedTuple):
    """Rows x (n, d), and beside them what of few dimensions is the same in all rounds.

    Attributes:
        x: (n, d).
        monomials: ``x_i x_j`` for i ≤ j, then ``x_i``, (n, d(d+1)/2 + d); None of many dimensions.
    """

    x: np.ndarray
    monomials: np.ndarray | None

    @classmethod
    def of(cls, x: np.ndarray) -> "Rows":
        """Of x."""
        if x.shape[1] > FEW:
            return cls(x, None)
        i, j = np.triu_indices(x.shape[1])
        return cls(x, np.concatenate([x[:, i] * x[:, j], x], 1))


def log_parts(mixture: Mixture, rows: Rows) -> np.ndarray:
    """``log a_k N(x; m_k, C_k)``, (n, K)."""
    factors = np.linalg.cholesky(mixture.covariances)
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    constant = np.log(mixture.weights) - log_det - rows.x.shape[1] / 2 * np.log(2 * np.pi)
    whiten = np.linalg.inv(factors)
    if rows.monomials is None:
        return constant - _squares(rows.x, mixture.means, whiten) / 2
    precision = whiten.mT @ whiten
    i, j = np.triu_indices(rows.x.shape[1])
    slope = (precision @ mixture.means[:, :, None])[:, :, 0]
    curvature = -precision[:, i, j] * np.where(i == j, 0.5, 1.0)  # an upper half stands for both
    log = rows.monomials @ np.concatenate([curvature, slope], 1).T
    log += constant - np.einsum("kd,kd->k", slope, mixture.means) / 2
    return log


def _squares(x: np.ndarray, means: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    """``|W_k (x - m_k)|²``, (n, K)."""
    squares = np.empty((len(x), len(means)))
    for k, w in enumerate(whiten):
        u = (x - means[k]) @ w.T
        squares[:, k] = np.einsum("ij,ij->i", u, u)
    return squares


def log_density(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """``log Σ_k a_k N(x; m_k, C_k)``, (n,)."""
    return _shares(log_parts(mixture, Rows.of(x)))[1]


def _shares(log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``exp(log_nk) / Σ_j exp(log_nj)`` in place of log_nk, and the logarithms of the sums."""
    top = log.max(1)
    log -= top[:, None]
    shares = np.exp(log, out=log)
    total = shares.sum(1)
    shares /= total[:, None]
    return shares, np.log(total) + top


def parts_of(x: np.ndarray, shares: np.ndarray) -> Parts:
    """The parts of rows with shares (n, K); a component with less than half a row dies."""
    return _parts(Rows.of(x), shares)


def _parts(rows: Rows, shares: np.ndarray) -> Parts:
    counts = shares.sum(0)
    alive = counts > min(0.5, counts.max() / 2)
    if not alive.all():
        shares, counts = shares[:, alive], counts[alive]
    if rows.monomials is None:
        means = shares.T @ rows.x / counts[:, None]
        return Parts(counts, means, _covariances(rows.x, shares / counts, means))
    d = rows.x.shape[1]
    found = shares.T @ rows.monomials / counts[:, None]
    means, (i, j) = found[:, -d:], np.triu_indices(d)
    second = np.empty((len(means), d, d))
    second[:, i, j] = second[:, j, i] = found[:, :-d]
    return Parts(counts, means, second - means[:, :, None] * means[:, None])


def _covariances(x: np.ndarray, shares: np.ndarray, means: np.ndarray) -> np.ndarray:
    """``Σ_n s_nk (x_n - m_k)(x_n - m_k)ᵀ``, (K, d, d)."""
    found = np.empty((len(means), *x.shape[1:] * 2))
    for k, share in enumerate(shares.T):
        own = np.flatnonzero(share > SHARE * share.max())
        u = (x[own] - means[k]) * np.sqrt(share[own])[:, None]
        found[k] = u.T @ u
    return found


def climb(x: np.ndarray, parts: Parts, prior: Prior) -> tuple[Parts, float]:
    """Expectation-maximisation of rows (n, d): the parts, and their mean log density."""
    value, rows = -np.inf, Rows.of(x)
    for _ in range(ROUNDS):
        shares, log = _shares(log_parts(mixture_of(parts, prior), rows))
        gain, value = log.mean() - value, log.mean()
        if gain < TOLERANCE:
            break
        parts = _parts(rows, shares)
    return parts, float(value)


def fit(x: np.ndarray, size: int, prior: Prior = PLAIN, *, seed: int = 0) -> Parts:
    """The parts of a mixture of a number of components, of rows (n, d).

    Starts are by k-means on some of the rows, and the likeliest goes on with all.
    """
    if size == 1:
        return parts_of(x, np.ones((len(x), 1)))
    some = x[: max(TRIED, len(x) * size // MOST)]
    starts = range(seed, seed + (STARTS if size <= RESTARTED else 1))
    tried = [climb(some, parts_of(some, _groups(some, size, start)), prior) for start in starts]
    parts, _ = max(tried, key=lambda found: found[1])
    return climb(x, parts, prior)[0] if len(some) < len(x) else parts


def _groups(x: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Shares of zero and one, by k-means."""
    from sklearn.cluster import KMeans  # an import of two seconds

    settings: dict[str, Any] = {"n_init": 1, "random_state": seed}
    return np.eye(size)[KMeans(size, **settings).fit(x).labels_]


def fitted(
    u: PointSource, *, sizes: Iterable[int] = SIZES, floor: float = FLOOR, seed: int = 0
) -> GaussianMixture:
    """The mixture with full covariances that is fitted to points (n, d): where annealing begins.

    With as many components, of ``sizes``, as lower the Bayesian information criterion (Schwarz
    1978). Points with a number that is not finite are left out.

    Args:
        u: points in units of order one, at least two.
        sizes: numbers of components, from one upwards.
        floor: added to variances.
        seed: of the choice of points and of where the fit starts.
    """
    generator = torch.Generator().manual_seed(seed)
    x = u[torch.randperm(len(u), generator=generator)[:SEEN]].double()
    rows = x[x.isfinite().all(1)].cpu().numpy()
    d, least, best, prior = rows.shape[1], np.inf, None, Prior(floor=floor)
    for size in sizes:
        if 2 * size > len(rows):
            break
        found = mixture_of(fit(rows, size, prior, seed=seed), prior)
        free = len(found.weights) * (1 + d + d * (d + 1) / 2) - 1
        value = free * np.log(len(rows)) - 2 * log_density(found, rows).sum()
        if not value < least:
            break
        least, best = value, found
    assert best is not None
    means, covariances, weights = (torch.from_numpy(best[k]) for k in (1, 2, 0))
    return GaussianMixture(means, covariances=covariances, weights=weights)


def moments(mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of a mixture."""
    a, m = mixture.weights, mixture.means
    mean = a @ m
    within = torch.einsum("k,kij->ij", a, mixture.factors @ mixture.factors.mT)
    return mean, within + (a[:, None] * (m - mean)).T @ (m - mean)
