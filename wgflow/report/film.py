"""The particles over time: an animation, and six frames of it."""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from matplotlib.image import imsave

from wgflow import plots
from wgflow.plots import Box, Chart
from wgflow.report.material import Film, Material, View, vectors
from wgflow.report.template import data_uri

FEW = 2
"""Rows that neither span a plane nor show where the particles are."""


class Projection(NamedTuple):
    """Points of the plane that stand for the particles and the data, and the box shown."""

    frames: np.ndarray
    data: np.ndarray
    box: Box


def motion(material: Material) -> dict[str, Any]:
    """A figure of ``frames``; of vectors the ``film`` of the player too, and its ``height``."""
    film, view = material.film, material.view
    if film is None:
        return {}
    if material.pictorial:
        limits = float(material.reference.min()), float(material.reference.max())
        return {"frames": plots.filmstrip(film.steps, film.x, limits)}
    shown = _project(material, film)
    flat = view.true if view and material.dimension == 2 else None
    ratio = 0.3 if material.dimension == 1 else plots.aspect(shown.box)
    return {
        "frames": plots.moments(film.steps, shown.frames, shown.box, flat, data=shown.data),
        "film": _player(film.steps, shown, view),
        "height": round(960 * (ratio if 0.25 < ratio < 4 else 1.0)),
    }


def _project(material: Material, film: Film) -> Projection:
    """Points of a line get random heights; many dimensions are seen in their widest plane."""
    frames, data = film.x.reshape(*film.x.shape[:2], -1), vectors(material.reference)[:600]
    cloud = data if len(data) > FEW else frames[-1]
    if material.dimension == 1:
        heights = np.random.default_rng(0).random(frames.shape[1])
        lifted = np.concatenate([frames, np.tile(heights[:, None], (len(frames), 1, 1))], 2)
        low, high = plots.box_of(cloud)
        box = Box(np.array([low[0], 0.0]), np.array([high[0], 1.0]))
        return Projection(lifted, np.zeros((0, 2)), box)
    if material.dimension == 2:
        box = material.view.learned.box if material.view else plots.box_of(cloud)
        return Projection(frames, data[:0] if material.view else data, box)
    center, scale = cloud.mean(0), cloud.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    plane = np.linalg.svd((cloud - center) / scale, full_matrices=False)[2][:2].T
    flat, around, moving = ((x - center) / scale @ plane for x in (data, cloud, frames))
    return Projection(moving, flat, plots.box_of(around))


def _player(steps: np.ndarray, shown: Projection, view: View | None) -> dict[str, Any]:
    """What ``report.js`` reads."""
    frames = shown.frames[:, :800]
    return {
        "steps": [int(step) for step in steps],
        "particles": frames.shape[1],
        "frames": packed(frames, shown.box),
        "data": packed(shown.data, shown.box),
        "ground": None if view is None else _ground(view.true),
    }


def packed(points: np.ndarray, box: Box) -> str:
    """Points (..., 2) as int16 within the box, base64; -32768 says that a point is outside."""
    share = 2 * (points - box.low) / (box.high - box.low) - 1
    inside = (np.abs(share) <= 1).all(-1, keepdims=True)
    whole = np.where(inside, np.rint(32767 * np.where(inside, share, 0)), -32768)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")


def _ground(chart: Chart) -> str:
    """A pale picture of a density, as a data URI; a strip for a density of the line."""
    top = float(np.quantile(chart.values, 0.999))
    values, buffer = np.atleast_2d(np.minimum(chart.values, top).T), io.BytesIO()
    scale = {"vmin": 0, "vmax": top / 0.6, "cmap": plots.DENSITY}
    imsave(buffer, values, origin="lower", format="png", **scale)
    return data_uri(buffer.getvalue())
