"""Classical density estimates of vectors, stacked: where the energy of a table starts.

Gaussian mixtures of several sizes, with shrunk covariances, and a kernel estimate with the shape
of the covariance. All are mixtures of Gaussians, and so is their sum with the weights that make
unseen points most likely (stacked density estimation, Smyth and Wolpert 1999). Where these points
are not much likelier so, a single Gaussian is the estimate: of a Gaussian law it is the best one.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
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
from wgflow.data.lazy import PointSource

SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 64, 128, 256)
"""Numbers of components that are tried, as long as there are rows for them."""

ROWS_EACH = 20
"""Rows per component, at least; and twice the dimension."""

STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)
"""Of priors of covariances, as rows for each dimension."""

SEEN, CENTERS, UNSEEN = 20_000, 4096, 5_000
"""Rows that mixtures are fitted on, centers of kernels, and rows for weights, at most."""

FOLDS, FOLDED = 5, 2_000
"""Folds, and rows up to which weights come from cross-validation rather than one split."""

BANDWIDTHS = tuple(np.geomspace(0.05, 1.0, 13).tolist())
"""Of kernels, in units of the covariance's root."""

PATIENCE = 2
"""Sizes in a row without improvement after which larger ones are not tried."""

NEGLIGIBLE = 1e-3
"""Weight below which an estimate is left out."""

COARSE = 16
"""Components of the largest mixture of `Stacks.coarse`."""

DEFENSIVE = 0.1
"""Weight of the coarse stack in the mixture that points are drawn from in its place."""

DOUBT = 2.0
"""Rows, besides the unseen ones, that only a single component explains: by chance alone the others
gain about half a nat for each weight, and lose as much on further rows."""

EVIDENCE = math.log(100)
"""Nats by which all unseen rows together must be likelier under the stack than under its single
Gaussian, which is taken otherwise."""


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


class Stacks(NamedTuple):
    """Stacked mixtures: their families, whose weights sum to one.

    Attributes:
        stack: of all estimates, the likeliest on unseen points.
        coarse: of mixtures of at most `COARSE` components.
    """

    stack: list[Gaussians]
    coarse: list[Gaussians]

    @property
    def defensive(self) -> list[Gaussians]:
        """The stack with `DEFENSIVE` of the coarse one: at least that share of its density."""
        shares = ((DEFENSIVE, self.coarse), (1 - DEFENSIVE, self.stack))
        return [f._replace(weights=share * f.weights) for share, part in shares for f in part]


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


class Estimates(NamedTuple):
    """Mixtures fitted to rows x, from a seed, and kernels with their scores of unseen rows."""

    x: np.ndarray
    seed: int
    tried: list[Sized]
    kernels: Kernels
    scores: np.ndarray

    @property
    def stack(self) -> list[Gaussians]:
        """Of them all."""
        scores = [*(found.scores for found in self.tried), self.scores]
        *weights, last = _chosen(np.stack(scores, 1))
        kernels = [_around(self.kernels, last)] if last else []
        return [*self._weighted(weights), *kernels]

    @property
    def coarse(self) -> list[Gaussians]:
        """Of those of at most `COARSE` components."""
        few = [found.scores for found in self.tried if found.size <= COARSE]
        return self._weighted(_chosen(np.stack(few, 1)))

    def _weighted(self, weights: Iterable[float]) -> list[Gaussians]:
        pairs = zip(self.tried, weights, strict=False)
        return [_components(found.on_all(self.x, self.seed), w) for found, w in pairs if w]


def stacked(
    train: PointSource,
    validation: Tensor | None,
    *,
    groups: Tensor | None = None,
    seed: int = 0,
) -> list[Gaussians]:
    """The stacked mixture of points (n, d): its families, whose weights sum to one.

    Where there are few rows, all choices are by `FOLDS`-fold cross-validation on train.

    Args:
        train: points, (n, *event), which are flattened.
        validation: others, (m, *event), for the choices of many rows; None for a tenth of train.
        groups: (n,), of rows that are not independent, such as copies; the rows of a group are
            seen or unseen together. None for independent rows.
        seed: of the subset of many rows, and of starts.
    """
    return _estimates(train, validation, groups, seed).stack


def stacks(train: PointSource, validation: Tensor | None, *, seed: int = 0) -> Stacks:
    """The stacked mixture of all estimates, and that of few components; as `stacked`."""
    found = _estimates(train, validation, None, seed)
    return Stacks(found.stack, found.coarse)


