"""Density estimates of rows, of which a mixture is stacked: see `wgflow.data.mixtures`.

Gaussian mixtures of several sizes, and kernels of several widths, each with the log densities of
rows that they have not seen.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from torch import Tensor

from wgflow.data.gaussian_mixture import (
    PLAIN,
    Mixture,
    Parts,
    Prior,
    climb,
    fit,
    log_density,
    mixture_of,
)

SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 64, 128, 256)
"""Numbers of components that are tried, as long as there are rows for them."""

ROWS_EACH = 20
"""Rows per component, at least; and twice the dimension."""

STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)
"""Of priors of covariances, as rows for each dimension."""

FLOORS = (1e-4, 1e-5, 1e-6, 1e-7)
"""Of variances, in squared standard deviations of the columns."""

CENTERS, UNSEEN = 4096, 5_000
"""Centers of kernels, and rows for weights, at most."""

FOLDS, FOLDED = 5, 2_000
"""Folds, and rows up to which weights come from cross-validation rather than one split."""

BANDWIDTHS = tuple(np.geomspace(0.05, 1.0, 13).tolist())
"""Of kernels, in units of the covariance's root."""

PATIENCE = 2
"""Sizes in a row without improvement after which larger ones are not tried."""


class Split(NamedTuple):
    """Rows to fit, (n, d), and others, (m, d)."""

    seen: np.ndarray
    unseen: np.ndarray


class Sized(NamedTuple):
    """Mixtures of one size: their prior, one fit per split, log densities of all unseen rows."""

    size: int
    prior: Prior
    fits: list[Parts]
    scores: np.ndarray

    def on_all(self, x: np.ndarray, seed: int) -> Mixture:
        """The one of a single split, and of more a fit to all rows x."""
        several = len(self.fits) > 1
        parts = fit(x, self.size, self.prior, seed=seed) if several else self.fits[0]
        return mixture_of(parts, self.prior)


class Kernels(NamedTuple):
    """``mean_j N(x; x_j, h²C)``: the centers (n, d) and h²C."""

    centers: np.ndarray
    covariance: np.ndarray


class Scored(NamedTuple):
    """Kernels, and log densities of all unseen rows, each around the others' rows."""

    kernels: Kernels
    scores: np.ndarray


def splits_of(
    x: np.ndarray, validation: Tensor | None, groups: np.ndarray | None, seed: int
) -> list[Split]:
    """One split of many rows, and of few each fold against the others."""
    if len(x) <= FOLDED:
        return list(_folds(x, groups, min(FOLDS, len(x)), seed))
    if validation is not None:
        return [Split(x, validation[:UNSEEN].double().flatten(1).numpy())]
    return [next(_folds(x, groups, 2 * FOLDS, seed))]


