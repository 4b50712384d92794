"""What `wgflow inpaint` does with columns of tables, which options do not say of other points."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wgflow.cli.options import TEST, seeded
from wgflow.cli.printing import rows_table, say, say_either, say_json
from wgflow.cli.progress import waiting

if TYPE_CHECKING:
    from torch import Tensor

    from wgflow.runs.run import Run


def is_table(source: str) -> bool:
    """Whether points are read from a table."""
    return Path(source).suffix.lower() in (".csv", ".parquet")


def check_one(given: list[str] | None, source: str) -> None:
    """Raise ValueError unless known values come from one place."""
    if given and source != TEST:
        raise ValueError(
            f"--given or --input must say what is known: got {', '.join(given)} and {source}."
        )


def parse_given(given: list[str], columns: tuple[str, ...]) -> dict[str | int, float]:
    """Values of columns by name, or by index where no column has that name.

    Raises:
        ValueError: a word is not COLUMN=VALUE with a number, or a column comes twice.
    """
    known: dict[str | int, float] = {}
    for word in given:
        name, _, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = None
        if not name or value is None:
            raise ValueError(f"--given must be COLUMN=VALUE with a number: got {word!r}.")
        key = int(name) if name.isdecimal() and name not in columns else name
        if key in known:
            raise ValueError(f"--given must have each column once: got {name!r} twice.")
        known[key] = value
    return known


def write_draws(
    run: "Run", given: list[str], count: int, file: Path, *, seed: int, as_json: bool
) -> None:
    """Draws of the other columns, as whole rows in a file; their means and deviations in words."""
    from wgflow.data.arrays import write_points

    p = run.conditional(parse_given(given, run.columns))
    with waiting("Drawing"):
        rest = p.sample(count, generator=seeded(seed))
    write_points(file, p.complete(rest), columns=run.columns)
    spread = rest.std(0, correction=0)
    found = {
        name: {"mean": float(mean), "std": float(std)}
        for name, mean, std in zip(p.columns, rest.mean(0), spread, strict=True)
    }
    if as_json:
        return say_json({"path": str(file), "known": p.known, "columns": found, "seed": seed})
    typer.echo(f"Wrote {count} draws of {', '.join(p.columns)} to {file}.")
    say(rows_table([{"column": name} | row for name, row in found.items()]))


def write_filled(
    run: "Run", x: "Tensor", draws: int, file: Path, *, seed: int, as_json: bool
) -> None:
    """Rows with their missing cells drawn, as often as asked, those of a row together."""
    from wgflow.data.arrays import write_points
    from wgflow.runs.filling import fill

    missing = x.isnan()
    with waiting("Filling"):
        rows = fill(run, x, draws=draws, generator=seeded(seed))
    write_points(file, rows.flatten(0, 1), columns=run.columns)
    gaps, cells = int(missing.any(1).sum()), int(missing.sum())
    record = {"path": str(file), "rows": len(x), "draws": draws, "cells": cells, "seed": seed}
    each = "" if draws == 1 else f", {draws} draws for each"
    line = f"Filled {cells} cells in {gaps} of {len(x)} rows{each}; wrote them to {file}."
    say_either(as_json, record, line)
