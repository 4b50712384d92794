"""What verbs print: tables and JSON on stdout, notes on stderr. Nothing else prints."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from wgflow.metrics.alarms import alarms, worst

if TYPE_CHECKING:
    from rich.table import Table

    from wgflow.likelihood.annealing import LogZ


POOR = 3
"""The exit code of a command that did its work, on a density that its scores say is poor."""


def score_table(runs: Mapping[str, Mapping[str, float]]) -> "Table":
    """Scores in rows and runs in columns, each with its error and its floor."""
    names = dict.fromkeys(name for scores in runs.values() for name in scores)
    belong = {f"{name}_{what}" for name in names for what in ("floor", "chance", "error")}
    rows = {
        name: {run: _score(scores, name) for run, scores in runs.items()}
        for name in names
        if name not in belong
    }
    return grid_table("score", rows)


def _score(scores: Mapping[str, float], name: str) -> str:
    if name not in scores:
        return ""
    error = f" ± {scores[f'{name}_error']:.2g}" if f"{name}_error" in scores else ""
    floor = f"  (floor {scores[f'{name}_floor']:.4g})" if f"{name}_floor" in scores else ""
    return f"{_digits(scores[name], scores.get(f'{name}_error', 0.0))}{error}{floor}"


def _digits(value: float, error: float) -> str:
    """Four digits of a value, or as many as its error leaves."""
    if not (0 < error < math.inf and math.isfinite(value) and value):
        return f"{value:.4g}"
    needed = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2
    return f"{value:.{min(max(4, needed), 12)}g}"


def normaliser_text(found: "LogZ") -> str:
    """``log Z`` with its error, and the lower and the upper bound, with digits for that error."""
    value, error, *bounds = found
    if not math.isfinite(value):
        return "not known, as its bounds contradict each other"
    lower, upper = (_digits(bound, error) for bound in bounds)
    return f"{_digits(value, error)} ± {error:.2g}, lower bound {lower}, upper bound {upper}"


def grid_table(corner: str, rows: Mapping[str, Mapping[str, Any]]) -> "Table":
    """A table of rows by name, whose columns are the keys of the rows."""
    return rows_table([{corner: name} | dict(row) for name, row in rows.items()])


def rows_table(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """A table of records with the same keys."""
    from rich import box
    from rich.table import Table

    table = Table(*rows[0], box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def say(table: "Table") -> None:
    """Print a table on stdout; whole lines where there is no terminal to fit them to."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False, markup=False).print(table)


def alarm_lines(scores: Mapping[str, float], run: str = "") -> list[str]:
    """What scores say against a run, a line each, which begins with its name if there is one."""
    begin = f"{run}: " if run else ""
    return [f"{begin}{alarm.sentence}" for alarm in alarms(scores)]


def alarm_records(scores: Mapping[str, float]) -> list[dict[str, str]]:
    """The same for JSON: ``name``, ``sentence`` and ``grade`` of each `Alarm`."""
    return [alarm._asdict() for alarm in alarms(scores)]


def verdict_of(scores: Mapping[str, float]) -> dict[str, Any]:
    """For JSON: ``verdict``, the gravest grade or ``healthy``, and ``alarms``."""
    return {"verdict": worst(scores) or "healthy", "alarms": alarm_records(scores)}


def end_by(scores: Mapping[str, float]) -> None:
    """End the command with the exit code `POOR` where an alarm says that the density is poor."""
    if worst(scores) == "poor":
        raise typer.Exit(POOR)


def say_lines(lines: Sequence[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        typer.echo(line)


def say_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; a number that is not finite becomes null."""
    typer.echo(json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False))


def say_either(as_json: bool, record: Mapping[str, Any], *lines: str) -> None:
    """Print the record as JSON, or else the lines."""
    if as_json:
        say_json(record)
    else:
        typer.echo("\n".join(lines))


def note(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
