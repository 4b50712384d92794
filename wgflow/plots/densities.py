"""A distribution on the line or the plane: its energy, its density, its samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from wgflow.plots.axes import curve, dots, ends, heat, plane, shade
from wgflow.plots.charts import Chart
from wgflow.plots.style import DATA, DENSITY, EXCESS, FAINT, MODEL, PAPER, STYLE, panels

TRUTH = "True density"
DEPTH = 12.0  # nats of energy above the minimum that a landscape shows
NAMES = ("x₁", "x₂")


@rc_context(STYLE)
def landscape(energy: Chart, names: Sequence[str] = NAMES) -> Figure:
    """The energy above its minimum: a curve, or filled contours where low energies are dark."""
    height = energy.map(lambda e: np.minimum(e - e.min(), DEPTH))
    if len(energy.axes) == 1:
        figure, (axes,) = panels(1, 1, width=8.5, height=3.2)
        axes.fill_between(energy.axes[0], height.values, DEPTH, color=MODEL, alpha=0.12, lw=0)
        curve(axes, height, names[0], MODEL)
        axes.set(ylabel="E − min E, nats", ylim=(0, DEPTH))
    else:
        figure, (axes,) = panels(1, 1, width=6.2, height=5.2)
        levels = np.linspace(0, DEPTH, 25)
        mesh = axes.contourf(*energy.axes, height.values.T, levels, cmap=DENSITY.reversed())
        axes.contour(*energy.axes, height.values.T, levels[:-1:2], colors=PAPER, linewidths=0.4)
        plane(axes, energy.box, names)
        label, ticks = f"E − min E, nats (clipped at {DEPTH:g})", range(0, int(DEPTH) + 1, 2)
        _bar(figure, mesh, [axes], label, ticks=ticks, shrink=0.85)
    axes.set_title("Learned energy")
    return figure


@rc_context(STYLE)
def densities(
    true: Chart, learned: Chart, names: Sequence[str] = NAMES, *, truth: str = TRUTH
) -> Figure:
    """True and learned density on one scale, and their signed difference."""
    draw = _densities_1d if len(true.axes) == 1 else _densities_2d
    return draw(true, learned, names, truth)


@rc_context(STYLE)
def scatter(x: np.ndarray, true: Chart, names: Sequence[str] = NAMES) -> Figure:
    """Samples of the model over a density: dots in the plane, a histogram on the line."""
    if len(true.axes) == 1:
        figure, (axes,) = panels(1, 1, width=8.5, height=3.2)
        count, options = len(x), {"range": ends(true, 0), "density": True, "alpha": 0.45}
        axes.hist(x[:, 0], 60, **options, color=MODEL, label="model samples")
        curve(axes, true, names[0], label="data density")
        axes.set(ylabel="density")
        axes.legend()
    else:
        figure, (axes,) = panels(1, 1, width=5.6, height=5.0)
        shade(axes, true, names, 1.6 * float(true.values.max()))
        dots(axes, x[:2000], MODEL, 4.0)
        count = min(len(x), 2000)
    axes.set_title(f"{count:,} model samples over the data density")
    return figure


@rc_context(STYLE)
def compared_densities(charts: Mapping[str, Chart], names: Sequence[str] = NAMES) -> Figure:
    """Densities by name, on one scale that the first sets."""
    top = float(next(iter(charts.values())).values.max())
    figure, grid = panels(len(charts), 4, width=2.6, height=3.0)
    for axes, (name, chart) in zip(grid, charts.items(), strict=True):
        shade(axes, chart, names, top)
        axes.set_title(name, fontsize=9)
        axes.label_outer()
    return figure


def _densities_2d(true: Chart, learned: Chart, names: Sequence[str], truth: str) -> Figure:
    difference = learned.map(lambda values: values - true.values)
    # Extreme cells (a sharp edge missed) must not wash out the rest of the picture.
    top = float(np.quantile(true.values, 0.999))
    most = max(float(np.quantile(np.abs(difference.values), 0.999)), 0.02 * top)
    figure, grid = panels(3, 3, width=3.35, height=3.7)
    shade(grid[0], true, names, top)
    image = shade(grid[1], learned, names, top)
    gap = heat(grid[2], difference, names, cmap=EXCESS, norm=TwoSlopeNorm(0, -most, most))
    for axes in grid[1:]:
        axes.set(yticklabels=[], ylabel="")
    against = "true" if truth == TRUTH else "data"
    titles = truth, "Learned density", f"Learned − {against}"
    for axes, title in zip(grid, titles, strict=True):
        axes.set_title(title)
    below = {"orientation": "horizontal", "aspect": 30, "pad": 0.02}
    _bar(figure, image, grid[:2], "density", shrink=0.4, **below).locator_params(nbins=5)
    bar = _bar(figure, gap, grid[2:], "difference of densities", shrink=0.8, **below)
    bar.locator_params(nbins=5)
    return figure


def _bar(figure: Figure, image: Any, axes: list[Axes], label: str, **options: Any) -> Axes:
    bar = figure.colorbar(image, ax=axes, **options)
    bar.set_label(label, fontsize=8.5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return bar.ax


def _densities_1d(true: Chart, learned: Chart, names: Sequence[str], truth: str) -> Figure:
    figure = Figure(figsize=(8.5, 4.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    upper.fill_between(true.axes[0], true.values, color=DATA, alpha=0.18, lw=0)
    curve(upper, true, "", label=truth.lower())
    curve(upper, learned, "", MODEL, label="learned density")
    upper.set(ylabel="density", ylim=(0, None), title=f"{truth} and learned density")
    upper.legend()
    difference = learned.values - true.values
    lower.fill_between(true.axes[0], np.maximum(difference, 0), color=MODEL, alpha=0.6, lw=0)
    lower.fill_between(true.axes[0], np.minimum(difference, 0), color=DATA, alpha=0.6, lw=0)
    lower.axhline(0, color=FAINT, lw=0.8)
    lower.set(xlabel=names[0], ylabel="difference", xlim=ends(true, 0))
    return figure
