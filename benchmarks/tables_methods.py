"""What a method on tables is, and the classical densities.

Every method is a frozen record of its settings with

    method.fit(part) -> Fitted

whose ``log_prob`` (in the units of the table) and ``sample`` are those of the density, or whose
``score`` alone is of use, larger for rows further from the data. Densities standardise by the rows
that they learn from; a constant column keeps its unit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn import mixture as sklearn_mixture
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import StandardScaler

_ROWS = 20
Scores = Callable[[np.ndarray], np.ndarray]


class Part(NamedTuple):
    """What a method gets: rows to learn from, a seed, and where its files may go.

    ``test`` are rows that are scored later and must not be learned from: the rows to learn from
    once more where there are none that may be seen.
    """

    name: str
    columns: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray
    seed: int
    folder: Path


@dataclass(frozen=True)
class Fitted:
    """A method that has learned.

    Attributes:
        score: larger for rows further from the data.
        log_prob: the log-density in the units of the table; None for no density.
        sample: so many rows of the density, by a seed.
        told: what else its row tells, asked for when all else is known.
        others: further scores by name.
    """

    score: Scores
    log_prob: Scores | None = None
    sample: Callable[[int, int], np.ndarray] | None = None
    told: Callable[[], Mapping[str, Any]] = dict
    others: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None


class Method(Protocol):
    """What the tables need of a competitor."""

    def fit(self, part: Part) -> Fitted:
        """Learn from the rows of ``part.train`` alone."""
        ...


def standardised(x: np.ndarray) -> tuple[StandardScaler, np.ndarray]:
    """The scaler of rows, and the rows in its units."""
    scaler = StandardScaler().fit(x)
    return scaler, np.asarray(scaler.transform(x))


def density(
    log_prob: Scores,
    sample: Callable[[int, int], np.ndarray],
    scaler: StandardScaler,
    **told: Any,
) -> Fitted:
    """A density of standardised rows in the units of the table."""
    scale = scaler.scale_
    assert scale is not None
    volume = np.log(scale).sum()

    def raw(x: np.ndarray) -> np.ndarray:
        return log_prob(np.asarray(scaler.transform(x))) - volume

    def draw(count: int, seed: int) -> np.ndarray:
        return np.asarray(scaler.inverse_transform(sample(count, seed)))

    return Fitted(lambda x: -raw(x), raw, draw, lambda: told)


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian of the moments; of a shrunk covariance (Ledoit and Wolf) if that is singular.

    Args:
        shrink: shrink it always.
    """

    shrink: bool = False

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        scaler, u = standardised(part.train)
        moments = EmpiricalCovariance().fit(u)
        shrunk = self.shrink or np.linalg.matrix_rank(moments.covariance_) < u.shape[1]
        found = LedoitWolf().fit(u) if shrunk else moments
        law = multivariate_normal(found.location_, found.covariance_)
        return density(
            lambda x: np.atleast_1d(law.logpdf(x)),
            lambda count, seed: law.rvs(count, random_state=seed).reshape(count, -1),
            scaler,
            shrunk=bool(shrunk),
        )


@dataclass(frozen=True)
class GaussianMixture:
    """Gaussians of free covariances, as many as Schwarz's criterion (BIC) prefers; scikit-learn's.

    Args:
        components: numbers of them to try.
        patience: of these in a row without improvement, after which no more are tried.
        reg: what is added to the variances of standardised columns.
    """

    components: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48)
    patience: int = 3
    reg: float = 1e-6

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        scaler, u = standardised(part.train)
        best = self._best(u, part.seed)

        def sample(count: int, seed: int) -> np.ndarray:
            best.random_state = seed
            return best.sample(count)[0]

        return density(best.score_samples, sample, scaler, components=int(best.n_components))

    def _best(self, u: np.ndarray, seed: int) -> sklearn_mixture.GaussianMixture:
        least, worse, best = np.inf, 0, None
        for k in (k for k in self.components if k < len(u)):
            model = self._tried(k, u, seed)
            now = model.bic(u)
            worse = 0 if now < least else worse + 1
            if now < least:
                least, best = now, model
            if worse == self.patience:
                break
        assert best is not None
        return best

    def _tried(self, k: int, u: np.ndarray, seed: int) -> sklearn_mixture.GaussianMixture:
        return sklearn_mixture.GaussianMixture(
            k, reg_covar=self.reg, max_iter=200, random_state=seed
        ).fit(u)


