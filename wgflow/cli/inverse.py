"""The verbs for points seen in part or under noise: inpaint, denoise."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow._check import check_positive
from wgflow.cli.output import Json, Learned, rows_table, say, say_json
from wgflow.cli.points import (
    TEST,
    Chains,
    Input,
    Out,
    Seed,
    mask_of,
    points_of,
    result_file,
    write_result,
)

if TYPE_CHECKING:
    from torch import Tensor

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow inpaint mnist --mask right --out half.png`: each row an image,
what is known of it, and draws of the rest
- `wgflow inpaint runs/points-0 --input points.npy --mask hidden.npy`: an array of True where
hidden
"""
)
def inpaint(
    folder: Learned,
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

    from wgflow.runs import uses
    from wgflow.runs.load import load

    run = load(folder)
    file = result_file(out, folder, "inpainted", run)
    x, hidden = points_of(run, input_, count), mask_of(mask, run)
    drawn = uses.inpaint(
        run,
        x,
        hidden,
        draws=draws,
        start=start,
        approach=approach,
        steps=steps,
        sampler=sampler,
        mode=mode,
        generator=torch.Generator().manual_seed(seed),
    )
    known = torch.where(hidden, run.energy.shift.to(x), x)
    write_result(file, drawn, torch.cat([x[:, None], known[:, None], drawn], 1))
    if as_json:
        say_json({"path": str(file), "shape": list(drawn.shape), "seed": seed})
    else:
        typer.echo(f"Wrote {draws} draws for each of {len(x)} points to {file}.")


@verbs.command(
    epilog="""Examples:

- `wgflow denoise runs/mnist-0 --noise 0.3 --out clean.png`: adds the noise to test images and
removes it; each row the image, the noisy one, the most probable one, the mean and, where the run
learned paths from noise, the end of the path
- `wgflow denoise runs/mnist-0 --noise 0.3 --input noisy.npy`: points that have the noise already
"""
)
def denoise(
    folder: Learned,
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

    from wgflow._random import noise_like
    from wgflow.runs import uses
    from wgflow.runs.load import load

    check_positive(noise=noise)
    run = load(folder)
    file = result_file(out, folder, "denoised", run)
    generator = torch.Generator().manual_seed(seed)
    x = points_of(run, input_, count)
    clean = {"clean": x} if input_ == TEST else {}
    y = x + noise * noise_like(x, generator=generator) if clean else x
    found = uses.denoise(
        run,
        y,
        noise,
        steps=steps,
        burn_in=burn_in,
        draws=draws,
        temperature=temperature,
        sampler=sampler,
        generator=generator,
    )
    columns = clean | {"noisy": y} | found
    write_result(file, columns["mean"], torch.stack(list(columns.values()), 1))
    errors = {name: _rms(z - x) for name, z in columns.items() if clean and name != "clean"}
    if as_json:
        say_json({"path": str(file), "seed": seed, "columns": list(columns), "rms": errors})
        return
    typer.echo(f"Wrote {len(x)} points to {file}; columns: {', '.join(columns)}.")
    if errors:
        say(rows_table([{"": "root mean squared error"} | errors]))


def _rms(x: "Tensor") -> float:
    return math.sqrt(float(x.square().mean()))
