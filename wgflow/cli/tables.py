"""What `wgflow inpaint` does with columns of tables, which options do not say of other points."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wgflow.cli.options import TEST, seeded
from wgflow.cli.printing import rows_table, say, say_either, say_json
from wgflow.cli.progress import waiting

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from wgflow.runs.run import Run


def is_table(source: str) -> bool:
    """Whether points are read from a table."""
    from wgflow.data.table_files import TABLES

    return Path(source).suffix.lower() in TABLES


def check_one(given: list[str] | None, source: str) -> None:
    """Raise ValueError unless known values come from one place."""
    if given and source != TEST:
        raise ValueError(
            f"--given or --input must say what is known: got {', '.join(given)} and {source}."
        )


def parse_given(given: list[str], columns: tuple[str, ...]) -> dict[str | int, float | str]:
    """Values of columns by name, or by index where no column has that name.

    Raises:
        ValueError: a word is not COLUMN=VALUE, or a column comes twice.
    """
    known: dict[str | int, float | str] = {}
    for word in given:
        name, _, value = word.rpartition("=")
        if not name or not value:
            raise ValueError(f"--given must be COLUMN=VALUE: got {word!r}.")
        key = int(name) if name.isdecimal() and name not in columns else name
        if key in known:
            raise ValueError(f"--given must have each column once: got {name!r} twice.")
        try:
            known[key] = float(value)
        except ValueError:
            known[key] = value  # a category, or refused where the column is known
    return known


def write_draws(
    run: "Run", given: list[str], count: int, file: Path, *, seed: int, as_json: bool
) -> None:
    """Draws of the other columns, as whole rows in a file; what they are like in words."""
    from wgflow.data.arrays import write_points

    known = parse_given(given, run.columns)
    p = run.conditional(known)
    with waiting("Drawing"):
        rows = p.complete(p.sample(count, generator=seeded(seed)))
    write_points(file, rows, columns=run.named)
    values = run.named.decode(rows)
    found = {name: summary(values[name]) for name in p.columns}
    if as_json:
        record = {"path": str(file), "known": {str(k): v for k, v in known.items()}}
        return say_json(record | {"columns": found, "seed": seed})
    typer.echo(f"Wrote {count} draws of {', '.join(p.columns)} to {file}.")
    say(rows_table([{"column": name, "draws": in_words(row)} for name, row in found.items()]))


def summary(values: "np.ndarray") -> dict[str, float]:
    """Mean and standard deviation of numbers; of categories the share of each."""
    import numpy as np

    if values.dtype.kind != "U":
        return {"mean": float(values.mean()), "std": float(values.std())}
    labels, counts = np.unique(values, return_counts=True)
    return dict(zip(labels.tolist(), (counts / len(values)).tolist(), strict=True))


def in_words(row: dict[str, float]) -> str:
    """A summary as one cell of a table."""
    if set(row) == {"mean", "std"}:
        return f"{row['mean']:.4g} ± {row['std']:.2g}"
    return ", ".join(f"{name} {share:.0%}" for name, share in row.items())


def write_filled(
    run: "Run", x: "Tensor", draws: int, file: Path, *, seed: int, as_json: bool
) -> None:
    """Rows with their missing cells drawn, as often as asked, those of a row together."""
    from wgflow.data.arrays import write_points
    from wgflow.runs.filling import fill

    missing = x.isnan()
    with waiting("Filling"):
        rows = fill(run, x, draws=draws, generator=seeded(seed))
    write_points(file, rows.flatten(0, 1), columns=run.named)
    gaps, cells = int(missing.any(1).sum()), int(missing.sum())
    record = {"path": str(file), "rows": len(x), "draws": draws, "cells": cells, "seed": seed}
    each = "" if draws == 1 else f", {draws} draws for each"
    line = f"Filled {cells} cells in {gaps} of {len(x)} rows{each}; wrote them to {file}."
    say_either(as_json, record, line)
