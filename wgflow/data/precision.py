"""Points whose numbers a precision cannot hold: standardised in a higher one, or refused."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wgflow._check import shown
from wgflow.data.gaussianise import NORMAL_QUARTILES
from wgflow.data.lazy import LazyPoints
from wgflow.data.reading import left_out

STEPS = 100
"""Fewest steps of the precision that a standard deviation must have."""

ROWS = 10_000
"""Points at most that quartiles are taken of."""

POWER = 0.4
"""Power of the greatest number of the precision that spreads may have, since they are squared."""


class Rounded(ValueError):
    """Single precision rounds these points away, and double precision does not."""


def check_varies(name: str, train: LazyPoints, columns: tuple[str, ...] | None) -> None:
    """Raise ValueError for constant coordinates, or images that are all the same.

    And `Rounded` where single precision may have made them constant.
    """
    # Not scale == 0: the mean of equal numbers may round, and leave a tiny scale. And before the
    # noise, which would make any image vary.
    first = next(train.raw())[:1]
    constant = torch.ones(first.shape[1:], dtype=torch.bool)
    for part in train.raw():
        constant &= (part == first).all(0)
        if not (constant.all() if train.ndim > 2 else constant.any()):
            return
    which = constant.nonzero().flatten().tolist()
    labels = [columns[j] if columns else j for j in which]
    named = shown(labels) if train.ndim == 2 else "all"
    rounded = float(first.abs().max()) * torch.finfo(train.dtype).eps >= 1
    hint = f"; {_named(train.dtype)} may have rounded them, so subtract a constant"
    # Zeros may have been smaller than any of its numbers.
    single = not train.are_pixels and train.dtype == torch.float32
    if not rounded or train.are_pixels:
        hint = f"; {left_out(labels)} out: there is no density" if columns else ""
    raise (Rounded if single else ValueError)(
        f"Train points of {name} must vary in every coordinate: constant {named}{hint}."
    )


def check_precision(name: str, train: LazyPoints, columns: tuple[str, ...] | None) -> None:
    """Raise ValueError for coordinates of vectors that the precision of the points rounds away.

    And for those whose squares it does not hold; `Rounded` of single precision.
    """
    if train.ndim != 2:
        return
    part, limits = next(train.raw()).double(), torch.finfo(train.dtype)
    spread, largest = part.std(0, correction=0), part.abs().amax(0)
    varied = spread > 0  # others may vary later; constants have a message of their own
    lost = varied & (largest * limits.eps > spread / STEPS)
    lost |= varied & _hides_its_middle(part[:ROWS], limits)
    error = Rounded if train.dtype == torch.float32 else ValueError
    if lost.any():
        raise error(
            f"{name} must keep its digits in {_named(train.dtype)}: got numbers near "
            f"{float(largest[lost][0]):.4g} that differ by {float(spread[lost][0]):.2g} in "
            f"{_labels(lost, columns)}; subtract a constant."
        )
    top = limits.max**POWER
    far = (spread > top) | (varied & (spread < 1 / top))
    if far.any():
        raise error(
            f"{name} must have a spread between {1 / top:.0e} and {top:.0e}, whose squares "
            f"{_named(train.dtype)} holds: got {float(spread[far][0]):.2g} in "
            f"{_labels(far, columns)}; choose another unit."
        )


def _hides_its_middle(x: Tensor, limits: torch.finfo) -> Tensor:
    """Whether the middle half of each column is rounded away, whatever its tails are, (d,)."""
    lower, middle, upper = x.quantile(x.new_tensor([0.25, 0.5, 0.75]), 0)
    width, step = upper - lower, middle.abs() * limits.eps
    # Half of a column may truly be one value; near a large one that is more likely rounding.
    alike = (width == 0) & (limits.bits < 64) & (step * STEPS > 1)
    return alike | ((width > 0) & (step > width / NORMAL_QUARTILES / STEPS))


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """That of files read for a dtype; ValueError for one that no file is read for."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"`dtype` must be float32 or float64: got {dtype}.")
    return np.dtype(np.float32 if dtype == torch.float32 else np.float64)


def _named(dtype: torch.dtype) -> str:
    return "double precision" if dtype == torch.float64 else "single precision"


def _labels(where: Tensor, columns: Sequence[str] | None) -> str:
    """The first few coordinates, by name or number."""
    found = where.nonzero().flatten().tolist()[:5]
    return "columns " + ", ".join(shown(columns[j]) if columns else str(j) for j in found)
