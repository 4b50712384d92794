"""Samples beside data: images, coordinates, shares of modes, distances over floors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from wgflow.plots.axes import dots, histograms, picture
from wgflow.plots.charts import box_of
from wgflow.plots.style import DATA, INK, MODEL, STYLE, side_by_side

PAIRS = 5  # coordinates that a scatter matrix shows


@rc_context(STYLE)
def pictures(samples: np.ndarray, reference: np.ndarray, columns: int = 12) -> Figure:
    """Images drawn from the model above images of the data: (n, channels, height, width)."""
    limits = _grey_limits(reference)
    figure = Figure(figsize=(9.0, 6.6))
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(6, 2.35))[:, 0]
    _tiles(upper, samples, columns, 6, limits)
    _tiles(lower, reference, columns, 2, limits)
    upper.suptitle("Drawn from the model", x=0.01, ha="left", weight="bold", color=MODEL)
    lower.suptitle("Held-out data", x=0.01, ha="left", weight="bold", color=DATA)
    return figure


@rc_context(STYLE)
def pairs(
    samples: np.ndarray, reference: np.ndarray, names: Sequence[str], most: int = PAIRS
) -> Figure:
    """A scatter matrix of the first coordinates: data above the diagonal, model below it."""
    d = min(most, samples.shape[1])
    box = box_of(reference[:, :d], 0.1)
    figure = Figure(figsize=(9.0, 9.0))
    grid = figure.subplots(d, d, squeeze=False)
    for (i, j), axes in np.ndenumerate(grid):
        source, color = (samples, MODEL) if i > j else (reference, DATA)
        if i == j:
            histograms(axes, samples[:, i], reference[:, i], box, i)
        else:
            dots(axes, source[:1000][:, [j, i]], color, 3.0)
            axes.set_ylim(box.low[i], box.high[i])
        axes.set_xlim(box.low[j], box.high[j])
        axes.tick_params(labelbottom=i == d - 1, labelleft=j == 0 and i > 0)
        if i == d - 1:
            axes.set_xlabel(names[j])
        if j == 0:
            axes.set_ylabel(names[i])
    _legend(figure, {"data (above the diagonal)": DATA, "model (below)": MODEL})
    return figure


@rc_context(STYLE)
def marginals(
    samples: np.ndarray, reference: np.ndarray, names: Sequence[str], most: int = 24
) -> Figure:
    """Histograms of single coordinates, data and model on each other."""
    d = min(most, samples.shape[1])
    columns = min(4, d)
    rows = math.ceil(d / columns)
    box = box_of(reference[:, :d], 0.1)
    figure = Figure(figsize=(9.0, (1.7 if rows > 1 else 2.6) * rows + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for j, axes in enumerate(grid[:d]):
        histograms(axes, samples[:, j], reference[:, j], box, j)
        axes.set_title(names[j], fontsize=9, weight="normal", pad=3)
    for axes in grid[d:]:
        axes.set_axis_off()
    _legend(figure, {"data": DATA, "model": MODEL})
    return figure


@rc_context(STYLE)
def occupancy(masses: np.ndarray, sampled: np.ndarray, error: np.ndarray) -> Figure:
    """The share of the samples near each mode, beside the share it should hold.

    Args:
        masses: of the modes, shape (K,).
        sampled: shares of the samples.
        error: standard error of a share of exact samples; the whiskers are two of them.
    """
    k = np.arange(len(masses))
    figure, (axes,) = side_by_side(1, width=8.5, height=3.0)
    axes.bar(k - 0.2, 100 * masses, 0.38, color=DATA, label="should be")
    axes.bar(k + 0.2, 100 * sampled, 0.38, color=MODEL, label="sampled")
    axes.errorbar(
        k - 0.2, 100 * masses, 200 * error, fmt="none", ecolor=INK, elinewidth=1, capsize=2
    )
    axes.set(xlabel="mode", ylabel="share of the samples, %", xticks=k, xticklabels=k + 1)
    axes.set_ylim(0, 135 * max(masses.max(), sampled.max()))
    axes.legend(ncols=2, loc="upper right")
    axes.set_title("Every mode and its share (whiskers: chance, ± 2 standard errors)")
    return figure


@rc_context(STYLE)
def floors(scores: Mapping[str, tuple[float, float]]) -> Figure:
    """Distances of samples as multiples of their floors, what real data of the same size score.

    Args:
        scores: label to (score, floor), both positive.
    """
    ratios = [score / floor for score, floor in scores.values()]
    rows = np.arange(len(ratios))[::-1]
    figure, (axes,) = side_by_side(1, width=8.5, height=0.9 + 0.42 * len(ratios))
    axes.hlines(rows, 1, ratios, color=MODEL, lw=2.5, alpha=0.5)
    axes.plot(ratios, rows, "o", color=MODEL, ms=7)
    axes.axvline(1, color=DATA, lw=1.6)
    for row, ratio in zip(rows, ratios, strict=True):
        left = ratio < 1
        axes.annotate(
            f"{ratio:.2f}×",
            (ratio, row),
            xytext=(-9 if left else 9, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
        )
    axes.set(yticks=rows, yticklabels=list(scores), ylim=(-0.6, len(ratios) - 0.4))
    axes.set(xlim=(0, 1.15 * max(*ratios, 1.5)), xlabel="score ÷ floor")
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.set_title("Distance of the samples from held-out data (blue line: real data)")
    return figure


def _legend(figure: Figure, colors: Mapping[str, str]) -> None:
    handles = [figure.axes[0].fill_between([], [], color=c, label=n) for n, c in colors.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _grey_limits(reference: np.ndarray) -> tuple[float, float]:
    return float(reference.min()), float(reference.max())


def _tiles(
    figure: Any, images: np.ndarray, columns: int, rows: int, limits: tuple[float, float]
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image in zip(grid, images, strict=False):
        picture(axes, image, limits)
    for axes in grid[len(images) :]:
        axes.set_axis_off()
