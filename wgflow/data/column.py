"""One column of a table: what its values are, as numbers and back."""

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np

from wgflow._check import check_choice, shown
from wgflow.data.frames import by_frequency, finite_values, is_text, numbers_of
from wgflow.data.grids import on_grid, step_of

KINDS = ("continuous", "integer", "boolean", "categorical")
"""Kinds of columns."""

SEVERAL = 3
"""Values of which a column that does not vary is refused; of fewer, other things are wrong."""


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
        """What a column of a frame is; ValueError for one that has no values or one alone, or is
        neither numbers, booleans nor text, or whose text hardly repeats."""
        name, dtype = series.name, series.dtype
        known = series.drop_nulls()
        if dtype == nw.Boolean or is_text(series):
            categories = () if dtype == nw.Boolean else by_frequency(known)
            last = 1 if dtype == nw.Boolean else len(categories) - 1
            kind = "categorical" if categories else "boolean"
            varies = known.n_unique() > 1
            if not varies and len(known) >= SEVERAL:
                raise _constant(name, known[0])
            return cls(name, kind, 1.0 if varies else None, 0.0, float(last), categories)
        if not dtype.is_numeric():
            got = f"got {shown(name)} ({dtype}); make it a number, such as days"
            raise ValueError(f"Columns must be numbers, booleans or text: {got}.")
        values = finite_values(known)
        if values.min() == values.max() and len(values) >= SEVERAL:
            raise _constant(name, values[0].item())
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


def _constant(name: str, value: Any) -> ValueError:
    return ValueError(
        f"Columns must vary, to have a density: got {shown(value)} alone in {shown(name)}."
    )
