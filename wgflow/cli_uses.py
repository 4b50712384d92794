"""The verbs that use a trained energy: inpaint, denoise, interpolate, tell outliers."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.output import (
    Folder,
    Json,
    read_array,
    rows_table,
    say,
    say_json,
    write_array,
    write_images,
    write_table,
    writer,
)

if TYPE_CHECKING:
    from torch import Tensor

    from wgflow.run import Run

TEST = "test"

Input = Annotated[
    str, typer.Option("--input", metavar="FILE", help="An .npy file of points, or test points.")
]
Out = Annotated[Path | None, typer.Option(help=".npy, .csv, or .png for images; default in DIR.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Chains = Annotated[
    str, typer.Option("--sampler", help="mala, exact; or ula, faster and biased by its step.")
]

uses = typer.Typer(rich_markup_mode="markdown")


@uses.command(
    epilog="""Examples:

- `wgflow inpaint runs/mnist-0 --mask right --out half.png`: each row an image,
what is known of it, and draws of the rest
- `wgflow inpaint runs/points-0 --input points.npy --mask hidden.npy`: an array of True where
hidden
"""
)
def inpaint(
    folder: Folder,
    input_: Input = TEST,
    mask: Annotated[
        str, typer.Option(help="What is hidden: left, right, top, bottom, center, or FILE.npy.")
    ] = "right",
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Points to fill in.")] = 8,
    draws: Annotated[int, typer.Option(min=1, help="Draws for each.")] = 6,
    start: Annotated[
        str | None,
        typer.Option(help="path, from noise as learned; or noise, cooled. Default path if any."),
    ] = None,
    approach: Annotated[int, typer.Option(min=1, help="Steps of the path or cooling.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the sampler after them.")] = 100,
    sampler: Chains = "mala",
    mode: Annotated[
        bool, typer.Option("--mode", help="Descend from each draw to a mode of the rest.")
    ] = False,
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw what is hidden of points, given the rest of them."""
    import torch

    from wgflow import inpainting
    from wgflow.chains import beginning, from_units, precision, sampler_of, to_units
    from wgflow.run import load

    run = load(folder)
    file = _file(out, folder, "inpainted", run)
    x = _points(run, input_, count)
    hidden = _mask(mask, run)
    generator = torch.Generator().manual_seed(seed)
    u, energy = to_units(run, x), run.energy.energy
    with precision(run, sampler):
        options = beginning(run, start, approach, u.repeat_interleave(draws, 0), hidden, generator)
        drawn = inpainting.inpaint(
            energy,
            u,
            hidden,
            sampler_of(run, sampler),
            steps,
            draws=draws,
            generator=generator,
            **options,
        )
        if mode:
            flat = inpainting.complete(energy, drawn.flatten(0, 1), hidden, steps)
            drawn = flat.reshape(drawn.shape)
    known = torch.where(hidden, torch.zeros_like(u), u)
    shown = torch.cat([u[:, None], known[:, None], drawn], 1)
    _write(file, from_units(run, drawn), from_units(run, shown))
    if as_json:
        say_json({"path": str(file), "shape": list(drawn.shape), "seed": seed})
    else:
        typer.echo(f"Wrote {draws} draws for each of {len(x)} points to {file}.")


