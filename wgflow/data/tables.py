"""Arrays and tables from disk. Whatever cannot be read exactly is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

MAPPED = 2**27
"""Bytes from which a file stays on disk, behind a memory map, where its kind allows that."""

ROWS = 2**22
"""Numbers at a time, of a pass over an array."""

Table = tuple[np.ndarray, tuple[str, ...] | None]
"""Points (n, *event) and, for a table, the names of its columns."""


def read(path: Path, dtype: np.dtype) -> Table:
    """Points (n, *event) in ``dtype``, with the names of the columns where the file has them.

    Levels of images, as in `read_array`, stay bytes, and what is mapped keeps its type.

    Raises ValueError if the kind of file is unknown, or a value is not a finite number.
    """
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return read_array(path, dtype), None
    if suffix in (".csv", ".parquet"):
        return read_table(path, dtype)
    raise ValueError(
        "Data come from .npy, .npz, .csv, .parquet or a folder: "
        f"expected one of these, got {str(path)!r}."
    )


def read_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """One array (n, *event) of numbers; in an .npz the only one, or the one named x or train.

    Bytes of shape (n, 1 or 3, height, width) are levels of images, and stay uint8. Levels and
    floating-point numbers of a large .npy file stay there: the array is a map of it.
    """
    try:
        mode = "r" if path.stat().st_size >= MAPPED else None
        loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else _member(loaded, path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} must hold an array of numbers: {error}") from error
    if array.dtype.kind not in "fiu" or array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{path.name} must hold an array of numbers of shape (n, *event): expected two axes "
            f"or more, none empty, got {array.dtype} of shape {array.shape}."
        )
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if not isinstance(array, np.memmap) or array.dtype.kind != "f":
        array = _converted(array, dtype)
    rows = max(1, ROWS * len(array) // array.size)
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
    for j, name in enumerate(names):
        rows[:, j] = _column(table.column(j), dtype, f"{path.name}, column {name!r}")
    return rows, names


def _member(archive: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    with archive:
        keys = archive.files
        chosen = [key for key in ("x", "train") if key in keys] or keys
        if len(keys) != 1 and chosen is keys:
            raise ValueError(f"expected one array, or one named 'x' or 'train', got {keys}.")
        return archive[chosen[0]]


def bytes_of(path: Path) -> np.ndarray:
    """The bytes of a file, uint8; of a large one a map."""
    if path.stat().st_size >= MAPPED:
        return np.memmap(path, np.uint8, mode="r")
    return np.frombuffer(path.read_bytes(), np.uint8)


def _converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        return array.astype(dtype, copy=False)


def _check_finite(part: np.ndarray, name: str, start: int) -> None:
    """Raise ValueError for the first number, of the rows from ``start`` on, that is not finite."""
    bad = ~np.isfinite(part)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        index = (start + first[0], *first[1:])
        place = f"row {index[0]}, column {index[1]}" if len(index) == 2 else f"index {index}"
        raise ValueError(
            f"{name} must have no missing values: expected finite numbers, "
            f"got {part[first]} in {place} (counted from 0)."
        )


def _check_columns(table: pa.Table, path: Path) -> None:
    if 0 in table.shape:
        raise ValueError(f"{path.name} must hold a table: expected rows, got {table.shape}.")
    if path.suffix.lower() == ".csv" and all(map(_is_number, table.column_names)):
        # Without this the first row of data would silently become the names.
        raise ValueError(
            f"{path.name} needs a header: expected the names of the columns, "
            f"got numbers {table.column_names[:5]}."
        )
    text = {field.name: str(field.type) for field in table.schema if not _numeric(field.type)}
    if text:
        got = ", ".join(f"{name!r} ({kind})" for name, kind in text.items())
        raise ValueError(f"{path.name} must hold numbers: expected numeric columns, got {got}.")


def _numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(column: pa.ChunkedArray, dtype: np.dtype, place: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = pc.cast(column, pa.float64(), safe=False).to_numpy().astype(dtype)
    bad = np.flatnonzero(~np.isfinite(values))  # a null has become nan
    if len(bad):
        raise ValueError(
            "A table must have no missing values: expected finite numbers, "
            f"got {values[bad[0]]} in row {bad[0]} (counted from 0) of {place}."
        )
    return values
