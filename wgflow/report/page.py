"""The page of one run."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from wgflow import plots
from wgflow.report.film import motion
from wgflow.report.material import Material, gather, vectors
from wgflow.report.scores import SCORES, tabulate, written
from wgflow.report.template import attempt, fill
from wgflow.report.verdict import verdict
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.storage import folder

TRANSPORTS = ("sliced_w2", "w2")  # with a positive floor, so that a ratio makes sense


def write_report(run: Run | Path | str) -> Path:
    """Write ``report.html`` into the folder of a run, atomically, and return where it is.

    Args:
        run: a run, or its folder.
    """
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
    )


def _tiles(material: Material) -> list[tuple[str, str]]:
    scores = material.scores or {}
    last = material.records[-1] if material.records else {}
    graded = [key for key in ("kl", "nll", "sliced_w2", "temperature") if key in scores]
    tiles = [(written(scores, key), SCORES[key].label) for key in graded]
    if "cpu_seconds" in last:
        tiles.append((f"{last['cpu_seconds']:.0f} s", "CPU time of training"))
    if "step" in last:
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


def _samples(material: Material) -> dict[str, Figure]:
    """Figures of the samples by their alternative text."""
    samples, reference, names = material.samples, material.reference, material.names
    if samples is None:
        return {}
    if material.pictorial:
        return {"Images of the model and of the data": plots.pictures(samples, reference)}
    x, y, figures = vectors(samples), vectors(reference), {}
    if material.dimension > 2:
        figures["Scatter plots of pairs of coordinates"] = plots.pairs(x, y, names)
    if not 2 < material.dimension <= plots.PAIRS:
        figures["Histograms of the coordinates"] = plots.marginals(x, y, names)
    return figures
