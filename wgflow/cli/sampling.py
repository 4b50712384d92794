"""The verb that draws points: sample."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.classes import Asked, Classes, Guidance, Pull, check_no_class, sample_classes
from wgflow.cli.output import LEARNED, Json, say_json, writer
from wgflow.storage.folder import SAMPLES

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""The suffix of FILE is its format:

- `wgflow sample runs/moons-0 -n 5000 --out points.npy`
- `wgflow sample runs/moons-0 -n 5000 --out points.csv`: one column per coordinate
- `wgflow sample runs/digits-0 -n 64 --out digits.png`: a grid of images
- `wgflow sample mnist -n 64`: the same of an energy that comes with WGFlow
- `wgflow sample runs/mnist-0 --time 2 --steps 200 --langevin 100`: a longer path from noise
- `wgflow sample --pretrained mnist -n 64 --contrast 0`: by the flow of the density alone
- `wgflow sample runs/moons-0 --times runs/rings-0`: from the product of two densities
- `wgflow sample runs/moons-0 --temperature 0.5`: from its square, sharper
- `wgflow sample runs/mnist-0 --class 3 -n 64 --out threes.png`: of one class, by Bayes' rule
- `wgflow sample --pretrained mnist --class all -n 10 --pull 1 --stochastic`: a row for each class
"""
)
def sample(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR|NAME]", help=LEARNED)] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="An energy that comes along, whatever folders there are."
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Points to draw.")] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(help=".npy, .csv, or .png for images; default DIR/samples.npy, NAME.png."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="noise or population; default noise where it can be.")
    ] = None,
    path_time: Annotated[
        float | None, typer.Option("--time", help="Of the path from noise; default 2.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of the path, default 80; down levels of noise, 10 or 40.")
    ] = None,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Down levels of noise with fresh noise at each.")
    ] = False,
    langevin: Annotated[
        int | None, typer.Option(help="Langevin steps after the path; default 0.")
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(
            min=0, help="Down levels of noise, away from the Gaussian of the data; default 0.15."
        ),
    ] = None,
    times: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Multiply by the density of this run; repeat."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="T of p^(1/T): below 1 sharper, above 1 flatter.")
    ] = 1.0,
    classes: Classes = None,
    guidance: Guidance = 1.0,
    pull: Pull = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw points from the learned density, in the units of the data."""
    import torch

    from wgflow.runs import zoo
    from wgflow.runs.compose import compose, counted
    from wgflow.runs.load import load

    if (folder is None) == (pretrained is None):
        raise ValueError(
            "Samples are of one density: expected DIR or --pretrained, got "
            f"{'neither' if folder is None else 'both'}."
        )
    if folder is None:
        folder, usual = zoo.pretrained(str(pretrained)), Path(f"{pretrained}.png")
    else:
        usual = folder / SAMPLES if folder.is_dir() else Path(f"{folder}.png")
    file = out or usual
    write = writer(file)
    run = load(folder)
    if times or temperature != 1:
        run = compose([run, *map(load, times or [])], temperature=temperature)
    run, counter = counted(run)
    options = {"time": path_time, "steps": steps, "langevin": langevin}
    options |= {"autoguidance": contrast}
    path = {name: value for name, value in options.items() if value is not None}
    path |= {"stochastic": True} if stochastic else {}
    if classes is not None:
        asked = Asked(classes, guidance, pull, count, seed, file, as_json)
        return sample_classes(run, counter, asked, start=start, **path)
    check_no_class(guidance, pull)
    generator = torch.Generator().manual_seed(seed)
    x = run.sample(count, start=start, generator=generator, **path)
    write(file, x.cpu().numpy())
    evaluations = counter.points / count
    if as_json:
        record = {"path": str(file), "shape": list(x.shape), "seed": seed}
        say_json(record | {"evaluations": evaluations})
    else:
        typer.echo(f"Wrote {count} points to {file}.")
        typer.echo(f"{evaluations:.4g} evaluations of the energy per point.")
