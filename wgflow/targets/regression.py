"""The posterior of a Bayesian logistic regression, as an energy."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgflow._check import check_positive
from wgflow._tensor import Points, Values
from wgflow.data.frames import numbers_of, table_of
from wgflow.data.targets import Gaussian
from wgflow.targets.base import TargetEnergy


class LogisticRegression(nn.Module):
    """``V(w) = Σ_i [log(1 + e^{aᵢ·w}) - yᵢ aᵢ·w] + |w|²/2s²``: minus log of prior × likelihood.

    ``e^{-V}`` has the normaliser ``(2πs²)^{d/2} p(y)``: that of the prior is left out.

    Args:
        design: rows ``aᵢ``, (rows, d), with a column of ones for an intercept.
        labels: ``yᵢ``, (rows,), zero or one.
        prior_scale: ``s`` of the prior ``w ~ N(0, s²I)``.
    """

    design: Tensor
    ones: Tensor

    def __init__(self, design: Tensor, labels: Tensor, prior_scale: float) -> None:
        super().__init__()
        check_positive(prior_scale=prior_scale)
        self.prior_scale = prior_scale
        self.register_buffer("design", design.double())
        # Σ yᵢ aᵢ is all that the labels matter.
        self.register_buffer("ones", labels.double() @ design.double())

    def forward(self, w: Points) -> Values:
        """``V(w)``, (batch, d) -> (batch,)."""
        losses = F.softplus(w @ self.design.to(w.dtype).T).sum(1) - w @ self.ones.to(w.dtype)
        return losses + w.square().sum(1) / (2 * self.prior_scale**2)


def logistic_regression(
    features: Any,
    labels: Any,
    prior_scale: float = 1.0,
    *,
    intercept: bool = True,
    standardise: bool = True,
) -> TargetEnergy:
    """The posterior of a logistic regression with prior ``N(0, s²I)``, starting from the prior.

    Args:
        features: a data frame of numbers, or an array (rows, columns).
        labels: (rows,), of two different values; the probability is that of the larger.
        prior_scale: ``s``, of all coefficients, the intercept's too.
        intercept: whether the first coefficient is that of a column of ones.
        standardise: whether columns are brought to mean 0 and variance 1 first.

    Raises:
        ValueError: features are not finite numbers or, if standardised, constant; labels are not
            as many, or not of two values; ``prior_scale`` is not positive.
    """
    a, names = features_of(features)
    y = _labels(labels, len(a))
    if standardise:
        a = (a - a.mean(0)) / scales(a, names)
    if intercept:
        a = np.concatenate([np.ones((len(a), 1)), a], 1)
    energy = LogisticRegression(torch.from_numpy(a), torch.from_numpy(y), prior_scale)
    dim = a.shape[1]
    start = Gaussian(torch.zeros(dim), prior_scale**2 * torch.eye(dim, dtype=torch.float64))
    about = f"logistic regression of {len(a)} rows on {dim} coefficients"
    return TargetEnergy("logistic-regression", energy, dim, start, about)


def features_of(features: Any) -> tuple[np.ndarray, Sequence[str]]:
    """A data frame or an array as numbers (rows, columns), with the names of the columns.

    Raises ValueError unless they are finite numbers.
    """
    if isinstance(features, Tensor | np.ndarray):
        a = np.asarray(features, np.float64)
        names: Sequence[str] = [str(number) for number in range(a.shape[-1])] if a.ndim else []
    else:
        table = table_of(features, "`features`")
        names = table.columns
        text = [name for name in names if not _is_number(table[name])]
        if text:
            raise ValueError(f"`features` must be columns of numbers: got other in {text[0]!r}.")
        a = np.stack([numbers_of(table[name]) for name in names], 1)
    if a.ndim != 2 or 0 in a.shape:
        raise ValueError(f"`features` must have shape (rows, columns): got {a.shape}.")
    if not np.isfinite(a).all():
        row, column = np.argwhere(~np.isfinite(a))[0]
        raise ValueError(
            f"`features` must be finite: got {a[row, column]} in row {row}, column "
            f"{names[column]!r}."
        )
    return a, names


def _is_number(series: nw.Series[Any]) -> bool:
    return series.dtype.is_numeric() or isinstance(series.dtype, nw.Boolean)


def _labels(labels: Any, rows: int) -> np.ndarray:
    values = np.asarray(labels)
    if values.shape != (rows,):
        raise ValueError(f"`labels` must have shape ({rows},), one a row: got {values.shape}.")
    different = np.unique(values.astype(str) if values.dtype == object else values)
    if len(different) != 2:
        raise ValueError(f"`labels` must have two different values: got {len(different)}.")
    return (values.astype(different.dtype) == different[1]).astype(np.float64)


def scales(a: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
    """Standard deviations of columns; ValueError for one that is constant."""
    constant = np.flatnonzero(np.ptp(a, 0) == 0)
    if len(constant):
        name = names[constant[0]] if names else str(constant[0])
        raise ValueError(
            f"`features` must vary to be standardised: got a constant column {name!r}."
        )
    return a.std(0)
