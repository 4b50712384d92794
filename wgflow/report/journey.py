"""The way of particles from a start to a given energy, as figures."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from wgflow import plots
from wgflow.metrics.columns import dependent_pairs
from wgflow.montecarlo.journey import Frame, Journey
from wgflow.plots.journey import SEEN, Sight
from wgflow.report.material import Way
from wgflow.report.template import attempt

PANELS = 6
"""Inverse temperatures that are shown, the last of which is 1."""


def journey(way: Way | None, columns: Sequence[str]) -> dict[str, Figure | str]:
    """A figure of the ``stages`` of the particles and one of what was measured ``along``.

    Args:
        way: of the particles; None where no energy was given.
        columns: names of the coordinates.
    """
    if way is None:
        return {}
    samples = way.samples[:SEEN]
    frames = chosen(way.journey)
    shown = [frame.x.double().numpy() for frame in frames] + [samples]
    betas = [frame.beta for frame in frames] + [1.0]
    seen = planes(way.samples, columns)
    sights = [Sight(names, [x @ a for x in shown], samples @ a) for names, a in seen]
    return {
        "stages": plots.stages(betas, sights),
        "along": attempt(lambda m: plots.along(m, way.log_z), way.journey.metrics),
    }


def chosen(journey: Journey) -> list[Frame]:
    """Frames on the first way to the target, evenly among its steps, without its end."""
    first: list[Frame] = []
    for frame in journey.frames:
        if frame.beta == 1 or (first and frame.beta < first[-1].beta):
            break
        first.append(frame)
    places = np.linspace(0, len(first) - 1, min(PANELS - 1, len(first))).round().astype(int)
    return [first[k] for k in np.unique(places)]


def planes(x: np.ndarray, columns: Sequence[str]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Names of coordinates and the matrix (d, 2) that gives them, of what is to be seen of x.

    The points themselves on the line and in the plane. Of more coordinates the first two principal
    axes, each coordinate over its deviation, and the pair of coordinates that depend most on each
    other.
    """
    d = x.shape[1]
    if d <= 2:
        return [(tuple(columns), np.eye(d))]
    scale = x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    axes = np.linalg.svd((x - x.mean(0)) / scale, full_matrices=False)[2][:2].T
    (pair,) = dependent_pairs(x, 1)
    names = tuple(columns[j] for j in pair)
    principal = ("first principal axis", "second principal axis")
    return [(principal, axes / scale[:, None]), (names, np.eye(d)[:, list(pair)])]
