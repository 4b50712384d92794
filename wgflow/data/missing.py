"""Missing values of a table, drawn given the others of their row.

It is an approximation: a draw follows a linear model with Gaussian residuals of each column given
the others, fitted in turn to the train rows, where what should be integrated out is unknown. It is
fair where few values are missing, for reasons that the row's other values may explain; what is
learned is then the density of the rows so completed. Rows with missing values are never test
points, so that no likelihood is of imputed values.
"""

import logging

import numpy as np
import torch
from torch import Tensor

from wgflow._check import shown
from wgflow._random import Rng
from wgflow.data.columns import Columns
from wgflow.data.lazy import LazyPoints
from wgflow.data.reading import left_out

log = logging.getLogger(__name__)


def complete_first(order: Tensor, x: np.ndarray, held_out: int, columns: Columns) -> Tensor:
    """An order of rows x (n, d) whose first ``held_out`` have no missing values.

    Rows that have some can be learned from, but have no likelihood to be tested by. They give way
    to the next complete ones; all others keep their order. Raises ValueError for too few, which
    names the columns that lack most.
    """
    complete = torch.from_numpy(~np.isnan(x).any(1))[order]
    if complete.sum() < held_out:
        lacking = np.isnan(x).sum(0)
        most = [int(j) for j in np.argsort(-lacking, kind="stable")[:3] if lacking[j]]
        named = ", ".join(f"{shown(columns.names[j])} {lacking[j]}" for j in most)
        raise ValueError(
            f"Rows held out must be complete: got {int(complete.sum())} complete rows for "
            f"{held_out} of them; most values are missing in {named} of {len(x)} rows, and "
            f"{left_out([columns.names[j] for j in most])} out."
        )
    first = complete & (complete.cumsum(0) <= held_out)
    return torch.cat([order[first], order[~first]])


def impute(
    train: LazyPoints, columns: Columns, source: str, *, generator: Rng = None
) -> LazyPoints:
    """Train rows whose missing values, NaN, are drawn; the others as they are.

    One draw each by scikit-learn's IterativeImputer, chained Bayesian ridge regressions, in
    standardised units and within the bounds of each column. How many there are is logged.
    Buuren and Groothuis-Oudshoorn, "mice", Journal of Statistical Software 45(3), 2011.

    Args:
        train: rows of a table.
        columns: its columns.
        source: its name.
        generator: of the seed of the draws.

    Raises:
        ValueError: a column has no values in these rows.
    """
    x = np.asarray(train.values[train.rows.numpy()])
    missing = np.isnan(x)
    if not missing.any():
        return train
    counts = dict(zip(columns.names, missing.sum(0).tolist(), strict=True))
    if empty := [name for name, count in counts.items() if count == len(x)]:
        raise ValueError(f"Train rows of {source} must have values: got none in {empty}.")
    log.warning(
        "Imputed %d values in %d of %d train rows of %s: %s.",
        missing.sum(),
        missing.any(1).sum(),
        len(x),
        source,
        ", ".join(f"{name!r} {count}" for name, count in counts.items() if count),
    )
    seed = int(torch.randint(2**31, (), generator=generator))
    filled = np.where(missing, _drawn(x.astype(np.float64), columns, seed), x).astype(x.dtype)
    return LazyPoints(filled, torch.arange(len(filled)), train.dtype)


def _drawn(x: np.ndarray, columns: Columns, seed: int) -> np.ndarray:
    # Imports of a second or two, for such data alone.
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    shift, spread = np.nanmean(x, 0), np.nanstd(x, 0)
    scale = np.where(spread > 0, spread, 1.0)
    low = np.array([column.low for column in columns.columns])
    high = np.array([column.high for column in columns.columns]) + columns.widths
    imputer = IterativeImputer(
        sample_posterior=True,
        min_value=(low - shift) / scale,
        max_value=(high - shift) / scale,
        random_state=seed,
    )
    return imputer.fit_transform((x - shift) / scale) * scale + shift
