"""What a file holds, as far as its header says."""

import contextlib
import csv
import itertools
from pathlib import Path

from pyarrow import parquet

from wgflow.data.foreign import shape_of
from wgflow.data.table_files import TEXT


def width(source: str | Path) -> int | None:
    """The number of columns of a table, or of coordinates of vectors; None for anything else."""
    path = Path(source)
    if not path.is_file():
        return None
    with contextlib.suppress(Exception):  # whatever is wrong, reading it says so
        return READERS.get(path.suffix.lower(), _nothing)(path)
    return None


def rows(source: str | Path, most: int) -> int:
    """The number of rows of a table, or of vectors, or ``most`` where there are more.

    Lines of a CSV file are counted, its header too; 0 for anything else.
    """
    path = Path(source)
    kind = path.suffix.lower()
    with contextlib.suppress(Exception):  # as above
        if kind in TEXT:
            with path.open("rb") as lines:
                return sum(1 for _ in itertools.islice(lines, most))
        if kind == ".parquet":
            return min(most, parquet.read_metadata(path).num_rows)
        if kind in (".npy", ".npz"):
            return min(most, shape_of(path)[0])
    return 0


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


READERS = dict.fromkeys(TEXT, _csv) | {".parquet": _parquet, ".npy": _array, ".npz": _array}
