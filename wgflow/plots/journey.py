"""The way of particles from a start to a given energy: where they are, and what was measured."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wgflow.plots.axes import aspect, dots, plane
from wgflow.plots.charts import Box, around
from wgflow.plots.style import DATA, INK, MODEL, PALETTE, STYLE, panels

SEEN = 1000
"""Points of a panel, at most."""

INNER = (0.02, 0.98)
"""Quantiles of points that a panel shows, before its margin."""

WIDEST = 3.5
"""Width of a panel over that of the samples, at most: where a start is far wider, it is cut."""

CURVES = {
    "Inverse temperature β": {"beta": "β"},
    "Effective sample size ÷ number": {"ess": "ESS"},
    "Acceptance rate": {"acceptance": "moves", "swaps": "exchanges"},
    "log Z at β, nats": {"log_z": "log Z"},
}
"""Titles of the curves, and the metrics of each with their labels."""

FRACTIONS = ("ess", "acceptance")
"""Metrics whose axes are from 0 to 1."""

SHARES_OF_MOVES = ("acceptance", "swaps")


class Sight(NamedTuple):
    """Points of a plane, or of a line, at some inverse temperatures.

    Attributes:
        names: of one or two coordinates.
        frames: of the particles, each (points, coordinates).
        samples: at the end, (count, coordinates).
    """

    names: tuple[str, ...]
    frames: Sequence[np.ndarray]
    samples: np.ndarray


@rc_context(STYLE)
def stages(betas: Sequence[float], sights: Sequence[Sight]) -> Figure:
    """Particles at inverse temperatures, one panel each, over those at the end; a row a sight.

    Args:
        betas: of the frames.
        sights: of the same frames.
    """
    boxes = [_box(sight) for sight in sights]
    tall = max(float(np.clip(aspect(b), 0.6, 1.4)) if len(b.low) == 2 else 0.7 for b in boxes)
    count = len(betas)
    figure, grid = panels(count * len(sights), count, width=1.75, height=1.6 * tall + 0.45)
    for row, (sight, box) in enumerate(zip(sights, boxes, strict=True)):
        line = grid[row * count : (row + 1) * count]
        for axes, beta, x in zip(line, betas, sight.frames, strict=True):
            _panel(axes, x, sight.samples, box)
            if row == 0:
                axes.set_title(_beta(beta), fontsize=9, weight="normal", pad=4)
            axes.set_xlabel(sight.names[0], fontsize=8.5)
            axes.set(xticks=[], yticks=[])
        if len(sight.names) == 2:
            line[0].set_ylabel(sight.names[1], fontsize=8.5)
    return figure


@rc_context(STYLE)
def along(metrics: Sequence[Mapping[str, float]], log_z: float = math.nan) -> Figure:
    """Inverse temperature, effective sample size, acceptance and ``log Z`` over the steps.

    Args:
        metrics: after each step, by name; where it is not finite there is no line.
        log_z: the final value, drawn as a level.

    Raises:
        ValueError: there are no metrics to draw.
    """
    shown = [title for title, own in CURVES.items() if any(_series(metrics, k) for k in own)]
    if len({row.get("beta") for row in metrics}) == 1:  # of replicas, which are at all at once
        shown = shown[1:]
    if not shown:
        raise ValueError(f"`metrics` must hold numbers of {list(CURVES)}: got none.")
    figure, grid = panels(len(shown), 4, width=2.6, height=2.2)
    for axes, title in zip(grid, shown, strict=True):
        _curves(axes, metrics, CURVES[title])
        axes.set_title(title, fontsize=9, pad=5)
        if "log_z" in CURVES[title] and math.isfinite(log_z):
            axes.axhline(log_z, color=DATA, lw=1.0)
        if "beta" in CURVES[title]:
            _scale(axes, metrics)
    return figure


def _curves(axes: Axes, metrics: Sequence[Mapping[str, float]], labels: Mapping[str, str]) -> None:
    """Metrics over the steps; dotted where particles begin anew, from a learned density."""
    found = {name: points for name in labels if (points := _series(metrics, name))}
    for color, (name, points) in zip(PALETTE, found.items(), strict=False):
        dot = "o" if len(points) == 1 else ""
        axes.plot(*zip(*points, strict=True), dot + "-", color=color, label=labels[name])
    if len(found) > 1:
        axes.legend(loc="best")
    numbers = [row.get("density", 0) for row in metrics]
    for step in range(1, len(numbers)):
        if numbers[step] != numbers[step - 1]:
            axes.axvline(step, color=INK, lw=0.6, ls=":")
    if set(labels) & {*FRACTIONS}:
        axes.set_ylim(0, 1.05)
    axes.set(xlabel="step", xlim=(0, max(1, len(metrics) - 1)))
    axes.grid(axis="y")


def _panel(axes: Axes, x: np.ndarray, samples: np.ndarray, box: Box) -> None:
    if x.shape[1] == 1:
        for points, color in ((samples, DATA), (x, MODEL)):
            options = {"range": (box.low[0], box.high[0]), "density": True, "color": color}
            axes.hist(points[:, 0], 40, **options, alpha=0.45)
        axes.set(xlim=(box.low[0], box.high[0]))
        return
    dots(axes, samples[:SEEN], DATA, 1.6)
    dots(axes, x[:SEEN], MODEL, 1.6)
    plane(axes, box, ("", ""))


def _box(sight: Sight) -> Box:
    """Around the samples, and around all of the way as far as samples are still seen."""
    low, high = np.quantile(sight.samples, INNER, axis=0)
    room = (WIDEST - 1) / 2 * (high - low)
    ends = np.stack([np.quantile(x, INNER, axis=0) for x in sight.frames])
    most = np.minimum(high + room, np.maximum(high, ends[:, 1].max(0)))
    least = np.maximum(low - room, np.minimum(low, ends[:, 0].min(0)))
    return around(least, most, 0.1)


def _series(metrics: Sequence[Mapping[str, float]], name: str) -> list[tuple[int, float]]:
    """Steps and finite values."""
    found = [(step, row[name]) for step, row in enumerate(metrics) if name in row]
    if name in SHARES_OF_MOVES:  # of which there are none before the first step, or at a start
        found = [(step, value) for step, value in found if step and metrics[step]["beta"] > 0]
    return [(step, value) for step, value in found if math.isfinite(value)]


def _scale(axes: Axes, metrics: Sequence[Mapping[str, float]]) -> None:
    """A logarithmic scale of β, but for a start at zero, where it is small for long."""
    positive = [beta for _, beta in _series(metrics, "beta") if beta > 0]
    if positive and max(positive) > 10 * min(positive):
        axes.set_yscale("symlog", linthresh=min(positive))
        axes.set_ylim(0, 1.5)
        axes.yaxis.set_major_formatter("{x:g}")


def _beta(beta: float) -> str:
    return f"β = {beta:.2g}"
