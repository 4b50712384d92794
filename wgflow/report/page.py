"""The page of one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from wgflow import plots
from wgflow.metrics.columns import dependent_pairs, kolmogorov, kolmogorov_floor
from wgflow.report.film import motion
from wgflow.report.journey import journey
from wgflow.report.material import Material, gather, vectors
from wgflow.report.scores import SCORES, tabulate, written
from wgflow.report.template import attempt, fill, rounded
from wgflow.report.verdict import verdict
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.storage import folder

PAIRS = 6
"""Pairs of columns that are drawn, at most."""

TILES = ("kl", "nll", "nll_gaussian", "sliced_w2", "temperature")

TRANSPORTS = ("sliced_w2", "w2")  # with a positive floor, so that a ratio makes sense


class Shown(NamedTuple):
    """A figure with its alternative text and its caption."""

    figure: Figure
    alt: str
    caption: str = ""


def write_report(run: Run | Path | str) -> Path:
    """Write ``report.html`` into the folder of a run, atomically, and return where it is.

    Args:
        run: a run, or its folder.

    Raises:
        ValueError: there is no run, or its folder cannot be written to.
    """
    folder.check_writable(run.path if isinstance(run, Run) else Path(run))
    run = run if isinstance(run, Run) else load(run)
    page = run.path / folder.REPORT
    folder.write_text(page, render(gather(run)))
    return page


def render(material: Material) -> str:
    """The page of one run, as HTML."""
    grade, sentences = verdict(material)
    scores = material.scores or {}
    return fill(
        "report.html",
        sections=_sections(material),
        missing=_missing(material),
        material=material,
        grade=grade,
        verdict=sentences,
        tiles=_tiles(material),
        scores=tabulate([scores]),
        floors=_floors(scores),
        occupancy=plots.occupancy(*material.occupancy) if material.occupancy else None,
        samples=_samples(material),
        curves=attempt(plots.curves, material.records),
        events=dict.fromkeys(k for event in material.events for k in event if k != "metrics"),
        **_densities(material),
        **motion(material),
        **journey(material.way, material.names),
    )


def figures(material: Material) -> dict[str, Shown]:
    """The figures of the density and of samples, by short names."""
    found = _densities(material)
    titles = {
        "densities": "Density, learned density and their difference",
        "landscape": "Learned energy",
        "scatter": "Model samples over the density",
    }
    shown = {key: Shown(figure, titles[key]) for key, figure in found.items() if figure}
    return shown | {f"samples-{k}": s for k, s in enumerate(_samples(material), 1)}


def _sections(material: Material) -> dict[str, str]:
    """Titles of the sections that have something to show, by their keys."""
    sections = {
        "journey": ("From the start to the energy", material.way),
        "density": ("Learned density", material.view),
        "samples": ("Samples", material.samples is not None),
        "scores": ("Scores", material.scores),
        "motion": ("Particle trajectories", material.film),
        "training": ("Training", material.records),
        "health": ("Health", material.events),
        "configuration": ("Configuration", material.config),
        "environment": ("Environment", material.environment),
    }
    return {key: title for key, (title, shown) in sections.items() if shown}


def _missing(material: Material) -> list[str]:
    """Names of files that the page would show."""
    files = {
        folder.SCORES: material.scores,
        folder.SAMPLES: material.samples is not None,
        folder.FRAMES: material.film,
        folder.METRICS: material.records,
    }
    return [name for name, there in files.items() if not there]


def _tiles(material: Material) -> list[tuple[str, str]]:
    scores = material.scores or {}
    last = material.records[-1] if material.records else {}
    graded = [key for key in TILES if key in scores]
    tiles = [(written(scores, key), SCORES[key].label) for key in graded]
    if type(last.get("cpu_seconds")) in (int, float):
        tiles.append((f"{last['cpu_seconds']:.0f} s", "CPU time of training"))
    if type(last.get("step")) is int:
        tiles.append((f"{last['step']:,}", "Training steps"))
    return tiles


def _floors(scores: Mapping[str, float]) -> Figure | None:
    pairs = {key: (scores.get(key, 0.0), scores.get(f"{key}_floor", 0.0)) for key in TRANSPORTS}
    positive = {SCORES[key].label: pair for key, pair in pairs.items() if min(pair) > 0}
    return plots.floors(positive) if positive else None


def _densities(material: Material) -> dict[str, Figure | None]:
    view, names, x = material.view, material.names, material.samples
    if view is None:
        return {}
    return {
        "densities": plots.densities(view.true, view.learned, names, truth=view.truth),
        "landscape": plots.landscape(view.energy, names),
        "scatter": None if x is None else plots.scatter(vectors(x), view.true, names),
    }


def _samples(material: Material) -> list[Shown]:
    samples, reference, names = material.samples, material.reference, material.names
    if samples is None:
        return []
    if material.pictorial:
        return [Shown(plots.pictures(samples, reference), "Images of the model and of the data")]
    x, y = vectors(samples), vectors(reference)
    pairs = _pairs(x, y, names) if material.dimension > 2 else []
    return [*pairs, _columns(x, y, names)]


def _pairs(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> list[Shown]:
    figure = plots.contours(x, y, names, dependent_pairs(y, PAIRS))
    shares = ", ".join(f"{100 * share:g}" for share in plots.MASSES)
    caption = (
        "The pairs of columns that depend on each other most, held-out data and beside them the "
        f"model. Contours enclose {shares} % of the points of each."
    )
    return [Shown(figure, "Densities of pairs of columns", caption)]


def _columns(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> Shown:
    distances, floor = kolmogorov(x, y), kolmogorov_floor(len(x), len(y))
    caption = (
        "Beside each name the Kolmogorov distance of samples from held-out data, between 0 and 1. "
        f"Exact samples score {rounded(floor)} on average; orange marks more than {plots.POOR} "
        "times as much, as one exact column in a thousand has."
    )
    if len(distances) > plots.COLUMNS:
        caption += f" Of {len(distances)} columns those of the largest distances are shown."
    return Shown(plots.columns(x, y, names, distances, floor), "Histograms of columns", caption)
