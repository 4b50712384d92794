"""Arrays and tables from disk. Whatever cannot be read exactly is refused."""

import contextlib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from wgflow.data.lazy import rows_at_once

MAPPED = 2**27
"""Bytes from which a file stays on disk, behind a memory map, where its kind allows that."""

Table = tuple[np.ndarray, tuple[str, ...] | None]
"""Points (n, *event) and, for a table, the names of its columns."""


def read_points(path: Path, dtype: np.dtype) -> Table:
    """Points (n, *event) in ``dtype``, with the names of the columns where the file has them.

    Pixels, as in `read_array`, stay bytes, and what is mapped keeps its type.

    Raises ValueError if the kind of file is unknown, or a value is not a finite number.
    """
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return read_array(path, dtype), None
    if suffix in (".csv", ".parquet"):
        return read_table(path, dtype)
    raise ValueError(f"Data must be .npy, .npz, .csv, .parquet or a folder: got {str(path)!r}.")


def read_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """One array (n, *event) of numbers; in an .npz the only one, or the one named x or train.

    Bytes of shape (n, 1 or 3, height, width) are pixels, and stay uint8. Pixels and
    floating-point numbers of a large .npy file stay there: the array is a map of it.
    """
    try:
        mode = "r" if path.stat().st_size >= MAPPED else None
        loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else _member(loaded)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} must hold an array of numbers: {error}") from error
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


def read_table(path: Path, dtype: np.dtype) -> Table:
    """Rows (n, columns) of a table of numbers, and the names of its columns."""
    try:
        is_csv = path.suffix.lower() == ".csv"
        table = csv.read_csv(path) if is_csv else parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path.name} must hold a table: {error}") from error
    names = tuple(table.column_names)
    _check_columns(table, path)
    rows = np.empty(table.shape, dtype)
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        for j in range(len(names)):
            rows[:, j] = pc.cast(table.column(j), pa.float64(), safe=False).to_numpy()
    _check_finite(rows, path.name, 0, names)  # a null has become nan
    return rows, names


def bytes_of(path: Path) -> np.ndarray:
    """The bytes of a file, uint8; of a large one a map."""
    if path.stat().st_size >= MAPPED:
        return np.memmap(path, np.uint8, mode="r")
    return np.frombuffer(path.read_bytes(), np.uint8)


def _member(archive: np.lib.npyio.NpzFile) -> np.ndarray:
    with archive:
        keys = archive.files
        chosen = [key for key in ("x", "train") if key in keys] or keys
        if len(keys) != 1 and chosen is keys:
            raise ValueError(f"expected one array, or one named 'x' or 'train', got {keys}.")
        return archive[chosen[0]]


def _converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        return array.astype(dtype, copy=False)


def _check_finite(
    part: np.ndarray, name: str, start: int, columns: tuple[str, ...] | None = None
) -> None:
    """Raise ValueError for the first number, of the rows from ``start`` on, that is not finite."""
    bad = ~np.isfinite(part)
    if not bad.any():
        return
    row, *rest = (int(i) for i in np.argwhere(bad)[0])
    if len(rest) > 1:
        place = f"index {(start + row, *rest)}"
    else:
        place = f"row {start + row}, column {repr(columns[rest[0]]) if columns else rest[0]}"
    raise ValueError(
        f"{name} must have finite numbers alone: got {part[(row, *rest)]} in {place} "
        "(counted from 0)."
    )


def _check_columns(table: pa.Table, path: Path) -> None:
    if 0 in table.shape:
        raise ValueError(f"{path.name} must hold a table with rows: got {table.shape}.")
    if path.suffix.lower() == ".csv" and all(map(_is_number, table.column_names)):
        # Without this the first row of data would silently become the names.
        got = table.column_names[:5]
        raise ValueError(f"{path.name} must have a header of names: got numbers {got}.")
    text = {field.name: str(field.type) for field in table.schema if not _numeric(field.type)}
    if text:
        got = ", ".join(f"{name!r} ({kind})" for name, kind in text.items())
        raise ValueError(f"{path.name} must hold numeric columns: got {got}.")


def _numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False
