"""A law on the line or the plane: its energy, its density, its samples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from wgflow.plots.axes import dots, edges, ends, plane, shade
from wgflow.plots.charts import Chart
from wgflow.plots.style import DATA, DENSITY, EXCESS, FAINT, MODEL, PAPER, STYLE, side_by_side

TRUTH = "True density"
DEPTH = 12.0  # nats of energy above the deepest valley that a landscape shows


@rc_context(STYLE)
def landscape(energy: Chart, names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """The energy above its deepest valley: a curve, or filled contours where valleys are dark."""
    height = energy.map(lambda e: np.minimum(e - e.min(), DEPTH))
    if len(energy.axes) == 1:
        figure, (axes,) = side_by_side(1, width=8.5, height=3.2)
        axes.fill_between(energy.axes[0], height.values, DEPTH, color=MODEL, alpha=0.12, lw=0)
        axes.plot(energy.axes[0], height.values, color=MODEL)
        axes.set(xlabel=names[0], ylabel="E − min E, nats", ylim=(0, DEPTH), xlim=ends(energy, 0))
    else:
        figure, (axes,) = side_by_side(1, width=6.2, height=5.2)
        levels = np.linspace(0, DEPTH, 25)
        mesh = axes.contourf(*energy.axes, height.values.T, levels, cmap=DENSITY.reversed())
        axes.contour(*energy.axes, height.values.T, levels[:-1:2], colors=PAPER, linewidths=0.4)
        plane(axes, energy.box, names)
        bar = figure.colorbar(mesh, ax=axes, ticks=range(0, int(DEPTH) + 1, 2), shrink=0.85)
        bar.set_label(f"E − min E, nats (cut at {DEPTH:g})")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    axes.set_title("Learned energy: the lower, the likelier")
    return figure


@rc_context(STYLE)
def densities(
    true: Chart,
    learned: Chart,
    names: Sequence[str] = ("x₁", "x₂"),
    *,
    truth: str = TRUTH,
) -> Figure:
    """True and learned density on one scale, and their signed difference."""
    draw = _densities_1d if len(true.axes) == 1 else _densities_2d
    return draw(true, learned, names, truth)


@rc_context(STYLE)
def density(learned: Chart, names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """The learned density alone."""
    figure, (axes,) = side_by_side(1, width=5.6, height=4.6)
    shade(axes, learned, names, float(learned.values.max()))
    axes.set_title("Learned density")
    return figure


@rc_context(STYLE)
def scatter(x: np.ndarray, true: Chart, names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """Samples of the model over a density: dots in the plane, a histogram on the line."""
    if len(true.axes) == 1:
        figure, (axes,) = side_by_side(1, width=8.5, height=3.2)
        axes.hist(
            x[:, 0],
            edges(*ends(true, 0), 60),
            density=True,
            color=MODEL,
            alpha=0.45,
            label="samples",
        )
        axes.plot(true.axes[0], true.values, color=DATA, label="density")
        axes.set(xlabel=names[0], ylabel="density", xlim=ends(true, 0))
        axes.legend()
    else:
        figure, (axes,) = side_by_side(1, width=5.6, height=5.0)
        shade(axes, true, names, 1.6 * float(true.values.max()))
        dots(axes, x[:2000], MODEL, 4.0)
    axes.set_title(f"{min(len(x), 2000):,} fresh samples over the density")
    return figure


@rc_context(STYLE)
def compared_densities(charts: Mapping[str, Chart], names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """Densities in rows of at most four, on one scale; the first sets the scale."""
    columns = min(4, len(charts))
    rows = math.ceil(len(charts) / columns)
    top = float(next(iter(charts.values())).values.max())
    figure = Figure(figsize=(10.0 * columns / 4 + 0.4, 2.9 * rows + 0.2))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, chart) in zip(grid, charts.items(), strict=False):
        shade(axes, chart, names, top)
        axes.set_title(name, fontsize=9)
        axes.label_outer()
    for axes in grid[len(charts) :]:
        axes.set_axis_off()
    return figure


def _densities_2d(true: Chart, learned: Chart, names: Sequence[str], truth: str) -> Figure:
    difference = learned.values - true.values
    # Extreme cells (a sharp edge missed) must not wash out the rest of the picture.
    top = float(np.quantile(true.values, 0.999))
    most = max(float(np.quantile(np.abs(difference), 0.999)), 0.02 * top)
    figure, grid = side_by_side(3, width=10.0, height=3.7)
    shade(grid[0], true, names, top)
    image = shade(grid[1], learned, names, top)
    norm = TwoSlopeNorm(0, -most, most)
    (left, bottom), (right, upper) = true.box
    extent = (left, right, bottom, upper)
    gap = grid[2].imshow(difference.T, origin="lower", extent=extent, cmap=EXCESS, norm=norm)
    plane(grid[2], true.box, names)
    for axes in grid[1:]:
        axes.set(yticklabels=[], ylabel="")
    against = "true" if truth == TRUTH else "data"
    titles = truth, "Learned density", f"Learned − {against}"
    for axes, title in zip(grid, titles, strict=True):
        axes.set_title(title)
    _bar(figure, image, grid[:2], "density")
    _bar(figure, gap, grid[2:], "too little  ←  0  →  too much")
    return figure


def _bar(figure: Figure, image: Any, axes: list[Axes], label: str) -> None:
    bar = figure.colorbar(
        image, ax=axes, orientation="horizontal", shrink=0.8 / len(axes), aspect=30, pad=0.02
    )
    bar.set_label(label, fontsize=8.5)
    bar.ax.locator_params(nbins=5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _densities_1d(true: Chart, learned: Chart, names: Sequence[str], truth: str) -> Figure:
    figure = Figure(figsize=(8.5, 4.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    upper.fill_between(true.axes[0], true.values, color=DATA, alpha=0.18, lw=0)
    upper.plot(true.axes[0], true.values, color=DATA, label=truth.lower())
    upper.plot(learned.axes[0], learned.values, color=MODEL, label="learned density")
    upper.set(ylabel="density", ylim=(0, None), title=f"{truth} and learned density")
    upper.legend()
    difference = learned.values - true.values
    lower.fill_between(true.axes[0], np.maximum(difference, 0), color=MODEL, alpha=0.6, lw=0)
    lower.fill_between(true.axes[0], np.minimum(difference, 0), color=DATA, alpha=0.6, lw=0)
    lower.axhline(0, color=FAINT, lw=0.8)
    lower.set(xlabel=names[0], ylabel="difference", xlim=ends(true, 0))
    return figure
