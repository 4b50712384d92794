"""Arrays of points in files: written by suffix as arrays, tables or pictures, and read back."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pyarrow import csv as arrow_csv, parquet

from wgflow.data.columns import Columns
from wgflow.data.foreign import check_numbers, load_array
from wgflow.data.tables import TABLES
from wgflow.storage.folder import write_bytes

SUFFIXES = (".npy", ".csv", ".parquet", ".png")
"""An array; tables with a row per point and a column per coordinate; a grid of images."""


def check_suffix(file: Path) -> None:
    """Raise ValueError unless `write_points` knows the suffix of the file."""
    if file.suffix not in SUFFIXES:
        raise ValueError(f"Points are written to {', '.join(SUFFIXES)}: got {str(file)!r}.")


def write_points(
    file: Path,
    x: npt.ArrayLike,
    *,
    columns: Columns | None = None,
    picture: npt.ArrayLike | None = None,
    across: int = 0,
) -> None:
    """Points (n, *event) to a file, in the format of its suffix, one of `SUFFIXES`.

    Args:
        file: where to.
        x: points.
        columns: those of a table, whose rows have names, and values in place of points: integers,
            booleans, text; None for x0, x1, ... and the points themselves. An array holds points.
        picture: images that a .png shows in place of x.
        across: images in a row of a .png; 0 for a square grid.

    Raises:
        ValueError: the suffix is unknown, or points in a .png are not of shape
            (1 or 3, height, width).
    """
    check_suffix(file)
    stream = io.BytesIO()
    if file.suffix == ".png":
        _grid(np.asarray(x if picture is None else picture), across).save(stream, "png")
    elif file.suffix in TABLES:
        points = np.asarray(x).reshape(len(np.asarray(x)), -1)
        names = [f"x{i}" for i in range(points.shape[1])]
        rows = pa.table((columns or Columns.numbers(names)).decode(points))
        write = _write_csv if file.suffix == ".csv" else parquet.write_table
        write(rows, stream)
    else:
        np.save(stream, np.asarray(x))
    write_bytes(file, stream.getvalue())


def _write_csv(rows: pa.Table, stream: io.BytesIO) -> None:
    """Names in quotes only where they need them, as arrow's writer does for values alone."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(rows.column_names)
    stream.write(header.getvalue().encode())
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
    arrow_csv.write_csv(rows, stream, options)


def _grid(x: np.ndarray, across: int) -> Image.Image:
    """Images in a grid, clipped at the 1 % and 99 % quantiles of their values; NaN is black."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"Points in a .png must have shape (1 or 3, height, width): got {x.shape[1:]}."
        )
    across = across or math.ceil(math.sqrt(len(x)))
    down = math.ceil(len(x) / across)
    dark, bright = np.nanquantile(x, [0.01, 0.99])
    grey = np.uint8(np.clip((np.nan_to_num(x, nan=dark) - dark) / (bright - dark), 0, 1) * 255)
    blank = np.zeros((down * across - len(x), *x.shape[1:]), np.uint8)
    grid = np.concatenate([grey, blank]).reshape(down, across, *x.shape[1:])
    pixels = grid.transpose(0, 3, 1, 4, 2).reshape(down * x.shape[2], across * x.shape[3], -1)
    return Image.fromarray(pixels.squeeze(2) if x.shape[1] == 1 else pixels)


def read_array(file: Path) -> np.ndarray:
    """The array in an .npy file, which holds no pickles.

    Bytes b of shape (n, 1 or 3, height, width) are pixels: they become ``(b + ½) / 256``.

    Raises:
        ValueError: it is no .npy file of numbers.
    """
    if file.suffix != ".npy":
        raise ValueError(f"Points are read from an .npy file: got {str(file)!r}.")
    x = load_array(file)
    check_numbers(file, x)
    pixels = x.dtype == np.uint8 and x.ndim == 4 and x.shape[1] in (1, 3)
    return (x + np.float32(0.5)) / 256 if pixels else x
