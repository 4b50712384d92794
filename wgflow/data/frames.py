"""Data frames of any library, through narwhals, and values of their columns."""

from typing import Any

import narwhals as nw
import numpy as np

from wgflow._check import shown

LONGEST = 500
"""Characters of the name of a column: more of them are a file that is no table."""


def table_of(frame: Any, source: str = "`frame`") -> nw.DataFrame[Any]:
    """A data frame of any library as one of narwhals, its names text.

    Raises ValueError for what is none or empty, or has two columns of one name, or a name of more
    than `LONGEST` characters.
    """
    try:
        table = nw.from_native(frame, eager_only=True)
    except nw.exceptions.DuplicateError as error:
        got = " ".join(str(error).split()).rpartition("got: ")[2].removeprefix("- ").rstrip(".")
        raise ValueError(f"{source} must have columns of different names: got {got}.") from None
    except TypeError:
        raise ValueError(
            f"{source} must be a data frame, of pandas, polars, pyarrow or another that narwhals "
            f"reads: got {type(frame).__name__}."
        ) from None
    if 0 in table.shape:
        raise ValueError(f"{source} must hold a table with rows: got {table.shape}.")
    names = {name: str(name) for name in table.columns}
    longest = max(names.values(), key=len)
    if len(longest) > LONGEST:
        got = shown(longest)
        raise ValueError(
            f"{source} must have names of at most {LONGEST} characters for its columns: got {got}."
        )
    return table.rename(names)


def is_text(series: nw.Series[Any]) -> bool:
    """Whether a column holds text or categories."""
    return isinstance(series.dtype, nw.String | nw.Categorical | nw.Enum)


def numbers_of(series: nw.Series[Any]) -> np.ndarray:
    """Values (n,), float64, rounded to it; NaN where they are missing."""
    if series.dtype.is_integer() and not series.null_count():
        return series.to_numpy().astype(np.float64)  # a cast refuses what it would round
    return np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)


def finite_values(known: nw.Series[Any]) -> np.ndarray:
    """The finite values, in a type that tells integers and single precision; at least one."""
    values = np.asarray(known.to_numpy())
    if values.dtype.kind not in "iuf":
        values = numbers_of(known)
    values = values[np.isfinite(values)]
    if not len(values):
        raise ValueError(
            f"Columns must have values: got none that is finite in {shown(known.name)}."
        )
    return values


def numbers_rows(series: nw.Series[Any]) -> bool:
    """Whether each value is one more than the last, as of an index of the rows."""
    if not series.dtype.is_integer() or series.null_count() or len(series) < 3:
        return False
    return bool((np.diff(np.asarray(series.to_numpy())) == 1).all())


def by_frequency(known: nw.Series[Any]) -> tuple[str, ...]:
    """Different texts, the most frequent first; ValueError where they hardly repeat."""
    labels, counts = np.unique(np.array(known.cast(nw.String).to_list(), str), return_counts=True)
    if not len(labels):
        raise ValueError(f"Columns must have values: got none in {shown(known.name)}.")
    if 2 * len(labels) >= len(known):
        raise ValueError(
            f"Text must repeat, as categories do: got {len(labels)} different ones in the "
            f"{len(known)} rows of {shown(known.name)}."
        )
    return tuple(labels[np.lexsort((labels, -counts))].tolist())
