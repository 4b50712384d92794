"""The verb about paths between points: interpolate."""

from typing import Annotated

import typer

from wgflow.cli.options import (
    TEST,
    Input,
    Json,
    Learned,
    Out,
    points_of,
    result_file,
    write_result,
)
from wgflow.cli.printing import rows_table, say, say_json

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow interpolate runs/mnist-0 --out paths.png`: for each pair of test images a row with
the straight path, one with the relaxed path and, with a heat flow, one through its latent space
- `wgflow interpolate runs/points-0 --input ends.npy`: from the first point to the second, from
the third to the fourth ...

The barrier of a path is how far its energy rises above that of its higher end.
"""
)
def interpolate(
    folder: Learned,
    input_: Input = TEST,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Pairs.")] = 4,
    points: Annotated[int, typer.Option(min=3, help="Points of a path, with its ends.")] = 11,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the string method.")] = 300,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find paths of low energy between points, and their energy barriers."""
    import torch

    from wgflow.runs import uses
    from wgflow.runs.load import load

    run = load(folder)
    file, ends = result_file(out, folder, "paths", run), points_of(run, input_, 2 * count)
    found = uses.interpolate(run, ends, points=points, steps=steps)
    shown = torch.stack([torch.stack([p.x for p in paths.values()]) for paths in found])
    write_result(file, shown[:, -1], shown.flatten(0, 1))
    barriers = [{name: path.barrier for name, path in paths.items()} for paths in found]
    rows = [{"pair": number} | row for number, row in enumerate(barriers, 1)]
    if as_json:
        return say_json({"path": str(file), "barriers": rows})
    typer.echo(f"Wrote {len(rows)} paths of {points} points to {file}. Barriers, in nats:")
    say(rows_table(rows))
