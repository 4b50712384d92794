"""Columns of a table: rows of any data frame become points, and points become rows again.

Frames are read and made through narwhals, which knows pandas, polars, pyarrow and others.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wgflow._check import check_choice, shortened
from wgflow._random import Rng
from wgflow.data.column import Column
from wgflow.data.frames import numbers_rows, table_of
from wgflow.data.grids import uniform_noise
from wgflow.data.reading import LISTED, left_out, refused

BACKENDS = ("pandas", "polars", "pyarrow")
"""Libraries of the frames that are made; frames of others are read too."""

log = logging.getLogger(__name__)


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
        left_out: names of others that a table may have, and which are not looked at.
    """

    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls, frame: Any, source: str = "`frame`", names: Sequence[str] | None = None
    ) -> "Columns":
        """Those of a data frame, or some of them by name; the others are left out.

        Raises:
            ValueError: this is no frame, it has no rows, or columns are not to be learned.
        """
        table = table_of(frame, source)
        names = table.columns if names is None else names
        found, reasons = [], {}
        for name in names:
            try:
                found.append(Column.of(table[name]))
            except ValueError as error:
                reasons[name] = str(error)
        if reasons:
            raise refused(source, reasons)
        for name in names:
            if numbers_rows(table[name]):
                told = "Column %r of %s numbers its rows: %s out."
                log.warning(told, name, source, left_out([name]))
        return cls(tuple(found), tuple(name for name in table.columns if name not in names))

    @classmethod
    def numbers(cls, names: Sequence[str]) -> "Columns":
        """Columns of numbers that are points as they stand."""
        span = -math.inf, math.inf
        return cls(tuple(Column(name, "continuous", None, *span) for name in names))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Columns":
        """Those that `record` wrote."""
        pairs = ((column, tuple(column["categories"])) for column in record["columns"])
        found = tuple(Column(**{**column, "categories": known}) for column, known in pairs)
        return cls(found, tuple(map(str, record["left_out"])))

    def record(self) -> dict[str, Any]:
        """A plain record, as JSON may hold it."""
        return asdict(self)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in their order."""
        return tuple(column.name for column in self.columns)

    @property
    def known(self) -> tuple[str, ...]:
        """Names that a table may have."""
        return (*self.names, *self.left_out)

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
            "extra": [name for name in table.columns if name not in self.known],
        }
        if any(lists.values()):
            wrong = (f"{what} {', '.join(map(repr, n))}" for what, n in lists.items() if n)
            expected = shortened(", ".join(map(repr, self.names)), LISTED)
            got = shortened("; ".join(wrong), LISTED)
            raise ValueError(f"{source} must have the columns {expected}: {got}.")
        if tuple(name for name in table.columns if name in self.names) != self.names:
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
