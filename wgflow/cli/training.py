"""The verbs that learn: train, resume."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.output import Folder, Json, note, say, say_json, write_array
from wgflow.cli.progress import progressing
from wgflow.cli.tables import read_config, score_table
from wgflow.storage.folder import ENVIRONMENT, SAMPLES, read_json

if TYPE_CHECKING:
    from wgflow.config import Config
    from wgflow.runs.run import Run

Devices = Annotated[
    int | None, typer.Option(min=1, help="Processes, or GPUs, per machine; default 1.")
]
Nodes = Annotated[
    int | None, typer.Option(min=1, help="Machines, each of which runs this command; default 1.")
]

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""Examples:

- `wgflow train eight-gaussians`: an embedded data set; `wgflow list --data` names them all
- `wgflow train points.csv --out runs/points --seed 1`: a file, or a folder of images
- `wgflow train mnist`: after `wgflow data fetch mnist`; images have two phases, this is the first
- `wgflow train mnist --init runs/mnist-0`: and this the second, which begins with its energy
- `wgflow train faces/ --set data.image_size=32 --set data.flips=true`
- `wgflow train moons --set training.steps=2000 --set scheme.dynamics.size=4096`
- `wgflow train moons --set scheme=maximum-likelihood`: another scheme, its own defaults
- `wgflow train moons --show-config > moons.toml`: every setting, to edit
- `wgflow train --config moons.toml --device cuda`: settings of your own
- `wgflow train moons --devices 2`: two processes with half the particles each

Images and digits have recipes: settings of their own, unless --config says otherwise. What comes
later wins: defaults, then the config file or recipe, then DATA, then --set, then --seed, --device
and --steps. Stop with Ctrl-C and go on with `wgflow resume DIR`.
"""
)
def train(
    data: Annotated[
        str | None,
        typer.Argument(help="Name, .npy, .npz, .csv, .parquet, or folder of images; hf:NAME."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/DATA-SEED, numbered if taken.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE.toml|RECIPE", help="Settings: a file or a recipe."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; repeat.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    steps: Annotated[int | None, typer.Option(help="Learning steps.")] = None,
    devices: Devices = None,
    nodes: Nodes = None,
    init: Annotated[
        Path | None, typer.Option(metavar="DIR|NAME", help="Begin with the energy of this run.")
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the settings as TOML and stop.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.")] = False,
    as_json: Json = False,
) -> None:
    """Learn a density from DATA; write a run folder with scores, samples and a report."""
    from wgflow.config import dumps

    if not (data or config or show_config):
        raise ValueError(
            "Training needs data: expected DATA or --config, got neither. "
            "`wgflow list --data` names the sets it knows."
        )
    shortcuts = {"seed": seed, "device": device, "training.steps": steps}
    given = [*(setting or []), *(f"{k}={v}" for k, v in shortcuts.items() if v is not None)]
    given += [] if init is None else [f"init={json.dumps(str(init))}"]
    settings = configure(data, config, given, begun=init is not None)
    if show_config:
        typer.echo(dumps(settings), nl=False)
        return
    from wgflow.distributed.launch import launched
    from wgflow.runs.fit import fit

    with launched(devices, nodes, settings.device) as ranks:
        folder = ranks.lead(lambda: out or free_folder(Path("runs"), settings))
        with progressing(settings.training.steps, shown=ranks.first) as progress:
            run = fit(settings, folder, listener=progress, ranks=ranks)
    if ranks.first:
        finish(run, report=not no_report, as_json=as_json)


@verbs.command(
    epilog="""The result is the same, bit for bit on a CPU, as if the run had never stopped. It
goes on with as many processes as it began with, on one machine unless --nodes says otherwise.

- `wgflow resume runs/moons-0`
"""
)
def resume(
    folder: Folder,
    devices: Devices = None,
    nodes: Nodes = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from wgflow.distributed.launch import launched
    from wgflow.runs.fit import resume as go_on

    config = read_config(folder)
    usual = read_json(folder / ENVIRONMENT).get("ranks", 1) if nodes is None else 1
    with (
        launched(devices, nodes, config["device"], usual=usual) as ranks,
        progressing(config["training.steps"], shown=ranks.first) as progress,
    ):
        resumed = go_on(folder, listener=progress, ranks=ranks)
    if ranks.first:
        finish(resumed, report=not no_report, as_json=as_json)


def configure(
    data: str | None, config: str | None, settings: Sequence[str], *, begun: bool = False
) -> "Config":
    """Defaults, then the file or recipe, then the data, then the settings."""
    from wgflow.config import build, override, parse
    from wgflow.config.recipes import recipe, usual

    if config is None and data is not None:
        config = usual(data, begun=begun)
    file = config and (Path(config) if Path(config).is_file() else recipe(config))
    table = parse(file.read_text("utf8")) if file else {}
    if data is not None:
        table = override(table, f"data.name={json.dumps(data, ensure_ascii=False)}")
    return build(override(table, *settings))


def free_folder(parent: Path, config: "Config") -> Path:
    """``parent/data-seed``, or the first of ``data-seed-2``, ``-3`` ... that does not exist."""
    name = f"{Path(config.data.name).stem}-{config.seed}"
    number = 1
    folder = parent / name
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def finish(run: "Run", *, report: bool, as_json: bool) -> None:
    """Evaluate a trained run, draw its samples, write its report, and say what is next."""
    import torch

    from wgflow.runs.evaluate import affordable, evaluate
    from wgflow.schemes import EnergyMatching

    note("Evaluating.")
    scores = evaluate(run)
    points = run.sample(
        affordable(run, 10_000), generator=torch.Generator().manual_seed(run.config.seed)
    )
    write_array(run.path / SAMPLES, points.cpu().numpy())
    path = None
    if report:
        from wgflow.report import write_report

        note("Writing the report.")
        path = write_report(run.path)
    if as_json:
        say_json({"run": str(run.path)} | scores | ({"report": str(path)} if path else {}))
        return
    say(score_table({run.path.name: scores}))
    if path:
        typer.echo(f"Report: {path}")
    if isinstance(run.config.scheme, EnergyMatching):
        typer.echo(f"Next: wgflow train {run.config.data.name} --init {run.path}")
        return
    typer.echo(f"Next: wgflow sample {run.path} -n 1000 --out points.csv")
