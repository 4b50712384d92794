"""How figures look: blue is the data, orange is the model."""

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1d2433", "#8b93a3", "#ffffff"
DATA, MODEL = "#2f6f9f", "#d9622b"
PALETTE = (MODEL, DATA, "#3f8f6b", "#8a5aa8", "#b8902a", "#5b6472", "#c24d78", "#2b9aa6")
DENSITY = LinearSegmentedColormap.from_list(
    "density", [PAPER, "#dfebf2", "#9dc3d9", "#4f8fb8", "#245e8e", "#0f2f54"]
)
EXCESS = LinearSegmentedColormap.from_list(
    "excess", ["#1f5582", "#8fb8d3", PAPER, "#eda47d", MODEL]
)

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#c3c9d3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": "#e8ebf0",
    "text.color": INK,
    "xtick.color": "#5b6472",
    "ytick.color": "#5b6472",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names of columns and runs are text, whatever is in them
}


def panels(count: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes, each of so many inches, at most ``columns`` in a row."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in grid[count:]:
        spare.set_axis_off()
    return figure, grid[:count]


def legend(figure: Figure, data: str, model: str) -> None:
    """What the colours of the data and of the model are, above all axes."""
    colors = {data: DATA, model: MODEL}
    handles = [figure.axes[0].fill_between([], [], color=c, label=n) for n, c in colors.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)


def png(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as the bytes of a PNG file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
