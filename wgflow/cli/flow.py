"""The verb that samples a given energy and learns its density: flow."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.options import Json
from wgflow.cli.printing import note
from wgflow.cli.progress import progressing, telling
from wgflow.cli.sampling import PARTS, Learning, Sampling, numbers_in, split_settings
from wgflow.cli.train import NoReport, completed

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow list --energies`: the energies that are known by name
- `wgflow flow gmm --dim 20`: one of them
- `wgflow flow energies.py:banana --dim 2`: a function of tensors (batch, dim) in a file, whose
code is run
- `wgflow flow dw4 --method parallel-tempering --particles 10000`
- `wgflow flow lj13 --set method.rounds=24`: more moves, where bounds of log Z are wide
- `wgflow flow energies.py:posterior --dim 30 --scale 1`: particles start from N(0, 1)
- `wgflow flow energies.py:box --dim 4 --mean 0.5 --scale 0.5`: from N(0.5, 0.25), where a start
should cover hard walls and little else
- `wgflow flow energies.py:posterior --dim 30 --particles 2000 --set training.steps=100`: quicker
- `wgflow flow german-credit --data german.data-numeric`

TARGET is an energy V, and its density exp(-V)/Z. Particles flow to it and give samples and log Z,
with a bound from either side; then a density is learned from them, of the free coordinates where
particles have no centre. Stop with Ctrl-C and go on with `wgflow resume DIR`.
"""
)
def flow(
    target: Annotated[str, typer.Argument(help="Name of an energy, or FILE.py:NAME.")],
    dim: Annotated[int | None, typer.Option(min=1, help="Dimension of the points.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/TARGET-SEED, numbered if taken.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="near-proximal, annealed-smc or parallel-tempering."),
    ] = "near-proximal",
    particles: Annotated[
        int | None,
        typer.Option(
            min=2, help="Points to move and to keep, by which time grows; default of the method."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M...]",
            help="Mean of the start, one number or one a coordinate; default of the target, or 0.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Standard deviation of the start; default of the target, or 3."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Data of a named energy that needs them.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the learning, or method.KEY=VALUE; repeat.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    no_report: NoReport = False,
    as_json: Json = False,
) -> None:
    """Sample a given energy, bound its log Z, and learn its normalised density."""
    from wgflow.runs.given import fit_energy, learning_steps

    own, settings = split_settings(setting or [])
    options = own | ({} if particles is None else {"particles": particles})
    note("Sampling, then learning.")
    with progressing(PARTS, shown=True) as shown, telling():
        run = fit_energy(
            target,
            dim,
            out,
            method=method,
            mean=None if mean is None else numbers_in(mean),
            scale=scale,
            data=data,
            seed=seed,
            settings=settings,
            sampling=None if shown is None else Sampling(shown),
            learning=Learning(learning_steps(settings)),
            **options,
        )
    completed(run, not no_report, as_json)
