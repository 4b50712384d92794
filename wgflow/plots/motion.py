"""Particles over time."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from wgflow.plots.axes import aspect, dots, picture, plane, shade
from wgflow.plots.charts import Box, Chart
from wgflow.plots.style import DATA, MODEL, STYLE, panels


@rc_context(STYLE)
def moments(
    steps: np.ndarray,
    frames: np.ndarray,
    box: Box,
    below: Chart | None = None,
    *,
    data: np.ndarray | None = None,
) -> Figure:
    """Six frames of the particles, (frames, particles, 2), over a density or points of data."""
    chosen = _spread(len(steps), 6)
    height = 1.9 * float(np.clip(aspect(box), 0.5, 1.5)) + 0.3
    figure, grid = panels(len(chosen), 3, width=2.0, height=height)
    for axes, k in zip(grid, chosen, strict=True):
        if below is not None:
            shade(axes, below, ("", ""), 1.6 * float(below.values.max()))
        if data is not None:
            dots(axes, data[:600], DATA, 2.2)
        dots(axes, frames[k][:600], MODEL, 2.2)
        plane(axes, box, ("", ""))
        axes.set_title(f"step {steps[k]:,}", fontsize=9, weight="normal", pad=4)
        axes.set(xticks=[], yticks=[])
    return figure


@rc_context({**STYLE, "figure.constrained_layout.use": False})
def filmstrip(steps: np.ndarray, frames: np.ndarray, limits: tuple[float, float]) -> Figure:
    """The first 16 particles over time, downwards: (frames, particles, channels, h, w)."""
    chosen = _spread(len(steps), 9)
    columns, tile = min(16, frames.shape[1]), 0.56
    figure, grid = panels(columns * len(chosen), columns, width=tile + 0.6 / columns, height=tile)
    figure.subplots_adjust(0.6 / figure.get_figwidth(), 0.005, 0.998, 0.995, 0.06, 0.06)
    images = frames[chosen, :columns].reshape(-1, *frames.shape[2:])
    for axes, image in zip(grid, images, strict=True):
        picture(axes, image, limits)
    for axes, k in zip(grid[::columns], chosen, strict=True):
        label = f"{steps[k]:,}"
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
    return figure


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices from the first to the last, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
