"""The command line itself: its options, its verbs, and how an error ends it."""

import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wgflow._check import shortened
from wgflow._signals import SIGNALLED, leaves_no_more, leaving
from wgflow._version import __version__
from wgflow.cli import (
    compare,
    data,
    evaluate,
    flow,
    interpolate,
    inverse,
    machine,
    ood,
    sample,
    score,
    train,
)
from wgflow.cli.stops import number_of, terminating
from wgflow.errors import Interrupted, WGFlowError

STOPPED = SIGNALLED + signal.SIGINT, SIGNALLED + signal.SIGTERM
"""Exit codes of commands that a signal stopped."""


class Verbs(TyperGroup):
    """The verbs; an error of the library becomes one line, ``--debug`` shows where it arose."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            if leaves_no_more():
                terminating()
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            kept = str(stop) or "what was written before is whole; run the command again."
            typer.secho(f"Stopped: {kept}", fg="red", err=True)
            raise typer.Exit(SIGNALLED + number_of(stop)) from None
        except (ValueError, OSError, RuntimeError, MemoryError, OverflowError) as error:
            code = _exit_code(error)
            if code is None or ctx.params["debug"]:
                raise
            typer.secho(f"Error: {_message(error)}", fg="red", err=True)
            raise typer.Exit(code) from error


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a run that failed, 130 or 143 for one that was stopped; or None."""
    if isinstance(error, RecursionError) or _is_of_memory(error):
        return 2
    if isinstance(error, Interrupted):
        return SIGNALLED + error.number
    if isinstance(error, RuntimeError):
        return 1 if isinstance(error, WGFlowError) else None
    return None if isinstance(error, BrokenPipeError) else 2


def _message(error: Exception) -> str:
    """One line; words as long as a file may make them are shortened."""
    if isinstance(error, RecursionError):
        return "Input must be nested no more than a few levels deep: got many more."
    if _is_of_memory(error):
        return f"Memory must hold data, network and particles: got too little. {_words(error)}"
    if isinstance(error, OSError) and error.strerror:
        file = f": {shortened(str(error.filename))}" if error.filename else ""
        return error.strerror + file
    return _words(error)


def _words(error: Exception) -> str:
    return " ".join(map(shortened, str(error).split()))


def _is_of_memory(error: Exception) -> bool:
    """Whether memory ran out: PyTorch says so on a CPU in words alone."""
    words = "can't allocate memory", "not enough memory", "out of memory"
    return isinstance(error, MemoryError) or any(text in str(error) for text in words)


app = typer.Typer(
    cls=Verbs,
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
- `wgflow flow gmm --dim 20`: samples and a density of a given energy
- `wgflow score runs/first rows.csv --out scores.csv`
- `wgflow ood runs/first rings`

Each verb has its own help: `wgflow train --help`.
""",
)


def main() -> None:
    """Run the command line, on one thread unless OMP_NUM_THREADS says otherwise."""
    # The networks are small: a second thread gains little, and on a busy machine its barriers
    # take ten times as long. Results on a CPU are also the same bits whatever its cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    leaving()
    try:
        app(prog_name="wgflow")
    except SystemExit as ended:
        if ended.code not in STOPPED:
            raise
        # What was open is closed; the libraries take a second more to take themselves apart.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code))


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


for group in (train, flow, sample, evaluate, compare, inverse, interpolate, score, ood, machine):
    app.add_typer(group.verbs)
app.add_typer(
    data.verbs, name="data", help="Fetch data sets.", epilog="- `wgflow data fetch mnist`"
)
