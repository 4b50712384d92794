"""Rows of a file, or points of any shape, and what a run says of each of them."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv, parquet
from torch import Tensor

from wgflow._check import check_choice
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.config import DTYPES
from wgflow.data.lazy import LazyPoints
from wgflow.data.sources import open_source
from wgflow.data.tables import ARRAYS, TABLES
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.quadrature import tabulate
from wgflow.runs.run import Run
from wgflow.runs.uses import check_points
from wgflow.storage.folder import write_bytes
from wgflow.tasks.ood import shares_below

CHUNK = 1000
"""Points that an energy sees at a time; bounds the memory."""

READ = (*ARRAYS, *TABLES)
"""Suffixes of files of rows."""

WRITTEN = (".csv", ".parquet")
"""Suffixes of files of scores."""


class RowScores(NamedTuple):
    """What a run says of rows.

    Attributes:
        log_density: ``log p(x)`` in nats, in the units of the rows, (n,), float64; NaN where the
            bounds of log Z refute it.
        rank: share of the held-out rows that have a lower density, equal ones counted half,
            (n,), float64; 0 is stranger than all of them. It needs no log Z.
        log_z: the normaliser: its error is that of every log-density, the same for all rows.
        held_out: rows held out, which ranks are relative to.
    """

    log_density: Tensor
    rank: Tensor
    log_z: LogZ
    held_out: int

    @property
    def refuted(self) -> bool:
        """Whether there is no log-density, see `LogZ`."""
        return math.isnan(self.log_z.value)


def score_rows(run: Run, x: Points) -> RowScores:
    """The log-density of each row, and its rank among the rows that the run held out.

    Of n held-out rows and one more of the same law all orders are equally likely, so that its
    rank is ``k/n`` or less with probability ``(k + 1)/(n + 1)``: a p-value, whatever the energy.
    With smoothing the held-out rows have its noise, and so must x.

    Args:
        run: the density.
        x: rows, (batch, *event), in the units of the data.

    Raises:
        ValueError: on rows of another shape, or a run without a normaliser; see `Run.normaliser`.
    """
    check_points(run, x, "`x`")
    inside = tabulate(run.energy, run.dataset.test, CHUNK)
    values = tabulate(run.energy, x, CHUNK)
    found = run.normaliser
    return RowScores(-values - found.value, shares_below(-values, -inside), found, len(inside))


def log_density(run: Run, x: Points) -> Values:
    """`Run.log_prob` of any number of points, `CHUNK` at a time: (batch,), float64."""
    return torch.cat([run.log_prob(part) for part in x.split(CHUNK)]).double()


def read_rows(run: Run, file: Path | str, *, generator: Rng = None) -> Points:
    """All rows of a file, in the units of the data, (n, *event); columns as the run has them.

    Args:
        run: whose columns, or shape of points, the file must have.
        file: of a suffix in `READ`.
        generator: source of the noise of pixels, as of the run's own images.

    Raises:
        ValueError: the file cannot be read as finite numbers, or its rows are of another shape.
    """
    path, dtype = Path(file), DTYPES[run.config.dtype]
    check_choice("file", path.suffix.lower(), READ)
    if len(run.event_shape) == 1:
        return run.read(path, generator=generator)
    numbers = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
    held = open_source(path, numbers, run.config.data.image_size)
    order = torch.arange(len(held.x))
    points = LazyPoints(held.x, order, dtype)
    check_points(run, points, str(file))
    return points.fresh(order, generator=generator)


def check_table(file: Path) -> None:
    """Raise ValueError unless `write_scores` knows the suffix of the file."""
    if file.suffix.lower() not in WRITTEN:
        raise ValueError(f"Scores are written to {', '.join(WRITTEN)}: got {str(file)!r}.")


def write_scores(file: Path, scores: RowScores) -> None:
    """A table with a line per row: ``log_density``, its ``error``, and its ``rank``.

    Numbers that are unknown are left empty. Raises ValueError on a suffix not in `WRITTEN`.
    """
    check_table(file)
    error = math.nan if scores.refuted else scores.log_z.error
    columns = {
        "log_density": scores.log_density.numpy(),
        "error": np.full(len(scores.rank), error),
        "rank": scores.rank.numpy(),
    }
    table = pa.table({name: pa.array(c, from_pandas=True) for name, c in columns.items()})
    stream = pa.BufferOutputStream()
    write = csv.write_csv if file.suffix.lower() == ".csv" else parquet.write_table
    write(table, stream)
    write_bytes(file, stream.getvalue().to_pybytes())
