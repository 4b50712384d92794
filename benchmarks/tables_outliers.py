"""Scores of outliers that are no densities, on columns standardised by the rows learned from."""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import IsolationForest as SklearnForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.tables_methods import Fitted, Part, standardised


@dataclass(frozen=True)
class Neighbours:
    """The distance to the k-th nearest row, or the mean of the first k.

    Args:
        k: which.
        mean: whether the mean.
    """

    k: int = 5
    mean: bool = False

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        scaler, u = standardised(part.train)
        tree = NearestNeighbors(n_neighbors=self.k).fit(u)

        def score(x: np.ndarray) -> np.ndarray:
            distances, _ = tree.kneighbors(scaler.transform(x))
            return distances.mean(1) if self.mean else distances[:, -1]

        return Fitted(score)


@dataclass(frozen=True)
class LocalOutliers:
    """The local outlier factor of Breunig et al. (2000); scikit-learn's.

    Args:
        k: neighbours.
    """

    k: int = 20

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        scaler, u = standardised(part.train)
        factor = LocalOutlierFactor(self.k, novelty=True).fit(u)
        return Fitted(lambda x: -factor.score_samples(scaler.transform(x)))


@dataclass(frozen=True)
class IsolationForest:
    """The isolation forest of Liu et al. (2008); scikit-learn's.

    Args:
        trees: their number.
    """

    trees: int = 100

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        forest = SklearnForest(n_estimators=self.trees, random_state=part.seed).fit(part.train)
        return Fitted(lambda x: -forest.score_samples(x))
