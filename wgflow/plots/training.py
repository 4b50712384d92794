"""Training curves of one run and of several."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import median_filter

from wgflow.plots.style import PALETTE, STYLE, panels

Records = Sequence[Mapping[str, Any]]
"""Metrics by name, one mapping per logged step."""


class Panel(NamedTuple):
    """One chart of the training curves: its title, metrics by label, and scale."""

    title: str
    lines: Mapping[str, str]
    scale: str = "linear"


PANELS = (
    Panel("KL(data‖model), nats", {"kl": "KL(data‖model)"}, "log"),
    Panel("Matching loss per coordinate", {"matching": "squared error"}, "log"),
    Panel("Held-out NLL, nats per point", {"nll": "negative log-likelihood"}),
    Panel("Dissipation rate, nats per unit time", {"dissipation": "dissipation rate"}, "log"),
    Panel(
        "Effective sample size, fraction",
        {"ess": "training", "held_out_ess": "held-out", "reference_ess": "of the reference"},
    ),
    Panel("Acceptance rate", {"acceptance": "local moves", "global_acceptance": "global moves"}),
    Panel("Step size of the sampler", {"step_size": "step size"}, "log"),
    Panel("Mean energy, data − particles, nats", {"energy_gap": "difference"}),
    Panel("log Z, held-out particles, nats", {"held_out_log_z": "log Z"}),
    Panel("Optimiser steps per training step", {"inner_steps": "optimiser steps"}),
)
AXES = {"kl": "KL(data‖model), nats", "nll": "held-out NLL, nats per point"}


@rc_context(STYLE)
def curves(records: Records, shown: Sequence[Panel] = PANELS) -> Figure:
    """Training curves, one panel per quantity that was recorded.

    Raises:
        ValueError: if no panel has anything to draw.
    """
    found = [panel for panel in shown if any(len(_series(records, k)[0]) for k in panel.lines)]
    if not found:
        known = sorted(key for panel in shown for key in panel.lines)
        raise ValueError(f"`records` must hold one of {known}: got none in {len(records)}.")
    figure, grid = panels(len(found), 3, width=3.35, height=2.35)
    for axes, panel in zip(grid, found, strict=True):
        _panel(axes, records, panel)
    for axes in grid[-3:]:
        axes.set_xlabel("training step")
    return figure


@rc_context(STYLE)
def compared_curves(runs: Mapping[str, Records]) -> Figure:
    """KL(data‖model), or the NLL, of several runs over steps and over CPU seconds.

    Raises:
        ValueError: if no run recorded either.
    """
    keys = [key for key in AXES if any(len(_series(r, key)[0]) for r in runs.values())]
    if not keys:
        raise ValueError("`runs` must have recorded kl or nll: got neither.")
    figure, grid = panels(2, 2, width=5.0, height=3.6)
    for axes, clock in zip(grid, ("step", "cpu_seconds"), strict=True):
        for j, (name, records) in enumerate(runs.items()):
            axes.plot(*_series(records, keys[0], clock), color=_color(j), label=name)
        axes.set_yscale("log" if keys[0] == "kl" else "linear")
        axes.grid(axis="y")
    grid[0].set(xlabel="training step", ylabel=AXES[keys[0]])
    grid[1].set(xlabel="CPU time, s")
    grid[1].legend()
    return figure


def _series(records: Records, key: str, clock: str = "step") -> tuple[np.ndarray, np.ndarray]:
    """Times and finite values of one metric over the records that hold it."""
    numbers = [r for r in records if isinstance(r.get(key), int | float) and clock in r]
    points = [(r[clock], r[key]) for r in numbers if math.isfinite(r[key])]
    times, values = np.array(points, dtype=float).reshape(-1, 2).T
    return times, values


def _panel(axes: Axes, records: Records, panel: Panel) -> None:
    for j, (key, label) in enumerate(panel.lines.items()):
        times, values = _series(records, key)
        if not len(times):
            continue
        noisy, dot = len(times) > 60, "o" if len(times) == 1 else ""
        axes.plot(times, values, dot + "-", color=_color(j), alpha=0.25 if noisy else 1.0, lw=1)
        if noisy:
            window = len(values) // 30 | 1  # a running median, for which spikes do not smear
            axes.plot(times, median_filter(values, window, mode="nearest"), color=_color(j))
        axes.plot([], [], color=_color(j), label=label)
        if panel.scale == "log" and values.max() > 10 * values.min() > 0:
            axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=9, pad=5)
    axes.grid(axis="y")
    axes.margins(x=0.02)
    if len(panel.lines) > 1:
        axes.legend(loc="best")


def _color(index: int) -> str:
    return PALETTE[index % len(PALETTE)]
