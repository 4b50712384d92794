"""Tables some of whose cells are empty."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet


def read_incomplete(path: Path, columns: Sequence[str], dtype: np.dtype) -> np.ndarray:
    """Rows of a table, (n, columns), in the order of the given names; NaN where there is none.

    An empty cell has no number, and neither has any row of a column that the table lacks.

    Raises:
        ValueError: the file holds no table, has no rows, columns of other names or two of one,
            or a cell that is neither a finite number nor empty.
    """
    try:
        is_csv = path.suffix.lower() == ".csv"
        table = csv.read_csv(path) if is_csv else parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path.name} must hold a table: {error}") from error
    names = table.column_names
    if extra := [name for name in names if name not in columns]:
        known, got = ", ".join(columns), ", ".join(map(repr, extra[:5]))
        raise ValueError(f"{path.name} must have columns of the names {known}: got {got}.")
    if not len(table):
        raise ValueError(f"{path.name} must have rows: got none.")
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name} must have columns of different names: got {names}.")
    rows = np.full((len(table), len(columns)), np.nan, dtype)
    for j, name in enumerate(columns):
        if name in names:
            rows[:, j] = _numbers(table.column(name), f"{path.name}, column {name!r}")
    return rows


def _numbers(column: pa.ChunkedArray, place: str) -> np.ndarray:
    try:
        values = pc.cast(column, pa.float64(), safe=False).to_numpy()
    except pa.ArrowException as error:
        raise ValueError(f"{place} must hold numbers or nothing: {error}") from error
    if np.isinf(values).any():
        raise ValueError(f"{place} must hold finite numbers or nothing: got an infinite one.")
    return values