def _estimates(
    train: PointSource, validation: Tensor | None, groups: Tensor | None, seed: int
) -> Estimates:
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SEEN]
    x = train[order].double().flatten(1).numpy()
    splits = _splits(x, validation, None if groups is None else groups[order].numpy(), seed)
    if len(splits) == 1:
        x = splits[0].seen
    tried = list(_sized(splits, seed))
    return Estimates(x, seed, tried, *_kernels(x, splits, tried[0].prior))


def _splits(
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


def _sized(splits: list[Split], seed: int) -> Iterator[Sized]:
    """Mixtures of growing size, as long as there are rows and they get better."""
    least, d = min(len(seen) for seen, _ in splits), splits[0].seen.shape[1]
    prior, best, stale = PLAIN, -np.inf, 0
    for size in SIZES:
        if size > 1 and size * max(ROWS_EACH, 2 * d) > least:
            return
        found = _of_size(size, splits, prior, seed)
        yield found
        prior, value = found.prior, found.scores.mean()
        best, stale = (value, 0) if value > best else (best, stale + 1)
        if stale >= PATIENCE:
            return


def _of_size(size: int, splits: list[Split], begun: Prior, seed: int) -> Sized:
    """Mixtures of one size, under the prior that makes unseen rows most likely."""
    fits = [fit(seen, size, begun, seed=seed) for seen, _ in splits]
    tried = {prior: _scores(fits, splits, prior) for prior in _priors(size, fits)}
    prior = max(tried, key=lambda prior: tried[prior].mean())
    if prior == begun or size == 1:
        return Sized(size, prior, fits, tried[prior])
    fits = [climb(s.seen, f, prior)[0] for s, f in zip(splits, fits, strict=True)]
    return Sized(size, prior, fits, _scores(fits, splits, prior))


def _scores(fits: list[Parts], splits: list[Split], prior: Prior) -> np.ndarray:
    """Log densities of all unseen rows, each under the fit to the others."""
    pairs = zip(fits, splits, strict=True)
    return np.concatenate([log_density(mixture_of(f, prior), s.unseen) for f, s in pairs])


def _priors(size: int, fits: list[Parts]) -> list[Prior]:
    d = fits[0].means.shape[1]
    own = [Prior(rows * d) for rows in STRENGTHS]
    return own + [Prior(rows * d, pooled=True) for rows in STRENGTHS[1:] if size > 1]


def _kernels(x: np.ndarray, splits: list[Split], prior: Prior) -> tuple[Kernels, np.ndarray]:
    """Kernels at rows x with the bandwidth of greatest likelihood of unseen rows; those scores."""
    tried = np.concatenate([_widths(*split, prior) for split in splits], 1)
    best = int(tried.mean(1).argmax())
    return Kernels(x[:CENTERS], BANDWIDTHS[best] ** 2 * _covariance(x, prior)), tried[best]


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


def _chosen(scores: np.ndarray) -> np.ndarray:
    """The weights, or one for the first estimate where unseen rows do not speak against it.

    By their likelihood ratio. Its mean under the first estimate is 1 for any weights, so that the
    chance that it exceeds ``exp(EVIDENCE)`` is at most ``exp(-EVIDENCE)`` (Markov's inequality),
    and weights that are chosen on the same rows gain little beside `EVIDENCE`. Standard errors of
    the difference of log-likelihoods would not do: a few rows far out decide, and enlarge them.
    """
    weights = _weights(scores)
    weights[weights < NEGLIGIBLE] = 0
    weights /= weights.sum()
    with np.errstate(divide="ignore"):
        gains = logsumexp(scores + np.log(weights), axis=1) - scores[:, 0]
    return weights if gains.sum() > EVIDENCE else np.eye(len(weights))[0]


def _weights(scores: np.ndarray, *, rounds: int = 500) -> np.ndarray:
    """Weights w with the greatest ``Σ_i log Σ_k w_k exp(s_ik) + DOUBT log w_1``.

    By expectation-maximisation: the mode under a Dirichlet prior, in favour of the first.
    """
    density = np.exp(scores - scores.max(1, keepdims=True))
    weights = np.full(scores.shape[1], 1 / scores.shape[1])
    for _ in range(rounds):
        joint = density * weights
        counts = (joint / joint.sum(1, keepdims=True)).sum(0)
        counts[0] += DOUBT
        weights = counts / counts.sum()
    return weights


def _components(mixture: Mixture, weight: float) -> Gaussians:
    """The components of a mixture, of a total weight."""
    return Gaussians(*map(torch.from_numpy, (weight * mixture.weights, *mixture[1:])))


def _around(kernels: Kernels, weight: float) -> Gaussians:
    """A component for each center, of a total weight."""
    count = len(kernels.centers)
    weights = torch.full((count,), weight / count, dtype=torch.float64)
    centers, shared = map(torch.from_numpy, kernels)
    return Gaussians(weights, centers, shared[None])
