"""Samples of a table beside data: single columns, and densities of pairs of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from wgflow.plots.axes import histograms
from wgflow.plots.charts import Box, Chart, around
from wgflow.plots.style import DENSITY, INK, MODEL, PAPER, STYLE, legend, panels

COLUMNS = 24
"""Columns that are drawn, at most."""

MASSES = (0.95, 0.8, 0.6, 0.4, 0.2)
"""Shares of all points that the contours enclose."""

BINS = 72
"""Of either coordinate, before they are smoothed."""

POOR = 2.25
"""Multiple of its floor above which the fit of a column is marked: one exact one in a thousand."""

LEARNED = LinearSegmentedColormap.from_list("learned", [PAPER, "#f6d9cb", MODEL, "#7d3110"])


@rc_context(STYLE)
def columns(
    samples: np.ndarray,
    reference: np.ndarray,
    names: Sequence[str],
    distances: np.ndarray,
    floor: float,
) -> Figure:
    """Histograms of single columns, data and model on each other, and how far apart they are.

    Args:
        samples: of the model, (n, d).
        reference: held-out data, (m, d).
        names: of the columns.
        distances: between both, (d,); columns of the largest are drawn where there are many.
        floor: what exact samples score; over `POOR` times as much is printed in orange.
    """
    chosen: list[int] = sorted(np.argsort(-distances, kind="stable")[:COLUMNS].tolist())
    box = inner_box(reference)
    width = 9.0 / min(4, len(chosen))
    figure, grid = panels(len(chosen), 4, width=width, height=1.9 if len(chosen) > 4 else 3.0)
    for j, axes in zip(chosen, grid, strict=True):
        histograms(axes, samples[:, j], reference[:, j], box, j)
        color = MODEL if distances[j] > POOR * floor else INK
        title = f"{names[j]}: {distances[j]:.3f}"
        axes.set_title(title, fontsize=9, weight="normal", pad=3, color=color)
    legend(figure, "held-out data", "model samples")
    return figure


@rc_context(STYLE)
def contours(
    samples: np.ndarray,
    reference: np.ndarray,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> Figure:
    """Densities of pairs of columns, of the data and beside it of the model.

    Contours enclose the shares `MASSES` of the points of each. Both are smoothed alike, and are of
    the same number of points, so that no difference comes from how they were drawn.

    Args:
        samples: of the model, (n, d).
        reference: held-out data, (m, d).
        names: of the columns.
        pairs: of columns.
    """
    count = min(len(samples), len(reference))
    figure, grid = panels(2 * len(pairs), 4, width=2.35, height=2.5)
    for place, (i, j) in enumerate(pairs):
        box = inner_box(reference[:, [i, j]])
        sides = ((reference, DENSITY, "held-out data"), (samples, LEARNED, "model"))
        for axes, (x, cmap, title) in zip(grid[2 * place : 2 * place + 2], sides, strict=True):
            _contour(axes, smoothed(x[:count, [i, j]], box), cmap)
            axes.set_xlabel(names[i])
            axes.set_title(title, fontsize=9, weight="normal", pad=3)
        grid[2 * place].set_ylabel(names[j])
        grid[2 * place + 1].set_yticklabels([])
    return figure


def inner_box(x: np.ndarray, margin: float = 0.15) -> Box:
    """A box around all but the outermost hundredths of (n, d), wider by a share of its width."""
    low, high = np.quantile(x, [0.01, 0.99], axis=0)
    return around(low, high, margin)


def smoothed(x: np.ndarray, box: Box) -> Chart:
    """The density of points of the plane (n, 2) in a box: a histogram under a Gaussian kernel.

    Its widths are those of Scott's rule for the spread inside of the box.
    """
    edges = [np.linspace(low, high, BINS + 1) for low, high in zip(*box, strict=True)]
    heights = np.histogramdd(x, edges)[0]
    inside = x[((x >= box.low) & (x <= box.high)).all(1)]
    spread = inside.std(0) if len(inside) else np.zeros(2)
    widths = spread * max(len(inside), 1) ** (-1 / 6) * BINS / (box.high - box.low)
    middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    cell = np.prod((box.high - box.low) / BINS)
    density = gaussian_filter(heights, np.clip(0.6 * widths, 1, None)) / (cell * max(len(x), 1))
    return Chart(tuple(middles), density)


def enclosing(values: np.ndarray, masses: Sequence[float]) -> np.ndarray:
    """Levels of a density above which the shares of its mass lie, falling shares first."""
    falling = np.sort(values.ravel())[::-1]
    shares = np.cumsum(falling) / falling.sum()
    return falling[np.searchsorted(shares, masses).clip(max=len(falling) - 1)]


def _contour(axes: Axes, chart: Chart, cmap: LinearSegmentedColormap) -> None:
    if chart.values.any():  # else all points are outside of the box
        levels = np.unique(enclosing(chart.values, MASSES))
        shades = [cmap((k + 1) / (len(levels) + 1)) for k in range(len(levels))]
        edges = [*levels, 2 * float(chart.values.max())]
        axes.contourf(*chart.axes, chart.values.T, edges, colors=shades)
    axes.set(xlim=chart.box.low[:1].tolist() + chart.box.high[:1].tolist())
    axes.set(ylim=chart.box.low[1:].tolist() + chart.box.high[1:].tolist())
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7.5)
