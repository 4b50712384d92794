"""The verbs about several runs: compare, list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.options import Json
from wgflow.cli.printing import (
    alarm_lines,
    alarm_records,
    grid_table,
    rows_table,
    say,
    say_either,
    say_json,
    say_lines,
    score_table,
)
from wgflow.runs import summaries

if TYPE_CHECKING:
    from wgflow.targets.catalogue import Entry

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
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
    """Compare runs: scores, settings that differ, and with --out their plots."""
    found = summaries.compare(folders)
    if out:
        from wgflow.report import compare_report

        compare_report(folders, out)
    if as_json:
        return say_json(
            {
                "runs": found.scores,
                "differences": found.differences,
                "alarms": {run: alarm_records(scores) for run, scores in found.scores.items()},
            }
            | ({"report": str(out)} if out else {})
        )
    say(score_table(found.scores))
    for run, scores in found.scores.items():
        say_lines(alarm_lines(scores, run))
    if found.differences:
        say(grid_table("setting", found.differences))
    else:
        typer.echo("The settings are the same.")
    if out:
        typer.echo(f"Report: {out}")


@verbs.command(
    name="list",
    epilog="""- `wgflow list`: the runs in runs/
- `wgflow list --data`: the data sets known by name
- `wgflow list --energies`: the given energies known by name
""",
)
def list_(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of runs.")] = Path(
        "runs"
    ),
    data: Annotated[bool, typer.Option("--data", help="The data sets known by name.")] = False,
    energies: Annotated[
        bool, typer.Option("--energies", help="The given energies known by name.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the runs in a folder, or the data sets or given energies known by name."""
    if data:
        return _list_data(as_json)
    if energies:
        return _list_energies(as_json)
    runs = summaries.list_runs(folder)
    if runs and not as_json:
        return say(rows_table(runs))
    hint = f"No runs in {folder}. Train one: wgflow train eight-gaussians"
    say_either(as_json, {"runs": runs}, hint)


def _list_data(as_json: bool) -> None:
    from wgflow.data.dataset import available

    sets = available()
    missing = [name for name, there in sets.items() if not there]
    marks = {name: f"  (not fetched: wgflow data fetch {name})" for name in missing}
    lines = [name + marks.get(name, "") for name in sets]
    say_either(as_json, {"data": list(sets), "not_fetched": missing}, *lines)


def _list_energies(as_json: bool) -> None:
    from wgflow.targets.catalogue import ENTRIES

    if as_json:
        rows = [
            {
                "energy": name,
                "about": e.about,
                "dim": e.dim,
                "smallest": e.smallest,
                "file": e.file,
            }
            for name, e in ENTRIES.items()
        ]
        return say_json({"energies": rows})
    say(grid_table("energy", {name: _shown(entry) for name, entry in ENTRIES.items()}))


def _shown(entry: "Entry") -> dict[str, str]:
    dim = str(entry.dim) if entry.smallest is None else f"{entry.dim} or --dim"
    return {"dim": dim, "about": entry.about + (f"; --data {entry.file}" if entry.file else "")}
