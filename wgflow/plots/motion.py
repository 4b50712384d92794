"""Particles over time."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from wgflow.plots.axes import aspect, dots, picture, plane, shade
from wgflow.plots.charts import Box, Chart
from wgflow.plots.style import DATA, MODEL, STYLE


@rc_context(STYLE)
def moments(
    steps: np.ndarray,
    frames: np.ndarray,
    box: Box,
    below: Chart | None = None,
    *,
    data: np.ndarray | None = None,
) -> Figure:
    """Six moments of the particles: (frames, particles, 2), over a density or points of data."""
    chosen = _spread(len(steps), 6)
    height = 1.9 * float(np.clip(aspect(box), 0.5, 1.5)) + 0.3
    figure = Figure(figsize=(6.0, 2 * height))
    grid = figure.subplots(2, 3).ravel()
    for axes, k in zip(grid, chosen, strict=False):
        if below is not None:
            shade(axes, below, ("", ""), 1.6 * float(below.values.max()))
        if data is not None:
            dots(axes, data[:600], DATA, 2.2)
        dots(axes, frames[k][:600], MODEL, 2.2)
        plane(axes, box, ("", ""))
        axes.set_title(f"step {steps[k]:,}", fontsize=9, weight="normal", pad=4)
    for axes in grid:
        axes.set(xticks=[], yticks=[])
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    return figure


@rc_context({**STYLE, "figure.constrained_layout.use": False})
def filmstrip(steps: np.ndarray, frames: np.ndarray, limits: tuple[float, float]) -> Figure:
    """The first 16 particles over time, downwards: (frames, particles, channels, h, w)."""
    chosen = _spread(len(steps), 9)
    columns, tile = min(16, frames.shape[1]), 0.56
    width = tile * columns + 0.6
    figure = Figure(figsize=(width, tile * len(chosen)))
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    figure.subplots_adjust(0.6 / width, 0.005, 0.998, 0.995, 0.06, 0.06)
    for (i, j), axes in np.ndenumerate(grid):
        picture(axes, frames[chosen[i], j], limits)
        if j == 0:
            label = f"{steps[chosen[i]]:,}"
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
    return figure


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices from the first to the last, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
