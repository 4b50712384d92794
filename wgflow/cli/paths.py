"""The verb that leads from point to point: interpolate."""

from typing import Annotated

import typer

from wgflow.cli.output import Json, Learned, rows_table, say, say_json
from wgflow.cli.points import TEST, Input, Out, points_of, result_file, write_result

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow interpolate runs/mnist-0 --out paths.png`: for each pair of test images a row with
the straight path, a row with the relaxed one, and one along the flow of energies of levels
- `wgflow interpolate runs/points-0 --input ends.npy`: from the first point to the second, from
the third to the fourth ...
"""
)
def interpolate(
    folder: Learned,
    input_: Input = TEST,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Pairs.")] = 4,
    points: Annotated[int, typer.Option(min=3, help="Points of a path, with its ends.")] = 11,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the relaxation.")] = 300,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Lead from one point to another through low energy, and tell the barrier."""
    import torch

    from wgflow.runs import uses
    from wgflow.runs.load import load

    run = load(folder)
    file = result_file(out, folder, "paths", run)
    ends = points_of(run, input_, 2 * count)
    found = uses.interpolate(run, ends, points=points, steps=steps)
    rows = [
        {"pair": number} | {name: path.barrier for name, path in paths.items()}
        for number, paths in enumerate(found, 1)
    ]
    shown = torch.stack([torch.stack([p.x for p in paths.values()]) for paths in found])
    write_result(file, shown[:, -1], shown.flatten(0, 1))
    if as_json:
        say_json({"path": str(file), "barriers": rows})
        return
    typer.echo(f"Wrote {len(rows)} paths of {points} points to {file}. Barriers, in nats:")
    say(rows_table(rows))
