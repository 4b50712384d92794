"""Points that a verb works on, and where its results go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.output import read_array, write_array, write_images, write_table, writer

if TYPE_CHECKING:
    from torch import Tensor

    from wgflow.runs.run import Run

TEST = "test"
Input = Annotated[
    str, typer.Option("--input", metavar="FILE", help="An .npy file of points, or test points.")
]
Out = Annotated[Path | None, typer.Option(help=".npy, .csv, or .png for images; default in DIR.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Chains = Annotated[
    str, typer.Option("--sampler", help="mala, exact; or ula, faster and biased by its step.")
]


def result_file(out: Path | None, folder: Path, name: str, run: "Run") -> Path:
    """Where the result goes; refused before the work, if its suffix is not known."""
    usual = f"{name}{'.png' if _images(run) else '.npy'}"
    file = out or (folder / usual if folder.is_dir() else Path(f"{folder}-{usual}"))
    writer(file)
    return file


def _images(run: "Run") -> bool:
    return len(run.event_shape) == 3 and run.event_shape[0] in (1, 3)


def write_result(file: Path, x: "Tensor", shown: "Tensor") -> None:
    """Points x as an array or a table; a picture has the rows and columns of ``shown``."""
    if file.suffix == ".png":
        columns = shown.shape[1]
        write_images(file, shown.flatten(0, 1).cpu().numpy(), columns)
    elif file.suffix == ".csv":
        write_table(file, x.cpu().numpy())
    else:
        write_array(file, x.cpu().numpy())


def points_of(run: "Run", source: str, count: int) -> "Tensor":
    """Points to work on, in the units of the data: the first test points, or those of a file."""
    import torch

    from wgflow.config import DTYPES

    if source == TEST:
        return run.dataset.test[:count]
    x = torch.from_numpy(read_array(Path(source)))[:count].to(DTYPES[run.config.dtype])
    check_shape(x, run, source)
    return x


def check_shape(x: "Tensor", run: "Run", source: str) -> None:
    """Raise ValueError unless there are points, of the shape that the run learned."""
    if tuple(x.shape[1:]) != run.event_shape or not len(x):
        raise ValueError(
            f"Points have the shape that the run learned: expected {run.event_shape} each, "
            f"got an array of shape {tuple(x.shape)} from {source}."
        )


def mask_of(name: str, run: "Run") -> "Tensor":
    """True where a coordinate is hidden, (*event,): of a side, or from a file."""
    import torch

    from wgflow.tasks.inpaint import side

    if name.endswith(".npy"):
        return torch.from_numpy(read_array(Path(name)) != 0)
    return side(name, run.event_shape)
