"""Training curves of one run and of several."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wgflow.plots.style import PALETTE, STYLE, side_by_side


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
def compared_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """The relative entropy (or the NLL) of several runs over steps and over CPU seconds.

    Raises:
        ValueError: if no run recorded either.
    """
    keys = [key for key in ("kl", "nll") if any(len(_series(r, key)[0]) for r in runs.values())]
    if not keys:
        raise ValueError("A comparison needs curves: expected kl or nll in a run, got neither.")
    key = keys[0]
    figure, grid = side_by_side(2, width=10.0, height=3.6)
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
