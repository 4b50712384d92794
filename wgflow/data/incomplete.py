"""Rows of a table of which only some cells are known."""

import math
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from wgflow._random import Rng
from wgflow.data.column import Column
from wgflow.data.columns import Columns
from wgflow.data.frames import table_of
from wgflow.data.table_files import read_table

NEAR = 1e-4
"""How far below the start of a cell its value may be, in cells: it was rounded."""


def point_of(column: Column, value: Any) -> float:
    """A value of a column as a coordinate of a point; on a grid the middle of its cell.

    Raises:
        ValueError: this is no finite number, or none of the categories.
    """
    if column.kind == "categorical":
        if value not in column.categories:
            known, got = ", ".join(map(repr, column.categories[:12])), repr(value)
            raise ValueError(f"{column.name!r} must be one of {known}: got {got}.")
        return column.categories.index(value) + 0.5
    is_number = isinstance(value, Real) and math.isfinite(value)
    if not is_number or (isinstance(value, bool) and column.kind != "boolean"):
        raise ValueError(f"{column.name!r} must have a finite number as its value: got {value!r}.")
    if column.resolution is None:
        return float(value)
    cell = math.floor((float(value) - column.low) / column.resolution + NEAR)
    return column.low + column.resolution * (cell + 0.5)


def read_incomplete(path: Path, columns: Columns, *, generator: Rng = None) -> np.ndarray:
    """Rows of a table as points (n, d), float64; NaN where a cell is empty.

    As is every cell of a column that the table lacks. Known values of a grid get its noise.

    Args:
        path: a .csv, .tsv or .parquet file.
        columns: those of the density; the table has some of them, in any order.
        generator: of the noise.

    Raises:
        ValueError: the file holds no table, or columns of other names, or values that are none of
            their column.
    """
    table = table_of(read_table(path), path.name)
    if extra := [name for name in table.columns if name not in columns.known]:
        known, got = ", ".join(columns.names), ", ".join(map(repr, extra[:5]))
        raise ValueError(f"{path.name} must have columns of the names {known}: got {got}.")
    x = np.full((len(table), len(columns.columns)), np.nan)
    for j, column in enumerate(columns.columns):
        if column.name in table.columns and not table[column.name].is_null().all():
            x[:, j] = column.codes(table[column.name], path.name)
    if np.isinf(x).any():
        name = columns.names[int(np.isinf(x).any(0).argmax())]
        raise ValueError(f"{path.name} must hold finite numbers in column {name!r}: got others.")
    return columns.dequantise(x, generator=generator)
