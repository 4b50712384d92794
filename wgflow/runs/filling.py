"""Missing cells of a table, drawn by a run given the other cells of their rows."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.data.incomplete import read_incomplete
from wgflow.runs.run import Run
from wgflow.runs.uses import check_points
from wgflow.tasks.conditional import ConditionalDensity

CHAINS = 250
"""Annealed for each row, at least."""


def read_rows(run: Run, file: Path | str, *, generator: Rng = None) -> Points:
    """Rows of a table by the names of the run's columns, (n, d), with NaN where a cell is empty.

    Raises:
        ValueError: as `wgflow.data.incomplete.read_incomplete`, or points are no vectors.
    """
    x = read_incomplete(Path(file), run.named, generator=generator)
    return torch.from_numpy(x).to(run.dtype)


def fill(
    run: Run, x: Points, *, draws: int = 1, chains: int = CHAINS, generator: Rng = None
) -> Tensor:
    """Rows with their missing cells drawn from ``p(missing | known)``, (n, draws, d).

    Draws of a row are those of `wgflow.Run.conditional`, of rows without any known cell those of
    `wgflow.Run.sample`, and complete rows stay as they are.

    Args:
        run: the density.
        x: rows in the units of the data, (n, d); NaN where a number is missing.
        draws: how many for each row.
        chains: annealed for each row, at least, where more than two of its cells are missing.
        generator: source of randomness.

    Raises:
        ValueError: on rows of another shape, or numbers out of their ranges.
    """
    check_positive(draws=draws, chains=chains)
    check_points(run, x, "`x`")
    usual = run.dataset.test.mean(0).to(x)
    rows = _filled(run, x, usual, draws=draws, chains=chains, generator=generator)
    return torch.stack(list(rows))


def _filled(
    run: Run, x: Points, usual: Tensor, *, draws: int, chains: int, generator: Rng
) -> Iterator[Tensor]:
    """The draws of each row, (draws, d)."""
    for row in x:
        missing = row.isnan()
        if missing.all():
            yield run.sample(draws, generator=generator).to(x)
        elif missing.any():
            given = ConditionalDensity(run, torch.where(missing, usual, row), missing, chains)
            yield given.complete(given.sample(draws, generator=generator))
        else:
            yield row.expand(draws, -1)
