"""The density of a table, as an estimator of scikit-learn."""

from typing import Any

import numpy as np
import torch
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from wgflow._check import check_positive
from wgflow.estimators.base import LearnedRun, RandomState, seed_of
from wgflow.runs.rows import log_density


class EnergyDensity(DensityMixin, LearnedRun):
    """The density of the rows of X, ``p(x) = exp(-E(x))/Z``, by a run.

    The run holds out a share of the rows, as any other, which its scores are relative to.
    """

    def fit(self, X: Any, y: Any = None) -> "EnergyDensity":
        """Learn from the rows of X, (n, d); y is ignored.

        Raises:
            ValueError: X is no table of finite numbers, a column is constant, there are too few
                rows, or a setting is unknown or out of its range.
            Diverged, Interrupted: as `wgflow.fit`.
        """
        self._learn(X)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """``log p(x)`` of each row, (n,), in nats, in the units of X.

        The standard error of log Z, ``run_.normaliser.error``, is common to all rows. The first
        call finds log Z, which takes longer than the rows do.

        Raises:
            ValueError: X has other columns, or the run has no normaliser; see `Run.normaliser`.
        """
        x = self._rows(X)
        return log_density(self.run_, x).numpy()

    def score(self, X: Any, y: Any = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean log-density of the rows, in nats; as of GaussianMixture, and not their sum."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Fresh points of the density, (n_samples, d), in the units of X.

        Raises:
            ValueError: `n_samples` is not positive.
        """
        check_is_fitted(self, "run_")
        check_positive(n_samples=n_samples)
        generator = torch.Generator().manual_seed(seed_of(random_state))
        return self.run_.sample(n_samples, generator=generator).numpy()
