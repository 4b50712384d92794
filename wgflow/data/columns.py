"""Columns of a table: rows of any data frame become points, and points become rows again.

Frames are read and made through narwhals, which knows pandas, polars, pyarrow and others.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wgflow._check import check_choice, shortened, shown
from wgflow._random import Rng
from wgflow.data.frames import by_frequency, finite_values, is_text, numbers_of, table_of
from wgflow.data.grids import on_grid, step_of, uniform_noise

BACKENDS = ("pandas", "polars", "pyarrow")
"""Libraries of the frames that are made; frames of others are read too."""

KINDS = ("continuous", "integer", "boolean", "categorical")
"""Kinds of columns."""

LISTED = 300
"""Characters that a message spends on a list of names."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Args:
        name: its name.
        kind: one of `KINDS`.
        resolution: step r of the grid of its values, see `wgflow.data.grids.step_of`; 1 for
            booleans and categories; None where values are points as they stand.
        low, high: least and greatest value seen; of categories, of their codes.
        categories: those of a categorical column by falling frequency, so that codes
            0, 1, ... are their places here.

    Raises:
        ValueError: the kind is unknown.
    """

    name: str
    kind: str
    resolution: float | None
    low: float
    high: float
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)

    @classmethod
    def of(cls, series: nw.Series[Any]) -> "Column":
        """What a column of a frame is; ValueError for one that has no values, or is neither
        numbers, booleans nor text, or whose text hardly repeats."""
        name, dtype = series.name, series.dtype
        known = series.drop_nulls()
        if dtype == nw.Boolean or is_text(series):
            categories = () if dtype == nw.Boolean else by_frequency(known)
            last = 1 if dtype == nw.Boolean else len(categories) - 1
            kind = "categorical" if categories else "boolean"
            varies = known.n_unique() > 1
            return cls(name, kind, 1.0 if varies else None, 0.0, float(last), categories)
        if not dtype.is_numeric():
            hint = "make it a number, such as days, or leave it out"
            got = f"got {shown(name)} ({dtype}); {hint}"
            raise ValueError(f"Columns must be numbers, booleans or text: {got}.")
        values = finite_values(known)
        kind = "integer" if dtype.is_integer() else "continuous"
        return cls(name, kind, step_of(values), float(values.min()), float(values.max()))

    def codes(self, series: nw.Series[Any], source: str) -> np.ndarray:
        """Values as numbers (n,), float64; NaN where they are missing.

        Raises ValueError, which names the source, for text in place of numbers, or the other way
        round, and for unknown categories.
        """
        if is_text(series) != (self.kind == "categorical") or not (
            series.dtype.is_numeric() or series.dtype == nw.Boolean or is_text(series)
        ):
            expected = "text" if self.kind == "categorical" else "numbers"
            got = f"got {series.dtype}"
            raise ValueError(f"{source} must hold {expected} in column {shown(self.name)}: {got}.")
        if self.kind == "categorical":
            return self._places(series, source)
        values = numbers_of(series)
        if self.kind == "boolean" and not np.isin(values[~np.isnan(values)], (0, 1)).all():
            raise ValueError(
                f"{source} must hold booleans in column {shown(self.name)}: got others."
            )
        return values

    def values(self, x: np.ndarray) -> np.ndarray:
        """Points (n,) as values: on the grid, within what was seen, of the type of the column."""
        if self.resolution is not None:
            x = on_grid(x, self.low, self.high, self.resolution)
        match self.kind:
            case "integer":
                return np.rint(x).astype(np.int64)
            case "boolean":
                return x != 0
            case "categorical":
                return np.array(self.categories)[np.rint(x).astype(np.int64)]
        return x

    def _places(self, series: nw.Series[Any], source: str) -> np.ndarray:
        places = {label: float(i) for i, label in enumerate(self.categories)}
        missing = series.is_null().to_numpy()
        labels = series.cast(nw.String).to_list()
        unknown = {x for x, gone in zip(labels, missing, strict=True) if not gone} - set(places)
        if unknown:
            got = ", ".join(map(shown, sorted(unknown)[:5]))
            raise ValueError(
                f"{source} must hold known categories in column {shown(self.name)}: got {got}."
            )
        return np.array([places.get(label, np.nan) for label in labels], np.float64)


@dataclass(frozen=True)
class Columns:
    """The columns of a table, in the order of the coordinates of points.

    Integers, booleans, categories and numbers that repeat on a grid are dequantised: a value x of
    resolution r becomes ``x + r u`` with ``u ~ U(0, 1)``, so that a density exists. The density
    that is learned is of that, in the units of x, and its mean over a cell is the probability of
    the value over r, so by Jensen ``-log P(x) ≤ E_u[-log p(x + r u)] - log r``. Other numbers stay
    as they are, bit for bit.
    Theis, van den Oord and Bethge, "A note on the evaluation of generative models", ICLR 2016.

    Args:
        columns: one per coordinate.
    """

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, frame: Any, source: str = "`frame`") -> "Columns":
        """Those of a data frame.

        Raises:
            ValueError: this is no frame, it has no rows, or a column is not to be learned.
        """
        table = table_of(frame, source)
        return cls(tuple(Column.of(table[name]) for name in table.columns))

    @classmethod
    def numbers(cls, names: Sequence[str]) -> "Columns":
        """Columns of numbers that are points as they stand."""
        span = -math.inf, math.inf
        return cls(tuple(Column(name, "continuous", None, *span) for name in names))

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]]) -> "Columns":
        """Those that `records` wrote."""
        pairs = ((record, tuple(record["categories"])) for record in records)
        return cls(tuple(Column(**{**record, "categories": known}) for record, known in pairs))

    def records(self) -> list[dict[str, Any]]:
        """A plain record per column, as JSON may hold it."""
        return [asdict(column) for column in self.columns]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in their order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def widths(self) -> np.ndarray:
        """Resolutions, (d,); 0 for a column without one."""
        return np.array([column.resolution or 0.0 for column in self.columns])

    def only(self, names: Sequence[str]) -> "Columns":
        """Some of these columns, in the order of their names; ValueError for an unknown one."""
        known = dict(zip(self.names, self.columns, strict=True))
        for name in names:
            check_choice("names", name, known)
        return Columns(tuple(known[name] for name in names))

    def middle(self, values: Mapping[str, Any]) -> dict[str, float]:
        """The coordinate of each value, by the name of its column: in the middle of its cell.

        Raises:
            ValueError: a column is unknown, or has other values.
        """
        chosen = self.only(list(values))
        row = table_of(nw.from_dict({n: [v] for n, v in values.items()}, backend="pyarrow"))
        return {
            column.name: float(column.codes(row[column.name], "`values`")[0] + width / 2)
            for column, width in zip(chosen.columns, chosen.widths, strict=True)
        }

    def match(self, frame: Any, source: str = "`frame`") -> nw.DataFrame[Any]:
        """The columns of a frame by their names, in this order; another order is logged.

        Raises:
            ValueError: columns are missing or there are others, which the message names.
        """
        table = table_of(frame, source)
        lists = {
            "missing": [name for name in self.names if name not in table.columns],
            "extra": [name for name in table.columns if name not in self.names],
        }
        if any(lists.values()):
            wrong = (f"{what} {', '.join(map(repr, n))}" for what, n in lists.items() if n)
            expected = shortened(", ".join(map(repr, self.names)), LISTED)
            got = shortened("; ".join(wrong), LISTED)
            raise ValueError(f"{source} must have the columns {expected}: {got}.")
        if tuple(table.columns) != self.names:
            log.warning("The columns of %s are in another order: matched by name.", source)
        return table.select(*self.names)

    def encode(
        self, frame: Any, source: str = "`frame`", *, generator: Rng = None
    ) -> npt.NDArray[np.float64]:
        """Points (n, d) of the rows of a frame, with noise; NaN where a value is missing.

        Args:
            frame: with these columns, in any order.
            source: what messages call it.
            generator: of the noise, of which that of a row does not depend on later rows.

        Raises:
            ValueError: as `match`, or a column has other values than its kind.
        """
        table = self.match(frame, source)
        x = np.empty((len(table), len(self.columns)))  # once, as tables may be large
        for j, column in enumerate(self.columns):
            x[:, j] = column.codes(table[column.name], source)
        return self._add_noise(x, generator)

    def dequantise(
        self, x: npt.NDArray[np.float64], *, generator: Rng = None
    ) -> npt.NDArray[np.float64]:
        """``x + r u`` of values (n, d) in the columns that have a resolution r."""
        return self._add_noise(x.copy(), generator)

    def _add_noise(self, x: npt.NDArray[np.float64], generator: Rng) -> npt.NDArray[np.float64]:
        places = np.flatnonzero(self.widths)
        if len(places):
            noise = uniform_noise(len(x), len(places), generator=generator)
            x[:, places] += self.widths[places] * noise
        return x

    def renew(self, x: Tensor, generator: Rng = None) -> Tensor:
        """Points (n, d) with the noise of `dequantise` drawn anew: each stays in its cell."""
        places = torch.from_numpy(np.flatnonzero(self.widths))
        width = torch.from_numpy(self.widths).to(x)[places]
        low = torch.tensor([column.low for column in self.columns], dtype=torch.float64)
        low = low.to(x)[places]
        noise = uniform_noise(len(x), len(places), generator=generator)
        cells = ((x[:, places] - low) / width).floor() + torch.from_numpy(noise).to(x)
        return x.index_copy(1, places, low + width * cells)

    def decode(self, points: npt.ArrayLike) -> dict[str, np.ndarray]:
        """Values (n,) by name of points (n, d): numbers, integers, booleans and text.

        Raises:
            ValueError: the points have another shape.
        """
        x = np.asarray(points)
        if x.ndim != 2 or x.shape[1] != len(self.columns):
            raise ValueError(f"`points` must have shape (n, {len(self.columns)}): got {x.shape}.")
        return {column.name: column.values(x[:, j]) for j, column in enumerate(self.columns)}

    def frame(self, points: npt.ArrayLike, backend: str = "pandas") -> Any:
        """`decode` as a data frame of a library.

        Raises:
            ValueError: as `decode`, or the library is unknown.
            ImportError: the library is not installed.
        """
        check_choice("backend", backend, BACKENDS)
        library: Any = backend
        values = {name: column.tolist() for name, column in self.decode(points).items()}
        return nw.from_dict(values, backend=library).to_native()
