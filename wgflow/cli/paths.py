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

    from wgflow.flows import heat_uses
    from wgflow.likelihood.quadrature import tabulate
    from wgflow.runs.chains import from_units, langevin_step, to_units
    from wgflow.runs.load import load
    from wgflow.tasks import interpolate as interpolation

    run = load(folder)
    file = result_file(out, folder, "paths", run)
    u, energy = to_units(run, points_of(run, input_, 2 * count)), run.energy.energy
    rows, found = [], []
    for number, (a, b) in enumerate(zip(u[0::2], u[1::2], strict=False), 1):
        options = {"points": points, "step": langevin_step(run)}
        paths = {
            "straight": interpolation.straight(energy, a, b, points),
            "relaxed": interpolation.interpolate(energy, a, b, steps, **options),
        }
        if run.levels is not None:
            x = heat_uses.between(energy, run.levels, a, b, points)
            paths["flow"] = interpolation.Path(x, tabulate(energy, x))
        found.append(torch.stack([path.x for path in paths.values()]))
        rows.append({"pair": number} | {name: path.barrier for name, path in paths.items()})
    if not found:
        raise ValueError(f"A path has two ends: expected two points or more, got {len(u)}.")
    shown = from_units(run, torch.stack(found))
    write_result(file, shown[:, -1], shown.flatten(0, 1))
    if as_json:
        say_json({"path": str(file), "barriers": rows})
        return
    typer.echo(f"Wrote {len(rows)} paths of {points} points to {file}. Barriers, in nats:")
    say(rows_table(rows))
