"""The verb that samples a given energy and learns its density: flow."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.options import Json
from wgflow.cli.printing import note
from wgflow.cli.progress import Progress, progressing
from wgflow.cli.train import NoReport, completed

if TYPE_CHECKING:
    from wgflow.runs.run import Run

verbs = typer.Typer(rich_markup_mode="markdown")

PARTS = 1000
"""Of the progress of sampling."""

EVERY = 10.0
"""Seconds between two lines of learning."""


class Sampling:
    """A listener of `fit_energy`: the part of the sampling that is done, of `PARTS`."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, done: float, metrics: Mapping[str, float]) -> None:
        """Show it, with inverse temperature, ESS, acceptance and log Z."""
        self.progress(int(PARTS * done), metrics)


class Learning:
    """A listener of learning: a line now and then."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say how many steps are done."""
        if time.monotonic() > self.last + EVERY:
            self.last = time.monotonic()
            note(f"learning step {step}")


@verbs.command(
    epilog="""Examples:

- `wgflow list --energies`: the energies that are known by name
- `wgflow flow gmm --dim 20`: one of them
- `wgflow flow energies.py:banana --dim 2`: a function of tensors (batch, dim) in a file, whose
code is run
- `wgflow flow lj13 --method parallel-tempering --particles 10000`
- `wgflow flow energies.py:posterior --dim 30 --scale 1`: particles start from N(0, 1)
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
        int | None, typer.Option(min=2, help="Points to move and to keep; default of the method.")
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
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the learning; repeat."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    no_report: NoReport = False,
    as_json: Json = False,
) -> None:
    """Sample a given energy, bound its log Z, and learn its normalised density."""
    from wgflow.runs.given import fit_energy

    options = {} if particles is None else {"particles": particles}
    note("Sampling, then learning.")
    with progressing(PARTS, shown=True) as shown:
        run = fit_energy(
            target,
            dim,
            out,
            method=method,
            scale=scale,
            data=data,
            seed=seed,
            settings=setting or (),
            sampling=None if shown is None else Sampling(shown),
            learning=Learning(),
            **options,
        )
    completed(run, not no_report, as_json)


def resumed(folder: Path) -> "Run":
    """The run of a given energy that was stopped."""
    from wgflow.runs.given import resume_energy

    with progressing(PARTS, shown=True) as shown:
        return resume_energy(
            folder, sampling=None if shown is None else Sampling(shown), learning=Learning()
        )
