"""Particles from disorder to the data: a player, and moments of it."""

import base64
import io
import json
from typing import NamedTuple

import numpy as np
from PIL import Image

from wgflow import plots
from wgflow.plots import Box, Chart
from wgflow.report import markup
from wgflow.report.markup import Section
from wgflow.report.material import Film, Material, vectors


class Projection(NamedTuple):
    """Points of the plane that stand for the particles and the data, and the box shown."""

    frames: np.ndarray
    data: np.ndarray
    box: Box
    meaning: str


def motion_section(material: Material) -> Section:
    """The section that shows the particles move."""
    film, title = material.film, "Particles, from disorder to the data"
    if film is None:
        return markup.absent("motion", title, "frames.npz")
    if material.pictorial:
        limits = float(material.reference.min()), float(material.reference.max())
        strip = plots.filmstrip(film.steps, film.x, limits)
        note = f"Each column is one particle; time runs downwards, by {film.clock}."
        return Section(
            "motion", title, markup.note(note) + markup.figure(strip, "Particles over time")
        )
    shown = _project(material, film)
    ground = material.view.true if material.view and shown.frames.shape[2] == 2 else None
    flat = ground if ground is not None and len(ground.axes) == 2 else None
    moments = plots.moments(film.steps, shown.frames, shown.box, flat, data=shown.data)
    parts = [
        _player(film.steps, shown, ground),
        markup.figure(moments, "Six moments of the particles"),
    ]
    return Section("motion", title, markup.note(shown.meaning) + markup.pair(parts))


def _project(material: Material, film: Film) -> Projection:
    """Points of a line get random heights; many dimensions are seen in their widest plane."""
    frames, data = film.x.reshape(*film.x.shape[:2], -1), vectors(material.reference)[:600]
    orange = "Orange: particles of the model. Blue: the data."
    if frames.shape[2] == 1:
        heights = np.random.default_rng(0).random(frames.shape[1])
        lifted = np.concatenate([frames, np.tile(heights[:, None], (len(frames), 1, 1))], 2)
        low, high = plots.box_of(vectors(material.reference))
        box = Box(np.array([low[0], 0.0]), np.array([high[0], 1.0]))
        return Projection(lifted, np.zeros((0, 2)), box, f"{orange} Heights are only for sight.")
    if frames.shape[2] == 2:
        box = material.view.learned.box if material.view else plots.box_of(data)
        seen = data if material.view is None else data[:0]
        return Projection(frames, seen, box, orange)
    center, scale = data.mean(0), data.std(0)
    plane = np.linalg.svd((data - center) / scale, full_matrices=False)[2][:2].T
    flat = ((data - center) / scale) @ plane
    note = f"{orange} Seen in the plane in which the standardised data are widest."
    return Projection(((frames - center) / scale) @ plane, flat, plots.box_of(flat), note)


def _player(steps: np.ndarray, shown: Projection, ground: Chart | None) -> str:
    frames = shown.frames[:, :800]
    film = {
        "steps": [int(step) for step in steps],
        "particles": frames.shape[1],
        "frames": packed(frames, shown.box),
        "data": packed(shown.data, shown.box),
        "ground": None if ground is None else _ground(ground),
    }
    width, height = shown.box.high - shown.box.low
    tall = height / width if 0.25 < height / width < 4 else 1.0
    tall = 0.3 if ground is not None and len(ground.axes) == 1 else tall
    return (
        '<div class="player">'
        f'<canvas width="960" height="{round(960 * tall)}" role="img" '
        'aria-label="Particles moving from disorder to the data"></canvas>'
        '<div class="controls"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{len(steps) - 1}" value="{len(steps) - 1}" '
        'aria-label="Moment"><output></output></div>'
        f'<script type="application/json">{json.dumps(film)}</script></div>'
    )


def packed(points: np.ndarray, box: Box) -> str:
    """Points (..., 2) as int16 within the box, base64; -32768 says that a point is outside."""
    share = 2 * (points - box.low) / (box.high - box.low) - 1
    inside = (np.abs(share) <= 1).all(-1, keepdims=True)
    whole = np.where(inside, np.rint(32767 * np.where(inside, share, 0)), -32768)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")


def _ground(chart: Chart) -> str:
    """A pale picture of a density, as a data URI; a strip for a density of the line."""
    values = chart.values if chart.values.ndim == 2 else chart.values[:, None]
    shade = plots.DENSITY(0.6 * np.clip(values / np.quantile(values, 0.999), 0, 1))
    image = Image.fromarray(np.uint8(255 * shade[..., :3].swapaxes(0, 1)[::-1]))
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return markup.uri(buffer.getvalue())