def _folds(x: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> Iterator[Split]:
    from sklearn.model_selection import GroupKFold, KFold

    if groups is None:
        folds = KFold(count, shuffle=True, random_state=seed).split(x)
    else:
        folds = GroupKFold(min(count, len(np.unique(groups)))).split(x, groups=groups)
    return (Split(x[seen], x[unseen]) for seen, unseen in folds)


def value(scores: np.ndarray, plain: np.ndarray | None) -> float:
    """The mean of ``log((1-ε) p + ε p₁)`` over n unseen rows, ε = 1/(n+1), nats.

    All are weighed together in the end, and the first of them expects rows far out: it lets none
    of these speak against another by more than log(n+1).

    Args:
        scores: ``log p``, (n,).
        plain: ``log p₁`` of the first estimate, (n,); None for p itself.
    """
    if plain is None:
        return float(scores.mean())
    share = 1 / (len(scores) + 1)
    return float(np.logaddexp(scores + np.log1p(-share), plain + np.log(share)).mean())


def sized(splits: list[Split], seed: int) -> Iterator[Sized]:
    """Mixtures of growing size, as long as there are rows and they get better."""
    least, d = min(len(seen) for seen, _ in splits), splits[0].seen.shape[1]
    prior, plain, best, stale = PLAIN, None, -np.inf, 0
    for size in SIZES:
        if size > 1 and size * max(ROWS_EACH, 2 * d) > least:
            return
        found = _of_size(size, splits, prior, seed, plain)
        yield found
        prior, plain = found.prior, found.scores if plain is None else plain
        reached = value(found.scores, plain)
        best, stale = (reached, 0) if reached > best else (best, stale + 1)
        if stale >= PATIENCE:
            return


def _of_size(
    size: int, splits: list[Split], begun: Prior, seed: int, plain: np.ndarray | None = None
) -> Sized:
    """Mixtures of one size, under the prior that makes unseen rows most likely."""
    fits = [fit(seen, size, begun, seed=seed) for seen, _ in splits]
    tried: dict[Prior, np.ndarray] = {}

    def best(priors: Iterable[Prior]) -> Prior:
        tried.update({prior: _scores(fits, splits, prior) for prior in priors})
        return max(tried, key=lambda prior: value(tried[prior], plain))

    prior = best(_priors(size, fits, begun.floor))
    prior = best(prior._replace(floor=floor) for floor in FLOORS if floor != begun.floor)
    if prior == begun or size == 1:
        return Sized(size, prior, fits, tried[prior])
    fits = [climb(s.seen, f, prior)[0] for s, f in zip(splits, fits, strict=True)]
    return Sized(size, prior, fits, _scores(fits, splits, prior))


def _scores(fits: list[Parts], splits: list[Split], prior: Prior) -> np.ndarray:
    """Log densities of all unseen rows, each under the fit to the others."""
    pairs = zip(fits, splits, strict=True)
    return np.concatenate([log_density(mixture_of(f, prior), s.unseen) for f, s in pairs])


def _priors(size: int, fits: list[Parts], floor: float) -> list[Prior]:
    d = fits[0].means.shape[1]
    own = [Prior(rows * d, False, floor) for rows in STRENGTHS]
    return own + [Prior(rows * d, True, floor) for rows in STRENGTHS[1:] if size > 1]


def kernels_of(x: np.ndarray, splits: list[Split], prior: Prior) -> list[Scored]:
    """Kernels at rows x, (n, d), of every bandwidth, with log densities of all unseen rows.

    Args:
        x: (n, d).
        splits: of x.
        prior: of their covariance, that of a single Gaussian.
    """
    tried = np.concatenate([_widths(*split, prior) for split in splits], 1)
    centers, shape = x[:CENTERS], _covariance(x, prior)
    pairs = zip(BANDWIDTHS, tried, strict=True)
    return [Scored(Kernels(centers, h**2 * shape), scores) for h, scores in pairs]


def _widths(x: np.ndarray, unseen: np.ndarray, prior: Prior) -> np.ndarray:
    """Log densities of unseen rows for each of `BANDWIDTHS`, (widths, m)."""
    factor = np.linalg.cholesky(_covariance(x, prior))
    whiten = np.linalg.inv(factor).T
    squares = cdist(unseen @ whiten, x[:CENTERS] @ whiten, "sqeuclidean")
    log_det, d = np.log(np.diag(factor)).sum(), x.shape[1]
    log_norm = log_det + d / 2 * np.log(2 * np.pi) + np.log(squares.shape[1])
    tops = squares.min(1)
    squares -= tops[:, None]
    sums = [np.exp(-squares / (2 * h**2)).sum(1) for h in BANDWIDTHS]
    terms = zip(sums, BANDWIDTHS, strict=True)
    return np.stack([np.log(z) - tops / (2 * h**2) - d * np.log(h) - log_norm for z, h in terms])


def _covariance(x: np.ndarray, prior: Prior) -> np.ndarray:
    return mixture_of(fit(x, 1), prior).covariances[0]
