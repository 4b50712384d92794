"""Rows of a source: to learn from, to validate on while learning, and held out for the scores."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from wgflow.data.lazy import LazyPoints
from wgflow.data.missing import complete_first
from wgflow.data.sources import Source

FEWEST = 2
"""Validation points below which there are none: their mean would say nothing."""


class Part(NamedTuple):
    """Points (n, *event), and their labels, (n,), where they are known."""

    points: LazyPoints
    labels: Tensor | None


class Parts(NamedTuple):
    """The parts of a source, of rows that no two share; no validation where there is none."""

    train: Part
    validation: Part | None
    test: Part


class Fractions(NamedTuple):
    """Shares held out.

    Attributes:
        test: of the points; above 0 and below 1.
        validation: of the others, where points are vectors; at least 0 and below 1.
    """

    test: float = 0.1
    validation: float = 0.0


def split(
    held: Source,
    size: int | None,
    fractions: Fractions,
    dtype: torch.dtype,
    *,
    generator: Generator,
) -> Parts:
    """Train, validation and test rows, in random order; a test split of the source is kept.

    Args:
        held: the source.
        size: points for train and validation together; None for all that are not held out.
        fractions: shares held out.
        dtype: of the points.
        generator: of the order, from which all parts follow.

    Raises:
        ValueError: a fraction or the size is out of its range.
    """
    _check(fractions)
    n = len(held.x)
    held_out = max(1, round(fractions.test * n)) if held.test is None else 0
    most = n - held_out
    size = most if size is None else size
    if not 2 <= size <= most:
        raise ValueError(f"`size` must be 2 to {most}, {n} points less {held_out}: got {size}.")
    order = torch.randperm(n, generator=generator)
    if held.schema is not None:
        order = complete_first(order, held.x, held_out, held.schema)
    used = order[held_out : held_out + size]
    # The last of the order, which is random already: no other draw moves for it.
    validated = _validated(held, size, fractions.validation)
    if held.schema is not None:  # validation points too must have a likelihood
        used = complete_first(used.flip(0), held.x, validated, held.schema).flip(0)
    learned = size - validated
    train = _part(held.x, held.labels, used[:learned], dtype)
    validation = _part(held.x, held.labels, used[learned:], dtype) if learned < size else None
    if held.test is None:
        test = _part(held.x, held.labels, order[:held_out], dtype)
    else:
        test = _part(held.test, held.test_labels, torch.arange(len(held.test)), dtype)
    return Parts(train, validation, test)


def _validated(held: Source, size: int, fraction: float) -> int:
    """How many rows are for validation: of vectors alone, and leaving two to learn from."""
    count = round(fraction * size)
    return count if held.x.ndim == 2 and FEWEST <= count <= size - 2 else 0


def _part(x: np.ndarray, labels: np.ndarray | None, rows: Tensor, dtype: torch.dtype) -> Part:
    known = None if labels is None else torch.from_numpy(labels.astype(np.int64))[rows]
    return Part(LazyPoints(x, rows, dtype), known)


def _check(fractions: Fractions) -> None:
    if not 0 < fractions.test < 1:
        raise ValueError(f"`test_fraction` must be between 0 and 1: got {fractions.test}.")
    if not 0 <= fractions.validation < 1:
        got = fractions.validation
        raise ValueError(f"`validation_fraction` must be at least 0 and below 1: got {got}.")
