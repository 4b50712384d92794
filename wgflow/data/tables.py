"""Arrays and tables from disk. Whatever cannot be read exactly is refused."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from wgflow._check import shown
from wgflow._random import Rng
from wgflow.data.columns import Columns
from wgflow.data.foreign import load_array
from wgflow.data.frames import table_of
from wgflow.data.lazy import rows_at_once
from wgflow.data.reading import Reading
from wgflow.data.table_files import TABLES, read_table
from wgflow.storage.folder import write_bytes

log = logging.getLogger(__name__)

ARRAYS = (".npy", ".npz")
"""Suffixes of files of numbers without names, which are points as they stand."""

ALL = Reading()
"""All columns, none of whose values may be missing."""

LEARNED = (
    '; data.missing = "impute" fills them in where they are learned from, and "drop" leaves such '
    "rows out"
)
SCORED = "; leave such rows out, or fill them in: wgflow inpaint DIR --input FILE"
"""What to do about missing values of a table."""

Table = tuple[np.ndarray, Columns | None]
"""Points (n, *event) and, for a table, its columns."""


def read_points(
    path: Path,
    dtype: np.dtype,
    schema: Columns | None = None,
    *,
    wanted: Reading = ALL,
    generator: Rng = None,
) -> Table:
    """Points (n, *event) in ``dtype``, with the columns where the file has them.

    Pixels, as in `read_array`, stay bytes, and what is mapped keeps its type.

    Args:
        path: the file.
        dtype: of the points.
        schema: columns that a table must have, in any order; None for those that are wanted.
        wanted: what is read of a table.
        generator: of the noise of a table, see `Columns`.

    Raises ValueError if the kind of file is unknown, a value is not a finite number, or columns
    are not those of the schema.
    """
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return read_array(path, dtype), None
    if suffix not in TABLES:
        raise ValueError(
            f"Data must be {', '.join((*ARRAYS, *TABLES))} or a folder: got {shown(str(path))}."
        )
    table = read_table(path)
    if schema is None:
        names = wanted.chosen(table.column_names, path.name)
        schema = Columns.of(table, path.name, names)
    found = schema.encode(table, path.name, generator=generator)
    if wanted.missing == "drop":
        found = _complete(found, path.name)
    return _checked(found, dtype, path.name, schema, wanted.missing, LEARNED), schema


def _complete(x: np.ndarray, name: str) -> np.ndarray:
    """The rows without NaN, of which there must be some; how many others there are is logged."""
    kept = ~np.isnan(x).any(1)
    if not kept.any():
        raise ValueError(f"{name} must have rows without missing values: got none of {len(x)}.")
    if not kept.all():
        log.warning("Left out %d of %d rows of %s: values miss.", (~kept).sum(), len(x), name)
    return x[kept]


def write_frame(file: Path, frame: Any) -> None:
    """Rows of a data frame of any library to a .parquet file, with their names and types."""
    stream = pa.BufferOutputStream()
    parquet.write_table(table_of(frame, "`data`").to_arrow(), stream)
    write_bytes(file, stream.getvalue().to_pybytes())


def read_rows(
    source: Any, dtype: np.dtype, schema: Columns | None, *, generator: Rng = None
) -> np.ndarray:
    """Points (n, *event) of all rows of a file or a data frame, for a density of such columns.

    Those of an array are taken as they stand, as are those of a table where there is no schema.

    Raises ValueError as `read_points`, or for a source that is neither.
    """
    is_file = isinstance(source, str | Path)
    if is_file and Path(source).suffix.lower() not in TABLES:
        return read_points(Path(source), dtype)[0]
    name = Path(source).name if is_file else "`frame`"
    table = table_of(read_table(Path(source)) if is_file else source, name)
    columns = schema or Columns.numbers(table.columns)
    return _checked(columns.encode(table, name, generator=generator), dtype, name, columns)


def read_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """One array (n, *event) of numbers; in an .npz the only one, or the one named x or train.

    Bytes of shape (n, 1 or 3, height, width) are pixels, and stay uint8. Pixels and
    floating-point numbers of a large .npy file stay there: the array is a map of it.
    """
    array = load_array(path)
    if array.dtype.kind not in "fiu" or array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{path.name} must hold an array of numbers of two axes or more, none empty: "
            f"got {array.dtype} of shape {array.shape}."
        )
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if not isinstance(array, np.memmap) or array.dtype.kind != "f":
        array = _converted(array, dtype)
    rows = rows_at_once(array.shape[1:])
    for start in range(0, len(array), rows):
        _check_finite(_converted(array[start : start + rows], dtype), path.name, start)
    return array


def _converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        return array.astype(dtype, copy=False)


def _checked(
    x: np.ndarray,
    dtype: np.dtype,
    name: str,
    columns: Columns,
    missing: str = ALL.missing,
    hint: str = SCORED,
) -> np.ndarray:
    x = _converted(x, dtype)
    _check_finite(x, name, 0, columns.names, missing, hint)
    return x


def _check_finite(
    part: np.ndarray,
    name: str,
    start: int,
    columns: tuple[str, ...] | None = None,
    missing: str = ALL.missing,
    hint: str = "",
) -> None:
    """Raise ValueError for the first number, of the rows from ``start`` on, that is not finite.

    NaN may stand where a value is missing and is to be imputed.
    """
    bad = np.isinf(part) if missing == "impute" else ~np.isfinite(part)
    if not bad.any():
        return
    row, *rest = (int(i) for i in np.argwhere(bad)[0])
    if len(rest) > 1:
        place = f"index {(start + row, *rest)}"
    else:
        place = f"row {start + row}, column {repr(columns[rest[0]]) if columns else rest[0]}"
    value = part[(row, *rest)]
    raise ValueError(
        f"{name} must have finite numbers alone: got {value} in {place} (counted from 0)"
        f"{hint if np.isnan(value) else ''}."
    )