@dataclass(frozen=True)
class KernelDensity:
    """Isotropic Gaussian kernels of the bandwidth of greatest leave-one-out likelihood.

    Args:
        whiten: also try kernels of the shape of the covariance, and take what is likelier.
        queries: rows that the likelihood is of, at most, chosen at random.
    """

    whiten: bool = True
    queries: int = 1000

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        scaler, u = standardised(part.train)
        shapes = [np.eye(u.shape[1])]
        covariance = np.atleast_2d(np.cov(u.T))
        if self.whiten and np.linalg.matrix_rank(covariance) == u.shape[1]:
            shapes.append(np.linalg.cholesky(covariance))
        chosen = np.random.default_rng(part.seed).permutation(len(u))[: self.queries]
        tried = [(*leave_one_out(_by(shape, u), chosen), shape) for shape in shapes]
        likelihoods = [likelihood - _volume(shape) for _, likelihood, shape in tried]
        h, _, shape = tried[int(np.argmax(likelihoods))]
        centres, d = _by(shape, u), u.shape[1]
        constant = np.log(len(u)) + d * np.log(h * np.sqrt(2 * np.pi)) + _volume(shape)

        def log_prob(x: np.ndarray) -> np.ndarray:
            parts = _few(_by(shape, x))
            return np.concatenate([_log_kernels(p, centres, h) for p in parts]) - constant

        def sample(count: int, seed: int) -> np.ndarray:
            rng = np.random.default_rng(seed)
            noise = h * rng.standard_normal((count, d)) @ shape.T
            return u[rng.integers(len(u), size=count)] + noise

        whitened = shape is not shapes[0]
        return density(log_prob, sample, scaler, bandwidth=h, whitened=whitened)


def leave_one_out(u: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """The bandwidth of greatest mean log-likelihood of chosen rows under all others, and that."""
    u = u.astype(np.float32)
    squares = pairwise_distances(u[chosen], u, "sqeuclidean")
    squares[np.arange(len(chosen)), chosen] = np.inf
    nearest = squares.min(1)
    excess = squares - nearest[:, None]
    buffer = np.empty((_ROWS, len(u)), np.float32)
    d, n = u.shape[1], len(u)

    def loss(log_h: float) -> float:
        factor = np.float32(-0.5 * np.exp(-2 * log_h))
        sums = np.concatenate([_exp_sum(part, factor, buffer) for part in _few(excess)])
        kernels = np.log(sums).mean() + factor * nearest.mean()
        return d * (log_h + np.log(2 * np.pi) / 2) + np.log(n - 1) - float(kernels)

    grid = np.linspace(np.log(0.02), np.log(4), 16)  # likelihoods may have several maxima
    k = int(np.argmin([loss(g) for g in grid]))
    ends = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    found: Any = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x)), -float(found.fun)


def _log_kernels(x: np.ndarray, centres: np.ndarray, h: float) -> np.ndarray:
    squares = cdist(x, centres, "sqeuclidean")
    nearest = squares.min(1, keepdims=True)
    return np.log(np.exp((nearest - squares) / (2 * h**2)).sum(1)) - nearest[:, 0] / (2 * h**2)


def _exp_sum(x: np.ndarray, factor: np.floating, buffer: np.ndarray) -> np.ndarray:
    """``Σ_j exp(f x_ij)`` in a buffer, since new memory costs more than the exponentials."""
    out = np.multiply(x, factor, out=buffer[: len(x)])
    return np.exp(out, out=out).sum(1)


def _few(x: np.ndarray) -> list[np.ndarray]:
    """Some rows at a time, for the processor's cache."""
    return [x[i : i + _ROWS] for i in range(0, len(x), _ROWS)]


def _by(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    return solve_triangular(shape, x.T, lower=True).T


def _volume(shape: np.ndarray) -> float:
    return float(np.log(shape.diagonal()).sum())
