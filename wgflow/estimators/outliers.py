"""Outliers of a table, as an estimator of scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from wgflow._tensor import Points
from wgflow.estimators.base import LearnedRun, RandomState
from wgflow.likelihood.quadrature import tabulate
from wgflow.runs.rows import CHUNK


class EnergyOutlier(OutlierMixin, LearnedRun):
    """Rows of low density are outliers: those of an energy above that of most rows of X.

    The line is drawn at the rows of `fit`, by scikit-learn's convention. An energy is lower at
    rows that it learned from, so that of new rows of their kind more than the share
    `contamination` are beyond it. Ranks among rows held out are free of that:
    `wgflow.runs.rows.score_rows`.

    Args:
        contamination: share of the rows of X that are outliers, above 0 and at most 1/2.
        steps, settings, random_state: of the run; see `LearnedRun`.

    Attributes:
        offset_: what `score_samples` is on the line between inliers and outliers.
    """

    def __init__(
        self,
        *,
        contamination: float = 0.1,
        steps: int | None = None,
        settings: Sequence[str] = (),
        random_state: RandomState = None,
    ) -> None:
        super().__init__(steps=steps, settings=settings, random_state=random_state)
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> "EnergyOutlier":
        """Learn from the rows of X, (n, d); y is ignored.

        Raises:
            ValueError: `contamination` is out of its range; otherwise as `EnergyDensity.fit`.
            Diverged, Interrupted: as `wgflow.fit`.
        """
        if not 0 < self.contamination <= 0.5:
            raise ValueError(
                f"`contamination` must be above 0 and at most 1/2: got {self.contamination}."
            )
        x = self._learn(X)
        self.offset_ = float(np.percentile(self._scores(x), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """``-E(x)`` of each row, (n,): its log-density up to ``-log Z``, which is not needed."""
        return self._scores(self._rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """``score_samples(X) - offset_``, (n,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for each inlier and -1 for each outlier, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _scores(self, x: Points) -> np.ndarray:
        return -tabulate(self.run_.energy, x, CHUNK).numpy()
