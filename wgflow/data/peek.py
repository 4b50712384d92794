"""What a file holds, as far as its header says."""

import contextlib
import csv
from pathlib import Path

from pyarrow import parquet

from wgflow.data.foreign import shape_of


def width(source: str | Path) -> int | None:
    """The number of columns of a table, or of coordinates of vectors; None for anything else."""
    path = Path(source)
    if not path.is_file():
        return None
    with contextlib.suppress(Exception):  # whatever is wrong, reading it says so
        return {".csv": _csv, ".parquet": _parquet, ".npy": _array, ".npz": _array}.get(
            path.suffix.lower(), _nothing
        )(path)
    return None


def _csv(path: Path) -> int:
    with path.open(newline="", encoding="utf-8") as lines:
        return len(next(csv.reader(lines), []))


def _parquet(path: Path) -> int:
    return len(parquet.read_schema(path).names)


def _array(path: Path) -> int | None:
    shape = shape_of(path)
    return shape[1] if len(shape) == 2 else None


def _nothing(path: Path) -> None:
    return None
