"""Classical density estimates of vectors, stacked: where the energy of a table starts.

Gaussian mixtures of several sizes, with shrunk covariances, and kernels of several widths with the
shape of the covariance: rows that stand in a table twice need narrower ones than the rest. All are
mixtures of Gaussians, and so is their sum with the weights that make unseen points most likely
(stacked density estimation, Smyth and Wolpert 1999). Where these points are not much likelier so,
a single Gaussian is the estimate: of a Gaussian law it is the best one.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from wgflow.data.estimates import Kernels, Scored, Sized, kernels_of, sized, splits_of, value
from wgflow.data.gaussian_mixture import Mixture
from wgflow.data.lazy import PointSource

SEEN = 20_000
"""Rows that mixtures are fitted on, at most."""

NEGLIGIBLE = 1e-3
"""Weight below which an estimate is left out."""

WIDTHS = 3
"""Bandwidths of kernels at most: each has thousands of components."""

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


class Judged(NamedTuple):
    """A stacked mixture, and how likely rows are under it that estimates did not see.

    Attributes:
        families: of the stack, whose weights sum to one.
        unseen: log-densities of these rows, (rows,), float64, in an order that is the same for
            all columns of a table.
    """

    families: list[Gaussians]
    unseen: Tensor


class Estimates(NamedTuple):
    """Mixtures fitted to rows x, from a seed, and kernels of several widths."""

    x: np.ndarray
    seed: int
    tried: list[Sized]
    kernels: list[Scored]

    @property
    def stack(self) -> Judged:
        """Of all mixtures, and of the `WIDTHS` kernels that have most weight beside them.

        Where the likeliest kernels alone say nothing against a single Gaussian, it is that: of
        many, some do by chance.
        """
        plain = self.tried[0].scores
        likeliest = max(self.kernels, key=lambda found: value(found.scores, plain))
        own, _ = self._stacked([likeliest])
        if own[0] == 1:
            return Judged(self._weighted(own), torch.from_numpy(plain))
        _, weights = self._stacked(self.kernels)
        heaviest = sorted(range(len(weights)), key=lambda k: -weights[k])[:WIDTHS]
        kernels = [self.kernels[k] for k in sorted(heaviest)]
        own, weights = self._stacked(kernels)
        pairs = zip(kernels, weights, strict=True)
        families = [*self._weighted(own), *(_around(f.kernels, w) for f, w in pairs if w)]
        scores = np.stack([found.scores for found in (*self.tried, *kernels)], 1)
        return Judged(families, _mixed(scores, np.array([*own, *weights])))

    def _stacked(self, kernels: list[Scored]) -> tuple[list[float], list[float]]:
        """The weights of the mixtures, and of kernels beside them."""
        scores = [found.scores for found in (*self.tried, *kernels)]
        weights = _chosen(np.stack(scores, 1)).tolist()
        return weights[: len(self.tried)], weights[len(self.tried) :]

    @property
    def coarse(self) -> Judged:
        """Of those of at most `COARSE` components."""
        few = [found.scores for found in self.tried if found.size <= COARSE]
        weights = _chosen(scores := np.stack(few, 1))
        return Judged(self._weighted(weights), _mixed(scores, weights))

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
    return _estimates(train, validation, groups, seed).stack.families


def judged(train: PointSource, groups: Tensor, *, coarse: bool = False, seed: int = 0) -> Judged:
    """The stacked mixture of points, as `stacked`, and its log-densities at unseen ones.

    Args:
        train: points, (n, *event).
        groups: (n,), of rows that are not independent.
        coarse: whether it is of at most `COARSE` components, without kernels.
        seed: as of `stacked`.
    """
    found = _estimates(train, None, groups, seed)
    return found.coarse if coarse else found.stack


def stacks(train: PointSource, validation: Tensor | None, *, seed: int = 0) -> Stacks:
    """The stacked mixture of all estimates, and that of few components; as `stacked`."""
    found = _estimates(train, validation, None, seed)
    return Stacks(found.stack.families, found.coarse.families)


def open_minded(families: list[Gaussians], rows: int) -> list[Gaussians]:
    """A mixture with the share ``1/(n + 1)`` for N(0, I), of points with mean 0 and variance 1.

    Of n rows none was unlike all others, so that the next one is with about that probability
    (Laplace's rule of succession). Where columns determine each other, a row that breaks the rule
    would be as unlikely as the rule is exact, by thousands of nats for one wrong digit.

    Args:
        families: of the mixture; none stay none.
        rows: n, that it was fitted to.
    """
    if not families:
        return []
    share, eye = 1 / (rows + 1), torch.eye(families[0].means.shape[1], dtype=torch.float64)
    others = [f._replace(weights=(1 - share) * f.weights) for f in families]
    return [*others, Gaussians(share * eye.new_ones(1), eye.new_zeros(1, len(eye)), eye[None])]


def _estimates(
    train: PointSource, validation: Tensor | None, groups: Tensor | None, seed: int
) -> Estimates:
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SEEN]
    x = train[order].double().flatten(1).numpy()
    splits = splits_of(x, validation, None if groups is None else groups[order].numpy(), seed)
    if len(splits) == 1:
        x = splits[0].seen
    tried = list(sized(splits, seed))
    return Estimates(x, seed, tried, kernels_of(x, splits, tried[0].prior))


def _mixed(scores: np.ndarray, weights: np.ndarray) -> Tensor:
    """The log-densities of rows under a mixture, of those under its parts."""
    with np.errstate(divide="ignore"):
        return torch.from_numpy(logsumexp(scores + np.log(weights), axis=1))


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
