"""The verb that scores each row of a file: score."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.options import Json, Learned, Seed, seeded
from wgflow.cli.printing import note, say_either
from wgflow.cli.progress import waiting
from wgflow.storage.folder import ROW_SCORES

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog=f"""Examples:

- `wgflow score runs/table-0 rows.csv --out scores.csv`
- `wgflow score runs/table-0 rows.parquet --json`: to DIR/{ROW_SCORES}, and a summary

A line per row: `log_density` in nats, in the units of the file; its `error`, that of log Z, which
all rows share; and its `rank`, the share of the held-out rows of lower density, which is 0 for a
row that is stranger than all of them.
"""
)
def score(
    folder: Learned,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A table or array, all its rows."),
    ],
    out: Annotated[
        Path | None, typer.Option(help=f".csv or .parquet; default DIR/{ROW_SCORES}.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score each row of a file: its log-density, and its rank among held-out rows."""
    from wgflow.runs import rows
    from wgflow.runs.load import load

    usual = folder / ROW_SCORES if folder.is_dir() else Path(f"{folder}-{ROW_SCORES}")
    table = out or usual
    rows.check_table(table)
    run = load(folder)
    x = rows.read_rows(run, file, generator=seeded(seed))
    with waiting(f"Scoring {len(x)} rows"):
        found = rows.score_rows(run, x)
    rows.write_scores(table, found)
    strange, error = int((found.rank == 0).sum()), found.log_z.error
    lines = [f"Wrote the scores of {len(x)} rows to {table}."]
    mean = None if found.refuted else float(found.log_density.mean())
    if mean is None:
        note("No log-density, since its bounds contradict log Z. Ranks do not need it.")
    else:
        lines += [f"Mean log-density: {mean:.6g} nats; standard error of log Z: {error:.2g}."]
    lines += [f"{strange} rows have a lower density than all {found.held_out} held-out rows."]
    record = {"run": str(folder), "path": str(table), "rows": len(x), "held_out": found.held_out}
    record |= {"log_density": mean, "error": error, "below_all": strange}
    say_either(as_json, record, *lines)
