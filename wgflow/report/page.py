"""The page of one run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgflow import plots
from wgflow.report import markup
from wgflow.report.film import motion_section
from wgflow.report.markup import Section, escape
from wgflow.report.material import Material, gather, vectors
from wgflow.report.scores import SCORES, explained, rounded, score_keys, written, written_floor
from wgflow.report.verdict import verdict
from wgflow.runs.load import load
from wgflow.storage import folder

SCORE_HEADER = (
    '<thead><tr><th>Score</th><th class="number">Value</th>'
    '<th class="number">Floor</th></tr></thead>'
)
TRANSPORTS = ("sliced_w2", "w2")  # with a positive floor, so that a ratio makes sense


def write_report(path: Path) -> Path:
    """Write ``report.html`` into a run folder, atomically, and return where it is."""
    page = path / folder.REPORT
    folder.write_text(page, render(gather(load(path))))
    return page


def render(material: Material) -> str:
    """The page of one run, as HTML."""
    sections = [
        make(material)
        for make in (
            _scores_section,
            _density_section,
            motion_section,
            _samples_section,
            _training_section,
            _health_section,
            _config_section,
            _environment_section,
        )
    ]
    grade, sentence = verdict(material)
    head = (
        f'<p class="kicker">A density learned from {escape(material.source)}</p>'
        f"<h1>{escape(material.name)}</h1>"
        f'<p class="verdict {grade}">{escape(sentence)}</p>{_tiles(material)}'
    )
    return markup.page(f"{material.name} · WGFlow", head, sections)


def _tiles(material: Material) -> str:
    scores, records = material.scores or {}, material.records
    tiles = [
        (written(scores, key), SCORES[key].label)
        for key in ("kl", "nll", "sliced_w2", "temperature")
        if key in scores
    ]
    if records and "cpu_seconds" in records[-1]:
        tiles.append((f"{records[-1]['cpu_seconds']:.0f} s", "CPU time of training"))
    if records and "step" in records[-1]:
        tiles.append((f"{records[-1]['step']:,}", "learning steps"))
    cells = [
        f'<div class="tile"><b>{_small_error(b)}</b><span>{escape(s)}</span></div>'
        for b, s in tiles
    ]
    return f'<div class="tiles">{"".join(cells)}</div>' if cells else ""


def _small_error(value: str) -> str:
    number, sign, error = escape(value).partition(" ± ")
    return f"{number} <small>± {error}</small>" if sign else number


def _scores_section(material: Material) -> Section:
    scores = material.scores
    if not scores:
        return markup.absent("scores", "Scores", "scores.json")
    note = markup.note(
        "The floor is what the same number of real points scores: no model can be told from "
        "perfection below it. ± is one standard error."
    )
    rows = "".join(_score_row(key, scores) for key in score_keys(scores))
    body = note + markup.wide(f"{SCORE_HEADER}<tbody>{rows}</tbody>")
    ratios = _floors(scores)
    if ratios:
        body += markup.figure(plots.floors(ratios), "Scores as multiples of their floors")
    if material.occupancy:
        body += markup.figure(plots.occupancy(*material.occupancy), "Share of each mode")
    return Section("scores", "Scores", body)


def _score_row(key: str, scores: Mapping[str, float]) -> str:
    cells = (written(scores, key), written_floor(scores, key))
    numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{explained(key)}{numbers}</tr>"


def _floors(scores: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    pairs = {key: (scores.get(key, 0.0), scores.get(f"{key}_floor", 0.0)) for key in TRANSPORTS}
    return {SCORES[key].label: pair for key, pair in pairs.items() if min(pair) > 0}


def _density_section(material: Material) -> Section:
    title, view = "True and learned density", material.view
    if view is None:
        note = "A density of more than two dimensions cannot be drawn; see the samples."
        return Section("density", title, markup.note(note))
    gap = plots.densities(view.true, view.learned, material.names, truth=view.truth)
    drawn = markup.figure(gap, f"{view.truth}, learned density and their difference")
    energy = plots.landscape(view.energy, material.names)
    lower = [markup.figure(energy, "Energy landscape", "p(x) is proportional to exp(−E(x)).")]
    if material.samples is not None:
        cloud = plots.scatter(vectors(material.samples), view.true, material.names)
        lower.append(markup.figure(cloud, "Samples over the density"))
    note = "Both densities share one scale. Orange: too much mass; blue: too little."
    return Section(
        "density", title, markup.note(note) + drawn + markup.pair(lower, len(view.energy.axes) > 1)
    )


def _samples_section(material: Material) -> Section:
    samples, reference = material.samples, material.reference
    if samples is None:
        return markup.absent("samples", "Samples", "samples.npy")
    if material.pictorial:
        figures = [(plots.pictures(samples, reference), "Images of the model and of the data")]
    else:
        x, y, names = vectors(samples), vectors(reference), material.names
        figures = []
        if x.shape[1] > 2:
            figures.append((plots.pairs(x, y, names), "Pairs of coordinates"))
        if not 2 < x.shape[1] <= plots.PAIRS:
            figures.append((plots.marginals(x, y, names), "Single coordinates"))
    note = f"{len(samples):,} points drawn from the learned density, beside held-out data."
    body = "".join(markup.figure(figure, alt) for figure, alt in figures)
    return Section("samples", "Samples", markup.note(note) + body)


def _training_section(material: Material) -> Section:
    if not material.records:
        return markup.absent("training", "Training", "metrics.jsonl")
    note = (
        "Training slides down the relative entropy to the data. Dissipation is the speed of that "
        "descent and must fall with it; an effective share near 1 means that the particles "
        "represent the model well."
    )
    try:
        drawn = markup.figure(plots.curves(material.records), "Training curves")
    except ValueError as error:
        drawn = f'<p class="missing">{escape(str(error))}</p>'
    return Section("training", "Training", markup.note(note) + drawn)


def _health_section(material: Material) -> Section:
    if not material.events:
        return Section("health", "Health", markup.note("An uneventful run: nothing went wrong."))
    keys = list(dict.fromkeys(key for event in material.events for key in event))
    keys = [key for key in keys if key != "metrics"]
    rows = [[_plain(event.get(key, "")) for key in keys] for event in material.events[:50]]
    note = f"Rollbacks, early stops and interruptions: {len(material.events)}"
    shown = (
        f", of which the first {len(rows)} are shown." if len(rows) < len(material.events) else "."
    )
    return Section("health", "Health", markup.note(note + shown) + markup.table(keys, rows))


def _config_section(material: Material) -> Section:
    body = f"<pre>{escape(material.config)}</pre>"
    return Section("configuration", "Configuration", body)


def _environment_section(material: Material) -> Section:
    rows = [(key, _plain(value)) for key, value in material.environment.items()]
    return Section("environment", "Environment", markup.table(("What", "Value"), rows))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return rounded(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
