"""Input and output of the verbs: files of points by their suffix, tables and JSON on stdout.

With `wgflow.cli` the only place that prints.
"""

import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wgflow.storage.folder import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]
LEARNED = "Folder of a run, or the name of a pretrained energy: mnist, fashion-mnist."
Learned = Annotated[Path, typer.Argument(metavar="DIR|NAME", help=LEARNED)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def writer(file: Path) -> Callable[[Path, "np.ndarray"], None]:
    """How to write points to a file of this suffix; ValueError for any other."""
    writers = {".npy": write_array, ".csv": write_table, ".png": write_images}
    if file.suffix not in writers:
        raise ValueError(f"Points are written to {', '.join(writers)}: got {str(file)!r}.")
    return writers[file.suffix]


def write_array(file: Path, x: "np.ndarray") -> None:
    """Points as a NumPy array."""
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, x)
    write_bytes(file, stream.getvalue())


def write_table(file: Path, x: "np.ndarray") -> None:
    """Points as a table, one row per point and one column per coordinate."""
    import numpy as np

    rows = x.reshape(len(x), -1)
    header = ",".join(f"x{i}" for i in range(rows.shape[1]))
    stream = io.BytesIO()
    np.savetxt(stream, rows, delimiter=",", header=header, comments="", fmt="%.9g")
    write_bytes(file, stream.getvalue())


def write_images(file: Path, x: "np.ndarray", across: int | None = None) -> None:
    """Points as a grid of images, ``across`` in a row; by default the grid is square.

    Grey values are clipped at their 1 % and 99 % quantiles; NaN is black.

    Raises:
        ValueError: points are not of shape (1 or 3, height, width).
    """
    import numpy as np
    from PIL import Image

    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"Points in a .png must have shape (1 or 3, height, width): got {x.shape[1:]}."
        )
    across = across or math.ceil(math.sqrt(len(x)))
    down = math.ceil(len(x) / across)
    dark, bright = np.nanquantile(x, [0.01, 0.99])
    grey = np.uint8(np.clip((np.nan_to_num(x, nan=dark) - dark) / (bright - dark), 0, 1) * 255)
    blank = np.zeros((down * across - len(x), *x.shape[1:]), np.uint8)
    grid = np.concatenate([grey, blank]).reshape(down, across, *x.shape[1:])
    pixels = grid.transpose(0, 3, 1, 4, 2).reshape(down * x.shape[2], across * x.shape[3], -1)
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if x.shape[1] == 1 else pixels).save(stream, "png")
    write_bytes(file, stream.getvalue())


def read_array(file: Path) -> "np.ndarray":
    """The array in an .npy file, which holds no pickles.

    Bytes b of shape (n, 1 or 3, height, width) are pixels: they become ``(b + ½) / 256``.

    Raises:
        ValueError: it is no .npy file.
    """
    import numpy as np

    if file.suffix != ".npy":
        raise ValueError(f"Points are read from an .npy file: got {str(file)!r}.")
    x = np.load(file, allow_pickle=False)
    pixels = x.dtype == np.uint8 and x.ndim == 4 and x.shape[1] in (1, 3)
    return (x + np.float32(0.5)) / 256 if pixels else x


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


def say_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; a number that is not finite becomes null."""
    typer.echo(json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
