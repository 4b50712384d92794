"""The verb that detects outliers: ood."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.options import Json, Learned
from wgflow.cli.printing import rows_table, say, say_json
from wgflow.cli.progress import waiting

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow ood mnist fashion-mnist`: areas under the ROC curve, with 95 % confidence intervals
- `wgflow ood runs/mnist-0 fashion-mnist --background fashion-mnist`: the likelihood ratio too
- `wgflow ood runs/moons-0 rings points.csv --json`

All rows of a file are compared, and the test points of other data sets.
"""
)
def ood(
    folder: Learned,
    others: Annotated[
        list[str], typer.Argument(metavar="OTHER...", help="Data sets: names, files, folders.")
    ],
    background: Annotated[
        Path | None,
        typer.Option(metavar="DIR|NAME", help="Run that the likelihood ratio is relative to."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            min=2,
            help="At most this many points of each set; default all, of images 1000.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the order of the test points, and of noise.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Out-of-distribution detection: how well scores separate other data from held-out points."""
    from wgflow.runs import outliers
    from wgflow.runs.load import load

    run, behind = load(folder), None if background is None else load(background).energy
    outside = {other: outliers.other_points(run, other) for other in others}
    most = outliers.most_points(run) if count is None else count
    with waiting("Scoring"):
        areas = outliers.ood(run, outside, background=behind, count=most, seed=seed)
    points, numbers = len(run.dataset.test[:most]), {o: len(x[:most]) for o, x in outside.items()}
    if as_json:
        table = {o: {name: a._asdict() for name, a in row.items()} for o, row in areas.items()}
        record = {"run": str(folder), "points": points, "other_points": numbers}
        return say_json(record | {"auroc": table})
    cells = [
        {"other": other, "points": numbers[other]}
        | {n: "{:.4f} ({:.4f} to {:.4f})".format(*a) for n, a in row.items()}
        for other, row in areas.items()
    ]
    say(rows_table(cells))
    typer.echo(
        f"AUROC of {points} held-out points against other data, with 95 % confidence intervals "
        "(DeLong): 1 separates all, 0.5 is chance."
    )
