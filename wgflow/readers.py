"""Arrays, tables and folders of images from disk. Whatever cannot be read exactly is refused."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from pyarrow import csv, parquet

IMAGES = (".png", ".jpg", ".jpeg")
GRAY = ("1", "L")
COLOUR = ("P", "RGB", "RGBA")

Table = tuple[np.ndarray, tuple[str, ...] | None]
"""Points (n, *event) and, for a table, the names of its columns."""


def read(path: Path, dtype: np.dtype) -> Table:
    """Points (n, *event) in ``dtype``, with the names of the columns where the file has them.

    Raises ValueError if the kind of file is unknown, or a value is not a finite number.
    """
    if path.is_dir():
        return read_images(path, dtype), None
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return read_array(path, dtype), None
    if suffix in (".csv", ".parquet"):
        return read_table(path, dtype)
    raise ValueError(
        "Data come from .npy, .npz, .csv, .parquet or a folder of images: "
        f"expected one of these, got {str(path)!r}."
    )


def read_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """One array (n, *event) of numbers; in an .npz the only one, or the one named x or train."""
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else _member(loaded, path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} must hold an array of numbers: {error}") from error
    if array.dtype.kind not in "fiu" or array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{path.name} must hold an array of numbers of shape (n, *event): expected two axes "
            f"or more, none empty, got {array.dtype} of shape {array.shape}."
        )
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        return _finite(array.astype(dtype), path.name)


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


def read_images(folder: Path, dtype: np.dtype) -> np.ndarray:
    """Images (n, channels, height, width) in [0, 1], in the order of their names.

    One channel if all are grey, three otherwise; transparency is dropped.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)
    if not paths:
        raise ValueError(f"A folder of images must hold png or jpg files, got none in {folder}.")
    gray, (width, height) = _common_form(paths)
    pixels = np.empty((len(paths), 1 if gray else 3, height, width), dtype)
    for i, path in enumerate(paths):
        pixels[i] = _pixels(path, gray)
    return pixels


def _member(archive: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    with archive:
        keys = archive.files
        chosen = [key for key in ("x", "train") if key in keys] or keys
        if len(keys) != 1 and chosen is keys:
            raise ValueError(f"expected one array, or one named 'x' or 'train', got {keys}.")
        return archive[chosen[0]]


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    bad = ~np.isfinite(array)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"row {index[0]}, column {index[1]}" if len(index) == 2 else f"index {index}"
        raise ValueError(
            f"{name} must have no missing values: expected finite numbers, "
            f"got {array[index]} in {place} (counted from 0)."
        )
    return array


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


def _common_form(paths: Sequence[Path]) -> tuple[bool, tuple[int, int]]:
    """Whether all are grey, and their common size, from the headers alone."""
    with _open(paths[0]) as first:
        gray, size = True, first.size
    for path in paths:
        with _open(path) as image:
            if image.size != size:
                raise ValueError(
                    f"Images must have one size: expected {size} as in {paths[0].name}, "
                    f"got {image.size} in {path.name}."
                )
            gray = gray and image.mode in GRAY
    return gray, size


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except OSError as error:
        raise ValueError(f"{path.name} must be an image: {error}") from error
    if image.mode not in GRAY + COLOUR:
        image.close()
        raise ValueError(
            f"Images must have eight bits a channel: expected mode {' or '.join(GRAY + COLOUR)}, "
            f"got {image.mode} in {path.name}."
        )
    return image


def _pixels(path: Path, gray: bool) -> np.ndarray:
    with _open(path) as image:
        try:
            # Through RGBA, since a palette may carry transparency.
            plain = image.convert("L") if gray else image.convert("RGBA").convert("RGB")
        except OSError as error:
            raise ValueError(f"{path.name} must be a whole image: {error}") from error
    values = np.asarray(plain, np.float64) / 255
    return values[None] if gray else values.transpose(2, 0, 1)
