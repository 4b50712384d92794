"""The verb that tells other data: ood."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.output import Json, Learned, rows_table, say, say_json
from wgflow.cli.points import check_shape
from wgflow.cli.progress import waiting

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow ood mnist fashion-mnist`: areas under the ROC curve, with intervals of 95 %
- `wgflow ood runs/mnist-0 fashion-mnist --background fashion-mnist`: the likelihood ratio too
- `wgflow ood runs/moons-0 rings points.csv --json`
"""
)
def ood(
    folder: Learned,
    others: Annotated[
        list[str], typer.Argument(metavar="OTHER...", help="Data sets: names, files, folders.")
    ],
    background: Annotated[
        Path | None,
        typer.Option(metavar="DIR|NAME", help="Run to take the likelihood ratio to."),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--number", min=2, help="At most this many points of each set.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Which of the held-out points are inside.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell other data from the run's own: how well each score does, on points held out."""
    from wgflow.runs import uses
    from wgflow.runs.load import load

    run = load(folder)
    behind = None if background is None else load(background).energy
    outside = {other: uses.other_data(run, other) for other in others}
    for other, x in outside.items():
        check_shape(x, run, other)
    with waiting("Scoring"):
        areas = uses.ood(run, outside, background=behind, count=count, seed=seed)
    points = min(count, (len(run.dataset.test) + 1) // 2)
    if as_json:
        table = {o: {name: a._asdict() for name, a in row.items()} for o, row in areas.items()}
        say_json({"run": str(folder), "points": points, "auroc": table})
        return
    cells = {o: {n: _interval(*a) for n, a in row.items()} for o, row in areas.items()}
    say(rows_table([{"outside": other} | row for other, row in cells.items()]))
    typer.echo(
        f"AUROC with intervals of 95 % (DeLong), {points} points inside: "
        "1 tells all apart, 0.5 none."
    )


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} ({low:.4f} to {high:.4f})"
