"""Samples beside data: images, weights of modes, distances over floors."""

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from wgflow.plots.axes import picture
from wgflow.plots.style import DATA, INK, MODEL, STYLE, panels


@rc_context(STYLE)
def pictures(samples: np.ndarray, reference: np.ndarray, columns: int = 12) -> Figure:
    """Six rows of images of the model above two of the data: (n, channels, height, width)."""
    limits = float(reference.min()), float(reference.max())
    figure, grid = panels(8 * columns, columns, width=9.0 / columns, height=0.82)
    upper, lower = grid[: 6 * columns], grid[6 * columns :]
    for tiles, images, title, color in (
        (upper, samples, "Model samples", MODEL),
        (lower, reference, "Held-out data", DATA),
    ):
        for axes, image in zip(tiles, images, strict=False):
            picture(axes, image, limits)
        for spare in tiles[len(images) :]:
            spare.set_axis_off()
        tiles[0].set_title(title, color=color)
    return figure


@rc_context(STYLE)
def occupancy(weights: np.ndarray, sampled: np.ndarray, error: np.ndarray) -> Figure:
    """The weight of each mode, beside the fraction of the samples that are nearest to it.

    Args:
        weights: of the modes, shape (K,).
        sampled: fractions of the samples.
        error: standard error of the fractions of exact samples; the whiskers are two of them.
    """
    k = np.arange(len(weights))
    figure, (axes,) = panels(1, 1, width=8.5, height=3.0)
    whiskers = {"ecolor": INK, "capsize": 2, "error_kw": {"elinewidth": 1}}
    axes.bar(
        k - 0.2, 100 * weights, 0.38, yerr=200 * error, color=DATA, label="true weight", **whiskers
    )
    axes.bar(k + 0.2, 100 * sampled, 0.38, color=MODEL, label="model samples")
    axes.set(xlabel="mode", ylabel="fraction, %", xticks=k, xticklabels=k + 1)
    axes.set_ylim(0, 135 * max(weights.max(), sampled.max()))
    axes.legend(ncols=2, loc="upper right")
    axes.set_title("Mode weights (whiskers: ± 2 standard errors of exact samples)")
    return figure


@rc_context(STYLE)
def floors(scores: Mapping[str, tuple[float, float]]) -> Figure:
    """Distances of samples from held-out data, divided by those of exact samples.

    Args:
        scores: label to (score, floor), both positive.
    """
    ratios = [score / floor for score, floor in scores.values()]
    rows = np.arange(len(ratios))[::-1]
    figure, (axes,) = panels(1, 1, width=8.5, height=0.9 + 0.42 * len(ratios))
    axes.hlines(rows, 1, ratios, color=MODEL, lw=2.5, alpha=0.5)
    axes.plot(ratios, rows, "o", color=MODEL, ms=7)
    axes.axvline(1, color=DATA, lw=1.6)
    for row, ratio in zip(rows, ratios, strict=True):
        offset, side = (-9, "right") if ratio < 1 else (9, "left")
        place = {"xytext": (offset, 0), "textcoords": "offset points"}
        axes.annotate(f"{ratio:.2f}×", (ratio, row), **place, va="center", ha=side)
    axes.set(yticks=rows, yticklabels=list(scores), ylim=(-0.6, len(ratios) - 0.4))
    axes.set(xlim=(0, 1.15 * max(*ratios, 1.5)), xlabel="score ÷ floor")
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.set_title("Distance to held-out data (blue line: exact samples)")
    return figure
