"""Figures of one run and of several: arrays and energies in, matplotlib figures out.

Every function builds a fresh `Figure` and leaves no global state behind. One colour means one
thing throughout: blue is the data, orange is the model. Titles say what is seen.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from wgflow.energy import Energy
from wgflow.grid import Grid, log_density, tabulate

INK, FAINT, PAPER = "#1d2433", "#8b93a3", "#ffffff"
DATA, MODEL = "#2f6f9f", "#d9622b"
PALETTE = (MODEL, DATA, "#3f8f6b", "#8a5aa8", "#b8902a", "#5b6472", "#c24d78", "#2b9aa6")
DENSITY = LinearSegmentedColormap.from_list(
    "density", [PAPER, "#dfebf2", "#9dc3d9", "#4f8fb8", "#245e8e", "#0f2f54"]
)
EXCESS = LinearSegmentedColormap.from_list(
    "excess", ["#1f5582", "#8fb8d3", PAPER, "#eda47d", MODEL]
)
TRUTH = "True density"
PAIRS = 5  # coordinates that a scatter matrix shows
DEPTH = 12.0  # nats of energy above the deepest valley that a landscape shows

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
}


class Box(NamedTuple):
    """Two opposite corners, each of shape (d,)."""

    low: np.ndarray
    high: np.ndarray


class Panel(NamedTuple):
    """One small chart of the training curves: what is drawn, on which scale, under which title."""

    title: str
    lines: Mapping[str, str]
    scale: str = "linear"


PANELS = (
    Panel("Global relative entropy, nats", {"kl": "KL(data‖model)"}, "log"),
    Panel("Energy matching, per coordinate", {"matching": "squared error"}, "log"),
    Panel("Held-out cost, nats per point", {"nll": "negative log-likelihood"}),
    Panel("Dissipation, nats per unit of time", {"dissipation": "dissipation"}, "log"),
    Panel("Effective share of the particles", {"ess": "training", "held_out_ess": "held out"}),
    Panel(
        "Accepted proposals",
        {"acceptance": "local (MALA)", "global_acceptance": "global"},
    ),
    Panel("Step size of the sampler", {"step_size": "step"}, "log"),
    Panel("Energy gap, particles − data, nats", {"energy_gap": "gap"}),
    Panel("Normaliser, nats", {"held_out_log_z": "log Z"}),
    Panel("Inner steps of the optimiser", {"inner_steps": "steps"}),
)


@dataclass(frozen=True, eq=False)
class Chart:
    """Numbers on a regular grid of the line or the plane.

    Args:
        axes: one array per dimension, the coordinates of the nodes.
        values: of shape ``(len(axes[0]), ...)``.
    """

    axes: tuple[np.ndarray, ...]
    values: np.ndarray

    @property
    def box(self) -> Box:
        """The outer walls of the cells at both ends."""
        halves = [(a[1] - a[0]) / 2 for a in self.axes]
        ends = zip(self.axes, halves, strict=True)
        walls = np.array([(a[0] - h, a[-1] + h) for a, h in ends])
        return Box(walls[:, 0], walls[:, 1])

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Chart":
        """The same nodes with other values."""
        return Chart(self.axes, function(self.values))


def box_of(x: np.ndarray, margin: float = 0.2) -> Box:
    """A box around all but the outermost points of (n, d), wider by a share of its width."""
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    wider = margin * np.maximum(high - low, 1e-12)
    return Box(low - wider, high + wider)


def tabulated(
    function: Callable[[Tensor], Tensor],
    box: Box,
    points: int = 200,
    *,
    dtype: torch.dtype = torch.float64,
) -> Chart:
    """A function of points (batch, d), d = 1 or 2, at the nodes of a box."""
    grid = _grid(box, points, dtype)
    return _chart(tabulate(function, grid.nodes, grid.chunk), grid, box, points)


def density_of(
    energy: Energy, box: Box, points: int = 200, *, dtype: torch.dtype = torch.float64
) -> Chart:
    """The density ``e^{-E}/Z`` at the nodes of a box, normalised on it."""
    grid = _grid(box, points, dtype)
    return _chart(log_density(energy, grid).exp(), grid, box, points)


def png(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as the bytes of a PNG file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


# One run ---------------------------------------------------------------------------------------


@rc_context(STYLE)
def landscape(energy: Chart, names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """The energy above its deepest valley: a curve, or filled contours where valleys are dark."""
    height = energy.map(lambda e: np.minimum(e - e.min(), DEPTH))
    if len(energy.axes) == 1:
        figure, (axes,) = _row(1, width=8.5, height=3.2)
        axes.fill_between(energy.axes[0], height.values, DEPTH, color=MODEL, alpha=0.12, lw=0)
        axes.plot(energy.axes[0], height.values, color=MODEL)
        axes.set(xlabel=names[0], ylabel="E − min E, nats", ylim=(0, DEPTH), xlim=_ends(energy, 0))
    else:
        figure, (axes,) = _row(1, width=6.2, height=5.2)
        levels = np.linspace(0, DEPTH, 25)
        mesh = axes.contourf(*energy.axes, height.values.T, levels, cmap=DENSITY.reversed())
        axes.contour(*energy.axes, height.values.T, levels[:-1:2], colors=PAPER, linewidths=0.4)
        _plane(axes, energy.box, names)
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
    figure, (axes,) = _row(1, width=5.6, height=4.6)
    _density(axes, learned, names, float(learned.values.max()))
    axes.set_title("Learned density")
    return figure


@rc_context(STYLE)
def scatter(x: np.ndarray, true: Chart, names: Sequence[str] = ("x₁", "x₂")) -> Figure:
    """Samples of the model over a density: dots in the plane, a histogram on the line."""
    if len(true.axes) == 1:
        figure, (axes,) = _row(1, width=8.5, height=3.2)
        axes.hist(
            x[:, 0],
            _bins(*_ends(true, 0), 60),
            density=True,
            color=MODEL,
            alpha=0.45,
            label="samples",
        )
        axes.plot(true.axes[0], true.values, color=DATA, label="density")
        axes.set(xlabel=names[0], ylabel="density", xlim=_ends(true, 0))
        axes.legend()
    else:
        figure, (axes,) = _row(1, width=5.6, height=5.0)
        _density(axes, true, names, 1.6 * float(true.values.max()))
        _dots(axes, x[:2000], MODEL, 4.0)
    axes.set_title(f"{min(len(x), 2000):,} fresh samples over the density")
    return figure


@rc_context(STYLE)
def curves(records: Sequence[Mapping[str, Any]], panels: Sequence[Panel] = PANELS) -> Figure:
    """Training curves, one small chart per quantity that was recorded.

    Raises:
        ValueError: if no panel has anything to draw.
    """
    found = [panel for panel in panels if any(len(_series(records, k)[0]) for k in panel.lines)]
    if not found:
        known = sorted(key for panel in panels for key in panel.lines)
        raise ValueError(
            f"Training curves need records: expected one of {known}, got none in {len(records)}."
        )
    columns = min(3, len(found))
    rows = math.ceil(len(found) / columns)
    figure = Figure(figsize=(3.35 * columns, 2.35 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, found, strict=False):
        _panel(axes, records, panel)
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(found) - columns) : len(found)]:
        axes.set_xlabel("learning step")
    return figure


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
            _histograms(axes, samples[:, i], reference[:, i], box, i)
        else:
            _dots(axes, source[:1000][:, [j, i]], color, 3.0)
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
        _histograms(axes, samples[:, j], reference[:, j], box, j)
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
    figure, (axes,) = _row(1, width=8.5, height=3.0)
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
    figure, (axes,) = _row(1, width=8.5, height=0.9 + 0.42 * len(ratios))
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
    height = 1.9 * float(np.clip(_aspect(box), 0.5, 1.5)) + 0.3
    figure = Figure(figsize=(6.0, 2 * height))
    grid = figure.subplots(2, 3).ravel()
    for axes, k in zip(grid, chosen, strict=False):
        if below is not None:
            _density(axes, below, ("", ""), 1.6 * float(below.values.max()))
        if data is not None:
            _dots(axes, data[:600], DATA, 2.2)
        _dots(axes, frames[k][:600], MODEL, 2.2)
        _plane(axes, box, ("", ""))
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
        _image(axes, frames[chosen[i], j], limits)
        if j == 0:
            label = f"{steps[chosen[i]]:,}"
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
    return figure


# Several runs ----------------------------------------------------------------------------------


@rc_context(STYLE)
def compared_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """The relative entropy (or the NLL) of several runs over steps and over CPU seconds.

    Raises:
        ValueError: if no run recorded either.
    """
    keys = [key for key in ("kl", "nll") if any(len(_series(r, key)[0]) for r in runs.values())]
    if not keys:
        raise ValueError("A comparison needs curves: expected kl or nll in a run, got neither.")
    key = keys[0]
    figure, grid = _row(2, width=10.0, height=3.6)
    for axes, clock in zip(grid, ("step", "cpu_seconds"), strict=True):
        for j, (name, records) in enumerate(runs.items()):
            axes.plot(*_series(records, key, clock), color=_color(j), label=name)
        if key == "kl":
            axes.set_yscale("log")
        axes.grid(axis="y")
    label = "KL(data‖model), nats" if key == "kl" else "negative log-likelihood, nats"
    grid[0].set(xlabel="learning step", ylabel=label, title="By learning step")
    grid[1].set(xlabel="CPU seconds", title="By computing time")
    grid[1].legend()
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
        _density(axes, chart, names, top)
        axes.set_title(name, fontsize=9)
        axes.label_outer()
    for axes in grid[len(charts) :]:
        axes.set_axis_off()
    return figure


# Parts -----------------------------------------------------------------------------------------


def _grid(box: Box, points: int, dtype: torch.dtype) -> Grid:
    return Grid.box(box.low.tolist(), box.high.tolist(), points, dtype=dtype)


def _chart(values: Tensor, grid: Grid, box: Box, points: int) -> Chart:
    d = grid.nodes.shape[1]
    middles = (np.arange(points) + 0.5) / points
    axes = tuple(low + (high - low) * middles for low, high in zip(*box, strict=True))
    return Chart(axes, values.cpu().numpy().reshape((points,) * d))


def _row(count: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _ends(chart: Chart, axis: int) -> tuple[float, float]:
    return float(chart.box.low[axis]), float(chart.box.high[axis])


def _aspect(box: Box) -> float:
    width, height = box.high - box.low
    return height / width


def _bins(low: float, high: float, count: int) -> list[float]:
    return np.linspace(low, high, count + 1).tolist()


def _plane(axes: Axes, box: Box, names: Sequence[str]) -> None:
    axes.set(xlim=(box.low[0], box.high[0]), ylim=(box.low[1], box.high[1]))
    axes.set(xlabel=names[0], ylabel=names[1])
    # One unit looks equally long on both axes, unless that would make a sliver.
    axes.set_aspect("equal" if 0.25 < _aspect(box) < 4 else "auto")
    axes.set_axisbelow(True)


def _density(axes: Axes, chart: Chart, names: Sequence[str], top: float) -> Any:
    if len(chart.axes) == 1:
        axes.fill_between(chart.axes[0], chart.values, color=DATA, alpha=0.2, lw=0)
        axes.plot(chart.axes[0], chart.values, color=DATA)
        return axes.set(xlabel=names[0], xlim=_ends(chart, 0), ylim=(0, 1.1 * top))
    (left, bottom), (right, upper) = chart.box
    image = axes.imshow(
        chart.values.T,
        origin="lower",
        extent=(left, right, bottom, upper),
        cmap=DENSITY,
        vmin=0,
        vmax=top,
        interpolation="bilinear",
    )
    _plane(axes, chart.box, names)
    return image


def _densities_2d(true: Chart, learned: Chart, names: Sequence[str], truth: str) -> Figure:
    difference = learned.values - true.values
    # Extreme cells (a sharp edge missed) must not wash out the rest of the picture.
    top = float(np.quantile(true.values, 0.999))
    most = max(float(np.quantile(np.abs(difference), 0.999)), 0.02 * top)
    figure, grid = _row(3, width=10.0, height=3.7)
    _density(grid[0], true, names, top)
    image = _density(grid[1], learned, names, top)
    norm = TwoSlopeNorm(0, -most, most)
    (left, bottom), (right, upper) = true.box
    extent = (left, right, bottom, upper)
    gap = grid[2].imshow(difference.T, origin="lower", extent=extent, cmap=EXCESS, norm=norm)
    _plane(grid[2], true.box, names)
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
    lower.set(xlabel=names[0], ylabel="difference", xlim=_ends(true, 0))
    return figure


def _series(
    records: Sequence[Mapping[str, Any]], key: str, clock: str = "step"
) -> tuple[np.ndarray, np.ndarray]:
    """Times and finite values of one metric over the records that hold it."""
    points = [(r[clock], r[key]) for r in records if _is_number(r.get(key)) and clock in r]
    times, values = np.array(points, dtype=float).reshape(-1, 2).T
    return times, values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _panel(axes: Axes, records: Sequence[Mapping[str, Any]], panel: Panel) -> None:
    for j, (key, label) in enumerate(panel.lines.items()):
        times, values = _series(records, key)
        if not len(times):
            continue
        noisy = len(times) > 60
        axes.plot(times, values, color=_color(j), alpha=0.25 if noisy else 1.0, lw=1)
        if noisy:
            axes.plot(times, _smooth(values, len(values) // 30), color=_color(j))
        axes.plot([], [], color=_color(j), label=label)
        if panel.scale == "log" and values.max() > 10 * values.min() > 0:
            axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=9, pad=5)
    axes.grid(axis="y")
    axes.margins(x=0.02)
    if len(panel.lines) > 1:
        axes.legend(loc="best")


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The running median over an odd window, shorter at the ends: spikes do not smear."""
    half = max(1, width // 2)
    windows = [values[max(0, k - half) : k + half + 1] for k in range(len(values))]
    return np.array([np.median(w) for w in windows])


def _color(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _dots(axes: Axes, x: np.ndarray, color: str, size: float) -> None:
    axes.scatter(x[:, 0], x[:, 1], s=size, color=color, alpha=0.55, lw=0)


def _histograms(axes: Axes, x: np.ndarray, y: np.ndarray, box: Box, axis: int) -> None:
    low, high = float(box.low[axis]), float(box.high[axis])
    bins = _bins(low, high, 30)
    for values, color in ((y, DATA), (x, MODEL)):
        inside = values[(values >= low) & (values <= high)]
        share = np.full(len(inside), 1 / len(values))
        axes.hist(inside, bins, weights=share, color=color, alpha=0.25)
        axes.hist(inside, bins, weights=share, color=color, histtype="step", lw=1.2)
    axes.set(yticks=[])


def _legend(figure: Figure, colors: Mapping[str, str]) -> None:
    handles = [figure.axes[0].fill_between([], [], color=c, label=n) for n, c in colors.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _grey_limits(reference: np.ndarray) -> tuple[float, float]:
    return float(reference.min()), float(reference.max())


def _image(axes: Axes, image: np.ndarray, limits: tuple[float, float]) -> None:
    low, high = limits
    channels = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    shown = channels[0] if len(channels) != 3 else np.moveaxis(channels, 0, -1)
    axes.imshow(shown, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#e8ebf0")


def _tiles(
    figure: Any, images: np.ndarray, columns: int, rows: int, limits: tuple[float, float]
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image in zip(grid, images, strict=False):
        _image(axes, image, limits)
    for axes in grid[len(images) :]:
        axes.set_axis_off()


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices from the first to the last, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
