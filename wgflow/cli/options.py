"""Options that several verbs share, the points they read and the files they write."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wgflow.runs.run import Run

LEARNED = "Folder of a run, or the name of a pretrained energy: mnist, fashion-mnist."
TEST = "test"

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]
Learned = Annotated[Path, typer.Argument(metavar="DIR|NAME", help=LEARNED)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all random numbers.")]
Input = Annotated[
    str,
    typer.Option(
        "--input", metavar="FILE", help=".npy file of points, or a table; default test points."
    ),
]
Out = Annotated[
    Path | None, typer.Option(help=".npy, .csv, or .png for images; default a file in DIR.")
]
SamplerName = Annotated[
    str,
    typer.Option(
        "--sampler",
        help="mala (Metropolis-adjusted Langevin, exact) or ula (unadjusted: faster, biased).",
    ),
]


def seeded(seed: int) -> "torch.Generator":
    """The generator of a verb's random numbers."""
    import torch

    return torch.Generator().manual_seed(seed)


def points_of(run: "Run", source: str, count: int) -> "Tensor":
    """The first points of a file, or the first test points."""
    from wgflow.runs.uses import read_points

    return run.dataset.test[:count] if source == TEST else read_points(run, source, count)


def output(out: Path | None, folder: Path, inside: str, beside: str) -> Path:
    """Where points go: by default inside the run's folder, or else beside it.

    Raises:
        ValueError: the suffix is unknown, or there is no folder to write to; better before the
            work than after it.
    """
    from wgflow.data.arrays import check_suffix
    from wgflow.storage.folder import check_writable

    file = out or (folder / inside if folder.is_dir() else Path(beside))
    check_suffix(file)
    if not file.absolute().parent.is_dir():
        raise ValueError(f"`out` must be in a folder that exists: got {str(file)!r}.")
    check_writable(file.absolute().parent)
    return file


def result_file(out: Path | None, folder: Path, name: str, run: "Run") -> Path:
    """`output` of a verb, which is a picture where points are images."""
    images = len(run.event_shape) == 3 and run.event_shape[0] in (1, 3)
    name += ".png" if images else ".npy"
    return output(out, folder, name, f"{folder}-{name}")


def write_result(file: Path, x: "Tensor", shown: "Tensor") -> None:
    """Points x, or in a picture ``shown``, (rows, columns, *event)."""
    from wgflow.data.arrays import write_points

    write_points(file, x, picture=shown.flatten(0, 1), across=shown.shape[1])
