"""The verb that tells other data: ood."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.output import Json, Learned, rows_table, say, say_json
from wgflow.cli.points import check_shape
from wgflow.cli.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from wgflow.energies.base import Energy
    from wgflow.runs.run import Run

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
    from dataclasses import replace

    from wgflow.metrics.samples import halves
    from wgflow.runs.load import load
    from wgflow.tasks.ood import auroc
    from wgflow.training.learner import load_data

    run = load(folder)
    behind = None if background is None else load(background).energy
    reference, inside = (half[:count] for half in halves(run.dataset.test, seed=seed))
    outside, areas = {}, {}
    for other in others:
        data = replace(run.config.data, name=other, size=None)
        outside[other] = load_data(replace(run.config, data=data)).test[:count]
        check_shape(outside[other], run, other)
    with waiting("Scoring"):
        scores = scorer(run, reference, behind, seed)
        own = scores(inside)
        for other, x in outside.items():
            areas[other] = {name: auroc(own[name], found) for name, found in scores(x).items()}
    if as_json:
        table = {o: {name: a._asdict() for name, a in row.items()} for o, row in areas.items()}
        say_json({"run": str(folder), "points": len(inside), "auroc": table})
        return
    cells = {o: {n: _interval(*a) for n, a in row.items()} for o, row in areas.items()}
    say(rows_table([{"outside": other} | row for other, row in cells.items()]))
    typer.echo(
        f"AUROC with intervals of 95 % (DeLong), {len(inside)} points inside: "
        "1 tells all apart, 0.5 none."
    )


def scorer(
    run: "Run", reference: "Tensor", background: "Energy | None", seed: int
) -> "Callable[[Tensor], dict[str, Tensor]]":
    """All scores that the run's energy gives to points, by name."""
    import torch

    from wgflow.tasks.ood import outlier_scores, strangeness

    generator = torch.Generator().manual_seed(seed)
    usual = run.recovery(reference, generator=generator) if run.leads else None

    def scores(x: "Tensor") -> "dict[str, Tensor]":
        found = outlier_scores(run.energy, x, reference, background=background)
        if usual is not None:
            errors = run.recovery(x, generator=generator)
            found["recovery"] = strangeness(errors, usual)
        return found

    return scores


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} ({low:.4f} to {high:.4f})"
