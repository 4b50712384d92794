"""What is said of data and settings as a run begins: what may be meant otherwise."""

import logging
from pathlib import Path

from wgflow._check import shown
from wgflow.config import Config
from wgflow.config.recipes import PLANE, configure
from wgflow.data.dataset import Dataset
from wgflow.data.determined import determined
from wgflow.data.grids import ATOM, atoms
from wgflow.data.peek import width
from wgflow.metrics.isolated import isolated

MANY = 10_000
"""Rows of one or two columns from which on the settings of toy sets are right."""

ROWS = 100_000
"""Train rows at most in which values that repeat are looked for."""

log = logging.getLogger(__name__)


def remark(config: Config, data: Dataset) -> None:
    """Warn of settings of toy sets; and of vectors of values, rows and columns that are odd."""
    _tell_recipe(config, data)
    if len(data.event_shape) == 1 and data.target is None:
        _tell_atoms(data)
        _tell_isolated(data)
        _tell_determined(data)


def _tell_recipe(config: Config, data: Dataset) -> None:
    """Say it where vectors of a file are learned with the very settings of toy sets.

    But for many in the plane, for which the recipe of that name has just these.
    """
    if data.event_shape in ((1,), (2,)) and len(data.train) >= MANY:
        return
    toys = [(known.energy, known.scheme) for known in (Config(), configure(None, PLANE))]
    if (config.energy, config.scheme) in toys and width(config.data.name):
        log.warning(
            "%s is learned with the settings of toy sets, which overfit few rows: "
            "`wgflow.configure` makes those of tables.",
            Path(config.data.name).name,
        )


def _tell_atoms(data: Dataset) -> None:
    """Say which single value many rows have, since no density gives it a probability."""
    names = data.columns or range(*data.event_shape)
    for name, (value, part) in zip(names, atoms(data.train[:ROWS]), strict=True):
        if part > ATOM:
            log.warning(
                "In column %r %.0f %% of the rows are exactly %.6g: a single value has a "
                "probability but no density. Learn the other rows alone, or round the column.",
                name,
                100 * part,
                value,
            )


def _tell_isolated(data: Dataset) -> None:
    """Say which few rows lie far from all others: they may be errors."""
    if (found := isolated(data.train[:ROWS])) is not None:
        names = data.columns or range(*data.event_shape)
        log.warning(
            "What is farthest out in column %r, %d of %d rows, is %.2g × as far from the median "
            "as any other, where no tail leads: leave it out if it is an error.",
            names[found.column],
            found.rows,
            len(data.train),
            found.times,
        )


def _tell_determined(data: Dataset) -> None:
    """Say which columns follow from others: no likelihood has a bound then."""
    names = data.columns or range(*data.event_shape)
    for column, by, left in determined(data.learned[:ROWS]):
        log.warning(
            "Column %r follows from %s up to %.1g of its deviation: the rows fill no volume, and "
            "their likelihood has no upper bound. Leave it out, or others of them.",
            names[column],
            ", ".join(shown(names[j]) for j in by),
            left,
        )
