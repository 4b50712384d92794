"""The verbs for points seen in part or under noise: inpaint, denoise."""

from typing import Annotated

import typer

from wgflow.cli.options import (
    TEST,
    Input,
    Json,
    Learned,
    Out,
    SamplerName,
    Seed,
    output,
    points_of,
    result_file,
    seeded,
    write_result,
)
from wgflow.cli.printing import rows_table, say, say_either, say_json
from wgflow.cli.tables import check_one, is_table, write_draws, write_filled

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow inpaint mnist --mask right --out half.png`: each row an image, its known half, and
draws of the other half
- `wgflow inpaint runs/points-0 --input points.npy --mask hidden.npy`: an array that is True where
a coordinate is hidden
- `wgflow inpaint runs/wine-0 --given alcohol=12.5 --given pH=3.2 -n 1000 --out draws.csv`: draws
of the other columns
- `wgflow inpaint runs/wine-0 --input gaps.csv --out full.csv`: a table, its empty cells filled
"""
)
def inpaint(
    folder: Learned,
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FILE",
            help="An .npy file of points, or a table with empty cells to fill; "
            "default test points.",
        ),
    ] = TEST,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE", help="Draw the other columns given this one's value; repeat."
        ),
    ] = None,
    mask: Annotated[
        str, typer.Option(help="What is hidden: left, right, top, bottom, center, or FILE.npy.")
    ] = "right",
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            min=1,
            help="Points to inpaint, default 8, or rows of a table, default all; with --given "
            "draws, default 1000.",
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Draws for each; default 6, of a table 1.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="path, the flow given the known part; or noise, annealed. Default path with a "
            "flow."
        ),
    ] = None,
    approach: Annotated[int, typer.Option(min=1, help="Steps of the flow or annealing.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the sampler after them.")] = 100,
    sampler: SamplerName = "mala",
    mode: Annotated[
        bool, typer.Option("--mode", help="Descend from each draw to a mode.")
    ] = False,
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw the hidden coordinates of points, or the other columns of a table, given the known."""
    import torch

    from wgflow.runs import uses
    from wgflow.runs.filling import read_rows
    from wgflow.runs.load import load

    run = load(folder)
    if given or (is_table(input_) and not mask.endswith(".npy")):
        check_one(given, input_)
        file = output(out, folder, "inpainted.csv", f"{folder}-inpainted.csv")
        if given:
            return write_draws(run, given, count or 1000, file, seed=seed, as_json=as_json)
        rows = read_rows(run, input_, generator=seeded(seed))[:count]
        return write_filled(run, rows, draws or 1, file, seed=seed, as_json=as_json)
    file = result_file(out, folder, "inpainted", run)
    x, hidden = points_of(run, input_, count or 8), uses.mask(run, mask)
    chains = uses.Chains(draws or 6, approach, steps, sampler)
    options = {"chains": chains, "start": start, "mode": mode, "generator": seeded(seed)}
    drawn = uses.inpaint(run, x, hidden, **options)
    known = torch.where(hidden, run.unstandardise(torch.zeros_like(x)), x)
    write_result(file, drawn, torch.cat([x[:, None], known[:, None], drawn], 1))
    record = {"path": str(file), "shape": list(drawn.shape), "seed": seed}
    each = f"Wrote {chains.draws} draws for each of {len(x)} points to {file}."
    say_either(as_json, record, each)


@verbs.command(
    epilog="""Examples:

- `wgflow denoise runs/mnist-0 --noise 0.3 --out clean.png`: adds noise to test images and
removes it; each row the image, the noisy one, the posterior mode, the posterior mean and, where
the run has a flow, its estimate
- `wgflow denoise runs/mnist-0 --noise 0.3 --input noisy.npy`: points that have the noise already
"""
)
def denoise(
    folder: Learned,
    noise: Annotated[
        float, typer.Option(help="Standard deviation of the noise, in the units of the data.")
    ],
    input_: Input = TEST,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Points to denoise.")] = 8,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the sampler that the mean is over.")
    ] = 200,
    burn_in: Annotated[int, typer.Option(min=0, help="Steps before those.")] = 100,
    draws: Annotated[int, typer.Option(min=1, help="Chains for each point.")] = 1,
    temperature: Annotated[
        float, typer.Option(help="T of the prior exp(-E/T); above 1 the prior is weaker.")
    ] = 1.0,
    sampler: SamplerName = "mala",
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Remove Gaussian noise: the mode and the mean of the posterior."""
    import torch

    from wgflow.runs import uses
    from wgflow.runs.load import load

    run = load(folder)
    file, x = result_file(out, folder, "denoised", run), points_of(run, input_, count)
    chains = uses.Chains(draws, burn_in, steps, sampler)
    options = {"chains": chains, "temperature": temperature, "generator": seeded(seed)}
    if input_ == TEST:
        columns, errors = uses.denoise_known(run, x, noise, **options)
    else:
        columns, errors = {"noisy": x} | uses.denoise(run, x, noise, **options), {}
    write_result(file, columns["mean"], torch.stack(list(columns.values()), 1))
    if as_json:
        record = {"path": str(file), "seed": seed, "columns": list(columns), "rms": errors}
        return say_json(record)
    typer.echo(f"Wrote {len(x)} points to {file}; columns: {', '.join(columns)}.")
    if errors:
        say(rows_table([{"": "root mean squared error"} | errors]))
