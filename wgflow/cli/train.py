"""The verbs that train: train, resume."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wgflow.cli.options import Folder, Json
from wgflow.cli.printing import (
    alarm_lines,
    end_by,
    normaliser_text,
    note,
    say,
    say_json,
    say_lines,
    score_table,
    verdict_of,
)
from wgflow.cli.progress import progressing, waiting
from wgflow.cli.stops import kept
from wgflow.runs.summaries import read_settings
from wgflow.storage.folder import ENVIRONMENT, read_record

if TYPE_CHECKING:
    from wgflow.runs.run import Run

Devices = Annotated[
    int | None, typer.Option(min=1, help="Processes, or GPUs, per machine; default 1.")
]
Nodes = Annotated[
    int | None, typer.Option(min=1, help="Machines, each of which runs this command; default 1.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report.")]

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow train eight-gaussians`: an embedded data set; `wgflow list --data` names them all
- `wgflow train points.csv --out runs/points --seed 1`: a file, or a folder of images
- `wgflow train points.csv --test others.csv`: scores are of test points from another file
- `wgflow train people.csv --exclude id,name`: without two columns of a table
- `wgflow train people.csv --columns age,height`: with two alone
- `wgflow train mnist`: after `wgflow data fetch mnist`; images are learned in two phases, and
this is the first
- `wgflow train mnist --init runs/mnist-0`: the second, which starts from the energy of the first
- `wgflow train faces/ --set data.image_size=32 --set data.flips=true`
- `wgflow train moons --set training.steps=2000 --set scheme.dynamics.size=4096`
- `wgflow train moons --set scheme=maximum-likelihood`: another scheme, its own defaults
- `wgflow train moons --show-config > moons.toml`: every setting, to edit
- `wgflow train --config moons.toml --device cuda`: settings of your own
- `wgflow train moons --devices 2`: two processes with half the particles each

Toy sets, images, digits and tables, small and large, have recipes: settings of their own, unless
--config names others. What comes later takes precedence: defaults, then the config file or recipe,
then DATA, then --set, then --seed, --device, --steps, --test, --columns and --exclude. Stop with
Ctrl-C and go on with `wgflow resume DIR`.
"""
)
def train(
    data: Annotated[
        str | None,
        typer.Argument(help="Name, .npy, .npz, .csv, .tsv, .parquet, folder of images; hf:NAME."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/DATA-SEED, numbered if taken.")
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Test points; default a tenth of DATA, held out."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A[,B...]", help="Columns of a table to learn.")
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(metavar="A[,B...]", help="Columns of a table to leave out.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE.toml|RECIPE", help="Settings: a file or a recipe."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; repeat.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of every random number.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    devices: Devices = None,
    nodes: Nodes = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="DIR|NAME", help="Initialise with the energy of this run."),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the settings as TOML and stop.")
    ] = False,
    no_report: NoReport = False,
    as_json: Json = False,
) -> None:
    """Learn a density from DATA; write a run folder with scores, samples and a report."""
    from wgflow.config import dumps
    from wgflow.config.recipes import configure

    if not (data or config or show_config):
        raise ValueError(
            "DATA or --config must be given: got neither. `wgflow list --data` names data sets."
        )
    file = None if test is None else json.dumps(str(test), ensure_ascii=False)
    shortcuts = {"seed": seed, "device": device, "training.steps": steps, "data.test": file}
    shortcuts |= {"data.columns": _names(columns), "data.exclude": _names(exclude)}
    given = [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    settings = configure(data, config, *(setting or []), *given, init=init)
    if show_config:
        typer.echo(dumps(settings), nl=False)
        return
    from wgflow.runs.fit import fit

    with _launched(devices, nodes, settings.device, settings.training.steps) as together:
        run = fit(settings, out, **together)
    if together["ranks"].first:
        completed(run, not no_report, as_json)


def _names(text: str | None) -> str | None:
    """Names between commas, some in quotes, as TOML."""
    if text is None:
        return None
    return json.dumps(next(csv.reader([text], skipinitialspace=True), []), ensure_ascii=False)


@verbs.command(
    epilog="""The result is the same, bit for bit on a CPU, as without the stop. The run continues
with as many processes as it started with, on one machine unless --nodes says otherwise.

- `wgflow resume runs/moons-0`
"""
)
def resume(
    folder: Folder,
    devices: Devices = None,
    nodes: Nodes = None,
    no_report: NoReport = False,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped or killed."""
    from wgflow.runs.fit import resume as resume_run
    from wgflow.runs.load import read_config
    from wgflow.runs.sampled import is_unfinished

    if is_unfinished(folder):
        from wgflow.cli.sampling import resumed

        completed(resumed(folder), not no_report, as_json)
        return
    read_settings(folder)  # quick, where there is no run
    config = read_config(folder)
    usual = _ranks(folder) if nodes is None else 1
    with _launched(devices, nodes, config.device, config.training.steps, usual) as together:
        run = resume_run(folder, **together)
    if together["ranks"].first:
        completed(run, not no_report, as_json)


def _ranks(folder: Path) -> int:
    """How many processes a run began with; one where its record is damaged."""
    with suppress(ValueError):
        found = read_record(folder / ENVIRONMENT).get("ranks", 1)
        return found if type(found) is int and found > 0 else 1
    return 1


@contextmanager
def _launched(
    devices: int | None, nodes: int | None, device: str, steps: int, usual: int = 1
) -> Iterator[dict[str, Any]]:
    """The ranks that train together, and the progress that the first of them shows."""
    from wgflow.distributed.launch import launched

    with (
        launched(devices, nodes, device, usual=usual) as ranks,
        progressing(steps, shown=ranks.first) as progress,
    ):
        yield {"ranks": ranks, "listener": progress}


def completed(run: "Run", report: bool, as_json: bool) -> None:
    """Evaluate a trained run, save samples, write its report, and print all that."""
    from wgflow.report.finish import finish
    from wgflow.runs.sampled import SAMPLES as TARGET_SAMPLES

    goes_on = f"the trained run is whole; for scores and report: wgflow resume {run.path}"
    with kept(goes_on), waiting("Scoring"):
        scores, page = finish(run, report=report, tell=note)
    if as_json:
        told = {"run": str(run.path)} | scores | verdict_of(scores)
        say_json(told | ({"report": str(page)} if page else {}))
        return end_by(scores)
    say(score_table({run.path.name: scores}))
    say_lines(alarm_lines(scores))
    if run.target is not None:
        typer.echo(f"log Z of the energy: {normaliser_text(run.target.normaliser)}")
        typer.echo(f"Samples of the energy: {run.target.folder / TARGET_SAMPLES}")
    if page:
        typer.echo(f"Report: {page}")
    first_phase = run.config.scheme.path is not None and run.particles is None
    following = f"train {run.config.data.name} --init {run.path}"
    usual = f"sample {run.path} -n 1000 --out points.csv"
    typer.echo(f"Next: wgflow {following if first_phase else usual}")
    end_by(scores)