@uses.command(
    epilog="""Examples:

- `wgflow denoise runs/mnist-0 --noise 0.3 --out clean.png`: adds the noise to test images and
removes it; each row the image, the noisy one, the most probable one, the mean and, where the run
learned paths from noise, the end of the path
- `wgflow denoise runs/mnist-0 --noise 0.3 --input noisy.npy`: points that have the noise already
"""
)
def denoise(
    folder: Folder,
    noise: Annotated[float, typer.Option(help="Its deviation, in the units of the data.")],
    input_: Input = TEST,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Points to denoise.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps that the mean is over.")] = 200,
    burn_in: Annotated[int, typer.Option(min=0, help="Steps before those.")] = 100,
    draws: Annotated[int, typer.Option(min=1, help="Chains for each.")] = 1,
    temperature: Annotated[
        float, typer.Option(help="T of the prior exp(-E/T); above 1 trusts it less.")
    ] = 1.0,
    sampler: Chains = "mala",
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find what is under Gaussian noise: the most probable points, and their mean."""
    import torch

    from wgflow import denoising
    from wgflow.chains import flown, from_units, precision, sampler_of, to_units
    from wgflow.energy import Tempered
    from wgflow.run import load
    from wgflow.samplers.base import check_positive

    check_positive("Denoising", noise=noise)
    run = load(folder)
    file = _file(out, folder, "denoised", run)
    generator = torch.Generator().manual_seed(seed)
    x = _points(run, input_, count)
    clean = {"clean": x} if input_ == TEST else {}
    y = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype) if clean else x
    u, sigma = to_units(run, y), (noise / run.energy.scale).to(x)
    with precision(run, sampler):
        found = denoising.denoise(
            Tempered(run.energy.energy, temperature),
            u,
            sigma,
            sampler_of(run, sampler),
            steps,
            burn_in=burn_in,
            draws=draws,
            generator=generator,
        )
    results = {"mode": found.mode, "mean": found.mean} | flown(run, u, sigma)
    columns = clean | {"noisy": y} | {n: from_units(run, v) for n, v in results.items()}
    _write(file, columns["mean"], torch.stack(list(columns.values()), 1))
    errors = {name: _rms(z - x) for name, z in columns.items() if clean and name != "clean"}
    if as_json:
        say_json({"path": str(file), "seed": seed, "columns": list(columns), "rms": errors})
        return
    typer.echo(f"Wrote {len(x)} points to {file}; columns: {', '.join(columns)}.")
    if errors:
        say(rows_table([{"": "root mean squared error"} | errors]))


@uses.command(
    epilog="""Examples:

- `wgflow interpolate runs/mnist-0 --out paths.png`: for each pair of test images a row with
the straight path and a row with the relaxed one
- `wgflow interpolate runs/points-0 --input ends.npy`: from the first point to the second, from
the third to the fourth ...
"""
)
def interpolate(
    folder: Folder,
    input_: Input = TEST,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Pairs.")] = 4,
    points: Annotated[int, typer.Option(min=3, help="Points of a path, with its ends.")] = 11,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the relaxation.")] = 300,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Lead from one point to another through low energy, and tell the barrier."""
    import torch

    from wgflow import interpolation
    from wgflow.chains import from_units, langevin_step, to_units
    from wgflow.run import load

    run = load(folder)
    file = _file(out, folder, "paths", run)
    u, energy = to_units(run, _points(run, input_, 2 * count)), run.energy.energy
    rows, found = [], []
    for number, (a, b) in enumerate(zip(u[0::2], u[1::2], strict=False), 1):
        line = interpolation.straight(energy, a, b, points)
        path = interpolation.interpolate(
            energy, a, b, steps, points=points, step=langevin_step(run)
        )
        found.append(torch.stack([line.x, path.x]))
        rows.append({"pair": number, "straight": line.barrier, "relaxed": path.barrier})
    if not found:
        raise ValueError(f"A path has two ends: expected two points or more, got {len(u)}.")
    both = from_units(run, torch.cat(found))
    _write(file, both[1::2], both)
    if as_json:
        say_json({"path": str(file), "barriers": rows})
        return
    typer.echo(f"Wrote {len(rows)} paths of {points} points to {file}. Barriers, in nats:")
    say(rows_table(rows))


@uses.command(
    epilog="""Examples:

- `wgflow ood runs/mnist-0 fashion-mnist`: areas under the ROC curve, with intervals of 95 %
- `wgflow ood runs/mnist-0 fashion-mnist --background runs/fashion-0`: the likelihood ratio too
- `wgflow ood runs/moons-0 rings points.csv --json`
"""
)
def ood(
    folder: Folder,
    others: Annotated[
        list[str], typer.Argument(metavar="OTHER...", help="Data sets: names, files, folders.")
    ],
    background: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A run to take the likelihood ratio to.")
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--number", min=2, help="At most this many points of each set.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Which of the held-out points are inside.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell other data from the run's own: how well each score does, on points held out."""
    from dataclasses import replace

    from wgflow.learning import load_data
    from wgflow.metrics import halves
    from wgflow.outliers import auroc, outlier_scores
    from wgflow.run import load

    run = load(folder)
    behind = None if background is None else load(background).energy
    reference, inside = (half[:count] for half in halves(run.dataset.test, seed=seed))

    def scores(x: "Tensor") -> "dict[str, Tensor]":
        return outlier_scores(run.energy, x, reference, background=behind)

    own, areas = scores(inside), {}
    for other in others:
        data = replace(run.config.data, name=other, size=None)
        x = load_data(replace(run.config, data=data)).test[:count]
        _check_shape(x, run, other)
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


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _file(out: Path | None, folder: Path, name: str, run: "Run") -> Path:
    """Where the result goes; refused before the work, if its suffix is not known."""
    file = out or folder / f"{name}{'.png' if _images(run) else '.npy'}"
    writer(file)
    return file


def _images(run: "Run") -> bool:
    return len(run.event_shape) == 3 and run.event_shape[0] in (1, 3)


def _write(file: Path, x: "Tensor", shown: "Tensor") -> None:
    """Points x as an array or a table; a picture has the rows and columns of ``shown``."""
    if file.suffix == ".png":
        columns = shown.shape[1]
        write_images(file, shown.flatten(0, 1).cpu().numpy(), columns)
    elif file.suffix == ".csv":
        write_table(file, x.cpu().numpy())
    else:
        write_array(file, x.cpu().numpy())


def _points(run: "Run", source: str, count: int) -> "Tensor":
    """Points to work on, in the units of the data: the first test points, or those of a file."""
    import torch

    from wgflow.config import DTYPES

    if source == TEST:
        return run.dataset.test[:count]
    x = torch.from_numpy(read_array(Path(source)))[:count].to(DTYPES[run.config.dtype])
    _check_shape(x, run, source)
    return x


def _check_shape(x: "Tensor", run: "Run", source: str) -> None:
    if tuple(x.shape[1:]) != run.event_shape or not len(x):
        raise ValueError(
            f"Points have the shape that the run learned: expected {run.event_shape} each, "
            f"got an array of shape {tuple(x.shape)} from {source}."
        )


def _mask(name: str, run: "Run") -> "Tensor":
    """True where a coordinate is hidden, (*event,): of a side, or from a file."""
    import torch

    from wgflow.chains import side

    if name.endswith(".npy"):
        return torch.from_numpy(read_array(Path(name)) != 0)
    return side(name, run.event_shape)


def _rms(x: "Tensor") -> float:
    return math.sqrt(float(x.square().mean()))
