"""The verbs about runs that are there: evaluate, publish, report, compare, list."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.output import Folder, Json, Learned, grid_table, rows_table, say, say_json
from wgflow.cli.progress import waiting
from wgflow.cli.tables import differences, read_config, read_scores, score_table, summary
from wgflow.storage.folder import is_run

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""- `wgflow evaluate runs/moons-0`
- `wgflow evaluate runs/mnist-0 --samples 1000 --features classifier`
- `wgflow evaluate runs/moons-0 --json | jq .kl`

A score `x` comes with `x_floor`, what two samples of the truth score against each other, or with
`x_error`, its standard error, where they exist.
"""
)
def evaluate(
    folder: Learned,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Points to draw; default by their cost.")
    ] = None,
    likelihood: Annotated[
        bool | None,
        typer.Option(help="Anneal for log Z; default unless the energy is convolutional."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Image scores: classifier, efficientnet, or Inception's weights."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Score a run: divergences, likelihood and distances of samples, beside their floors."""
    from wgflow.runs.evaluate import evaluate
    from wgflow.runs.load import load

    with waiting("Evaluating"):
        scores = evaluate(
            load(folder), samples=samples, likelihood=likelihood, features=features, seed=seed
        )
    if as_json:
        say_json({"run": str(folder)} | scores)
    else:
        say(score_table({folder.name: scores}))


@verbs.command(epilog="- `wgflow publish runs/mnist-0 published/mnist`")
def publish(
    folder: Folder, out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")]
) -> None:
    """Write a run without what only learning needs, small enough to share."""
    from wgflow.runs.load import load, publish as write_published

    write_published(load(folder), out)
    typer.echo(f"Published: {out}")


@verbs.command(epilog="- `wgflow report runs/moons-0`")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the report of a run again: one HTML file that needs nothing else."""
    from wgflow.report import write_report

    path = write_report(folder)
    if as_json:
        say_json({"path": str(path)})
    else:
        typer.echo(f"Report: {path}")


@verbs.command(
    epilog="""- `wgflow compare runs/*`
- `wgflow compare runs/first runs/second --out comparison.html`
- `wgflow compare runs/first runs/second --json`
"""
)
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.")],
    out: Annotated[Path | None, typer.Option(help="Write an HTML comparison here.")] = None,
    as_json: Json = False,
) -> None:
    """Put runs side by side: scores, settings that differ, and with --out their pictures."""
    if len(folders) < 2:
        raise ValueError(f"A comparison needs two runs or more: got {len(folders)}.")
    scores = {str(folder): read_scores(folder) for folder in folders}
    differing = differences({str(folder): read_config(folder) for folder in folders})
    if out:
        from wgflow.report import compare_report

        out = compare_report(folders, out)
    if as_json:
        report = {"report": str(out)} if out else {}
        say_json({"runs": scores, "differences": differing} | report)
        return
    say(score_table(scores))
    say(grid_table("setting", differing)) if differing else typer.echo(
        "The settings are the same."
    )
    if out:
        typer.echo(f"Report: {out}")


@verbs.command(
    name="list",
    epilog="""- `wgflow list`: the runs in runs/
- `wgflow list --data`: the data sets known by name
""",
)
def list_(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of runs.")] = Path(
        "runs"
    ),
    data: Annotated[bool, typer.Option("--data", help="The data sets known by name.")] = False,
    as_json: Json = False,
) -> None:
    """List the runs in a folder, or the data sets known by name."""
    if data:
        sets = known_data()
        missing = [name for name, there in sets.items() if not there]
        marks = {name: f"  (not fetched: wgflow data fetch {name})" for name in missing}
        lines = [name + marks.get(name, "") for name in sets]
        if as_json:
            say_json({"data": list(sets), "not_fetched": missing})
        else:
            typer.echo("\n".join(lines))
        return
    runs = [summary(path) for path in sorted(folder.glob("*")) if is_run(path)]
    if as_json:
        say_json({"runs": runs})
    elif runs:
        say(rows_table(runs))
    else:
        typer.echo(f"No runs in {folder}. Begin with: wgflow train eight-gaussians")


def known_data() -> dict[str, bool]:
    """Names of the data sets, and whether they are on this machine."""
    from wgflow.data.dataset import TOYS
    from wgflow.data.download import SETS, is_fetched

    return dict.fromkeys([*TOYS, "digits"], True) | {name: is_fetched(name) for name in SETS}
