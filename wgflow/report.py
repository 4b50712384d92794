"""One self-contained HTML file per run, and one for several runs side by side.

Data flow one way: `gather` reads a run folder and tabulates its energy into a `Material`;
`render` turns that into a page. The page holds its pictures, style and player, asks the network
for nothing (a content policy forbids it), and a file that is missing is named in its place.
"""

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from wgflow import folder, plots
from wgflow.data import Dataset
from wgflow.metrics import mode_occupancy, occupancy_error
from wgflow.plots import Box, Chart
from wgflow.run import Run, load
from wgflow.schemes import matching
from wgflow.targets import GaussianMixture, Target

Records = list[dict[str, Any]]


class Score(NamedTuple):
    """How a score is called, and what it means to a reader."""

    label: str
    meaning: str
    ideal: str = "low"


SCORES = {
    "kl": Score("KL(data‖model)", "nats lost per point by using the model; 0 is perfect"),
    "kl_reverse": Score("KL(model‖data)", "the same with the roles exchanged; 0 is perfect"),
    "fisher": Score("Relative Fisher information", "gap of the slopes, squared; 0 is perfect"),
    "nll": Score("Negative log-likelihood", "nats per held-out point; lower is better"),
    "log_z": Score("log Z", "normaliser of the energy; a fact, not a grade", "none"),
    "temperature": Score("Temperature", "of best fit; below 1 the energy is too flat", "one"),
    "sliced_w2": Score("Sliced W₂", "distance of samples from held-out data, in their units"),
    "w2": Score("Exact W₂", "the same by optimal matching of a subsample"),
    "energy_distance": Score("Energy distance", "around 0 when no difference can be seen"),
    "mmd": Score("MMD²", "kernel distance; around 0 when no difference can be seen"),
    "frechet": Score("Fréchet distance", "of images, in features; see docs/fidelity.md"),
    "kernel": Score("Kernel distance", "of images, in features; around 0 when none is seen"),
    "precision": Score("Precision", "share of samples among real images", "high"),
    "recall": Score("Recall", "share of real images among samples", "high"),
    "density": Score("Density", "of real images around the samples", "one"),
    "coverage": Score("Coverage", "share of real images near a sample", "high"),
    "mode_error": Score("Worst mode share", "greatest error of the share of one mode"),
}
SUFFIXES = ("_error", "_floor", "_lower", "_upper")
SCORE_HEADER = (
    '<thead><tr><th>Score</th><th class="number">Value</th>'
    '<th class="number">Floor</th></tr></thead>'
)
GRADES = ("", "good", "fair", "poor")
ALARMS = ("rollback", "diverged")
PATHS, STAGES = 200, 9
"""Points whose paths from noise are shown, and the stages of them."""

TRANSPORTS = ("sliced_w2", "w2")  # with a positive floor, so that a ratio makes sense


class Film(NamedTuple):
    """Particles over time: ``steps`` (frames,) and ``x`` (frames, particles, *event)."""

    steps: np.ndarray
    x: np.ndarray
    clock: str = "learning step"


class Occupancy(NamedTuple):
    """Masses of the modes, the shares of the samples, and the standard error of exact shares."""

    masses: np.ndarray
    sampled: np.ndarray
    error: np.ndarray


class View(NamedTuple):
    """Energy and densities on a grid, for data of one or two dimensions."""

    energy: Chart
    learned: Chart
    true: Chart
    truth: str


class Projection(NamedTuple):
    """Points of the plane that stand for the particles and the data, and the box shown."""

    frames: np.ndarray
    data: np.ndarray
    box: Box
    meaning: str


@dataclass(frozen=True, eq=False)
class Material:
    """All that a page shows, as plain values; None or empty where the run has none.

    Args:
        name: of the run folder.
        source: of the data.
        names: of the coordinates of a vector.
        reference: held-out points (n, *event).
        samples: fresh points of the model.
        film: the particles from disorder to the data.
        view: energy and densities on a grid.
        occupancy: of the modes.
        scores: flat, with ``_error`` and ``_floor`` beside them.
        records: of training, one per logged step.
        events: rollbacks, early stops, interruptions.
        config: the text of the configuration.
        environment: facts about the machine.
    """

    name: str
    source: str
    names: tuple[str, ...]
    reference: np.ndarray
    samples: np.ndarray | None = None
    film: Film | None = None
    view: View | None = None
    occupancy: Occupancy | None = None
    scores: Mapping[str, float] | None = None
    records: Records = field(default_factory=list)
    events: Records = field(default_factory=list)
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictorial(self) -> bool:
        """Whether a point is an image."""
        return self.reference.ndim == 4


class Section(NamedTuple):
    """A titled part of the page; ``body`` is HTML."""

    key: str
    title: str
    body: str


def write_report(path: Path) -> Path:
    """Write ``report.html`` into a run folder, atomically, and return where it is."""
    page = path / folder.REPORT
    folder.write_text(page, render(gather(load(path))))
    return page


def compare_report(paths: Sequence[Path], out: Path) -> Path:
    """Write a page that puts several runs side by side, atomically, and return where it is."""
    folder.write_text(out, render_comparison([gather(load(path)) for path in paths]))
    return out


# Gathering -------------------------------------------------------------------------------------


def gather(run: Run) -> Material:
    """Read the run folder, and tabulate the energy where it can be drawn."""
    data, path = run.dataset, run.path
    samples = _array(path / folder.SAMPLES)
    return Material(
        name=path.resolve().name,
        source=data.name,
        names=_names(data),
        reference=data.test.numpy(),
        samples=samples,
        film=_film(path / folder.FRAMES) or _path(run),
        view=_view(run) if math.prod(data.event_shape) <= 2 else None,
        occupancy=None if samples is None else _occupancy(data.target, samples),
        scores=_json(path / folder.SCORES),
        records=folder.read_lines(path / folder.METRICS),
        events=folder.read_lines(path / folder.EVENTS),
        config=(path / folder.CONFIG).read_text(encoding="utf-8"),
        environment=folder.read_json(path / folder.ENVIRONMENT),
    )


def _names(data: Dataset) -> tuple[str, ...]:
    subscripts = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    count = math.prod(data.event_shape)
    unnamed = tuple(f"x{j + 1}".translate(subscripts) for j in range(count))
    return data.columns or (("x",) if count == 1 else unnamed)


def _view(run: Run) -> View:
    data = run.dataset
    test = data.test.reshape(len(data.test), -1)
    box, dtype = plots.box_of(test.double().numpy()), test.dtype
    points = 400 if test.shape[1] == 1 else 160

    def energy(x: Tensor) -> Tensor:
        return run.energy(x.reshape(-1, *data.event_shape))

    drawn = plots.tabulated(energy, box, points, dtype=dtype)
    learned = plots.density_of(energy, box, points, dtype=dtype)
    if data.target is None:
        return View(drawn, learned, _histogram(test.numpy(), learned), "Held-out data, counted")
    true = plots.tabulated(data.target.log_prob, box, points).map(np.exp)
    return View(drawn, learned, true, plots.TRUTH)


def _histogram(x: np.ndarray, like: Chart, bins: int = 40) -> Chart:
    """A histogram of few wide bins as a density at the many nodes of a chart."""
    edges = [np.linspace(a, b, bins + 1) for a, b in zip(*like.box, strict=True)]
    heights, _ = np.histogramdd(x, edges, density=True)
    for axis, nodes in enumerate(like.axes):
        index = np.searchsorted(edges[axis], nodes, side="right") - 1
        heights = heights.take(index, axis)
    return Chart(like.axes, heights)


def _occupancy(target: Target | None, samples: np.ndarray) -> Occupancy | None:
    if not isinstance(target, GaussianMixture):
        return None
    means, masses = target.means.cpu(), target.weights.cpu().double()
    sampled = mode_occupancy(torch.from_numpy(samples).double(), means.double())
    error = occupancy_error(masses, float(len(samples)))
    return Occupancy(masses.numpy(), sampled.numpy(), error.numpy())


def _path(run: Run) -> Film | None:
    """Points on their way from noise, for a run whose scheme has no particles but paths."""
    if matching(run.config.scheme) is None:
        return None
    stages = list(run.stages(PATHS, generator=torch.Generator().manual_seed(run.config.seed)))
    steps = np.linspace(0, len(stages) - 1, STAGES).round().astype(int)
    x = torch.stack([stages[step] for step in steps])
    return Film(steps, x.numpy(), "evaluation of the gradient")


def _film(path: Path) -> Film | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return Film(archive["step"], archive["x"])


def _array(path: Path) -> np.ndarray | None:
    return np.load(path, allow_pickle=False) if path.exists() else None


def _json(path: Path) -> dict[str, Any] | None:
    return folder.read_json(path) if path.exists() else None


# The page of one run ---------------------------------------------------------------------------


def render(material: Material) -> str:
    """The page of one run, as HTML."""
    sections = [
        make(material)
        for make in (
            _scores_section,
            _density_section,
            _motion_section,
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
    return _page(f"{material.name} · WGFlow", head, sections)


def verdict(material: Material) -> tuple[str, str]:
    """The worst grade (or none), and what a reader should take home, in plain words."""
    scores = material.scores or {}
    graded = [_kl_sentence(scores), _transport_sentence(scores), _temperature_sentence(scores)]
    sentences = [sentence for _, sentence in graded if sentence]
    if not sentences:
        sentences = ["This run has not been scored yet."]
        if "nll" in scores:
            sentences = [f"Held-out data cost {_value(scores, 'nll')} nats per point."]
    if alarms := sum(event.get("event") in ALARMS for event in material.events):
        times = "once" if alarms == 1 else f"{alarms} times"
        sentences.append(f"Learning diverged and was rolled back {times}; see Health.")
    return max((grade for grade, _ in graded), key=GRADES.index), " ".join(sentences)


def _kl_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    if "kl" not in scores:
        return "", ""
    words = {
        "good": "is very close to the true one",
        "fair": "is near the true one, with visible differences",
        "poor": "is still far from the true one",
    }
    grade = _grade(scores["kl"], 0.02, 0.15)
    value = _value(scores, "kl")
    return grade, f"The learned density {words[grade]}: KL {value} nats, where 0 is perfect."


def _transport_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    if not scores.get("sliced_w2_floor", 0) > 0 or "sliced_w2" not in scores:
        return "", ""
    ratio = scores["sliced_w2"] / scores["sliced_w2_floor"]
    words = {
        "good": "Fresh samples look like held-out data",
        "fair": "Fresh samples differ a little from held-out data",
        "poor": "Fresh samples differ clearly from held-out data",
    }
    grade = _grade(ratio, 1.3, 2.0)
    return grade, f"{words[grade]}: {ratio:.2f} times as far as other real data are (sliced W₂)."


def _temperature_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    best = scores.get("temperature", math.nan)
    if not abs(best - 1) > 0.1:
        return "", ""
    shape = "flat" if best < 1 else "steep"
    return "fair", f"The energy is too {shape}: its best-fitting temperature is {best:.2f}, not 1."


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value <= good else "fair" if value <= fair else "poor"


def _tiles(material: Material) -> str:
    scores, records = material.scores or {}, material.records
    tiles = [
        (_value(scores, key), SCORES[key].label)
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
        return _absent("scores", "Scores", "scores.json")
    note = _note(
        "The floor is what the same number of real points scores: no model can be told from "
        "perfection below it. ± is one standard error."
    )
    rows = "".join(_score_row(key, scores) for key in score_keys(scores))
    body = note + _wide(f"{SCORE_HEADER}<tbody>{rows}</tbody>")
    ratios = _floors(scores)
    if ratios:
        body += _figure(plots.floors(ratios), "Scores as multiples of their floors")
    if material.occupancy:
        body += _figure(plots.occupancy(*material.occupancy), "Share of each mode")
    return Section("scores", "Scores", body)


def _score_row(key: str, scores: Mapping[str, float]) -> str:
    cells = (_value(scores, key), _floor(scores, key))
    numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{_score_name(key)}{numbers}</tr>"


def _score_name(key: str) -> str:
    known = SCORES.get(key, Score(key, ""))
    return f"<td>{escape(known.label)}<small>{escape(known.meaning)}</small></td>"


def _floors(scores: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    pairs = {key: (scores.get(key, 0.0), scores.get(f"{key}_floor", 0.0)) for key in TRANSPORTS}
    return {SCORES[key].label: pair for key, pair in pairs.items() if min(pair) > 0}


def score_keys(scores: Mapping[str, float]) -> list[str]:
    """The scores themselves, known ones first, without what goes with them."""

    def belongs(key: str) -> bool:
        return any(key.endswith(s) and key.removesuffix(s) in scores for s in SUFFIXES)

    own = [key for key in scores if not belongs(key)]
    return [k for k in SCORES if k in own] + sorted(k for k in own if k not in SCORES)


def _density_section(material: Material) -> Section:
    title, view = "True and learned density", material.view
    if view is None:
        note = "A density of more than two dimensions cannot be drawn; see the samples."
        return Section("density", title, _note(note))
    gap = plots.densities(view.true, view.learned, material.names, truth=view.truth)
    drawn = _figure(gap, f"{view.truth}, learned density and their difference")
    energy = plots.landscape(view.energy, material.names)
    lower = [_figure(energy, "Energy landscape", "p(x) is proportional to exp(−E(x)).")]
    if material.samples is not None:
        cloud = plots.scatter(_flat(material.samples), view.true, material.names)
        lower.append(_figure(cloud, "Samples over the density"))
    note = "Both densities share one scale. Orange: too much mass; blue: too little."
    return Section("density", title, _note(note) + drawn + _pair(lower, len(view.energy.axes) > 1))


def _motion_section(material: Material) -> Section:
    film, title = material.film, "Particles, from disorder to the data"
    if film is None:
        return _absent("motion", title, "frames.npz")
    if material.pictorial:
        limits = float(material.reference.min()), float(material.reference.max())
        strip = plots.filmstrip(film.steps, film.x, limits)
        note = f"Each column is one particle; time runs downwards, by {film.clock}."
        return Section("motion", title, _note(note) + _figure(strip, "Particles over time"))
    shown = _project(material, film)
    ground = material.view.true if material.view and shown.frames.shape[2] == 2 else None
    flat = ground if ground is not None and len(ground.axes) == 2 else None
    moments = plots.moments(film.steps, shown.frames, shown.box, flat, data=shown.data)
    parts = [_player(film.steps, shown, ground), _figure(moments, "Six moments of the particles")]
    return Section("motion", title, _note(shown.meaning) + _pair(parts))


def _project(material: Material, film: Film) -> Projection:
    """Points of a line get random heights; many dimensions are seen in their widest plane."""
    frames, data = film.x.reshape(*film.x.shape[:2], -1), _flat(material.reference)[:600]
    orange = "Orange: particles of the model. Blue: the data."
    if frames.shape[2] == 1:
        heights = np.random.default_rng(0).random(frames.shape[1])
        lifted = np.concatenate([frames, np.tile(heights[:, None], (len(frames), 1, 1))], 2)
        low, high = plots.box_of(_flat(material.reference))
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
        "frames": _packed(frames, shown.box),
        "data": _packed(shown.data, shown.box),
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


def _packed(points: np.ndarray, box: Box) -> str:
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
    return _uri(buffer.getvalue())


def _samples_section(material: Material) -> Section:
    samples, reference = material.samples, material.reference
    if samples is None:
        return _absent("samples", "Samples", "samples.npy")
    if material.pictorial:
        figures = [(plots.pictures(samples, reference), "Images of the model and of the data")]
    else:
        x, y, names = _flat(samples), _flat(reference), material.names
        figures = []
        if x.shape[1] > 2:
            figures.append((plots.pairs(x, y, names), "Pairs of coordinates"))
        if not 2 < x.shape[1] <= plots.PAIRS:
            figures.append((plots.marginals(x, y, names), "Single coordinates"))
    note = f"{len(samples):,} points drawn from the learned density, beside held-out data."
    body = "".join(_figure(figure, alt) for figure, alt in figures)
    return Section("samples", "Samples", _note(note) + body)


def _training_section(material: Material) -> Section:
    if not material.records:
        return _absent("training", "Training", "metrics.jsonl")
    note = (
        "Training slides down the relative entropy to the data. Dissipation is the speed of that "
        "descent and must fall with it; an effective share near 1 means that the particles "
        "represent the model well."
    )
    try:
        drawn = _figure(plots.curves(material.records), "Training curves")
    except ValueError as error:
        drawn = f'<p class="missing">{escape(str(error))}</p>'
    return Section("training", "Training", _note(note) + drawn)


def _health_section(material: Material) -> Section:
    if not material.events:
        return Section("health", "Health", _note("An uneventful run: nothing went wrong."))
    keys = list(dict.fromkeys(key for event in material.events for key in event))
    keys = [key for key in keys if key != "metrics"]
    rows = [[_plain(event.get(key, "")) for key in keys] for event in material.events[:50]]
    note = f"Rollbacks, early stops and interruptions: {len(material.events)}"
    shown = (
        f", of which the first {len(rows)} are shown." if len(rows) < len(material.events) else "."
    )
    return Section("health", "Health", _note(note + shown) + _table(keys, rows))


def _config_section(material: Material) -> Section:
    body = f"<pre>{escape(material.config)}</pre>"
    return Section("configuration", "Configuration", body)


def _environment_section(material: Material) -> Section:
    rows = [(key, _plain(value)) for key, value in material.environment.items()]
    return Section("environment", "Environment", _table(("What", "Value"), rows))


# The page of several runs ----------------------------------------------------------------------


def render_comparison(materials: Sequence[Material]) -> str:
    """The page that puts several runs side by side, as HTML.

    Raises:
        ValueError: for fewer than two runs.
    """
    if len(materials) < 2:
        raise ValueError(f"A comparison needs runs: expected at least 2, got {len(materials)}.")
    runs = _named(materials)
    sources = sorted({material.source for material in materials})
    head = f'<p class="kicker">WGFlow</p><h1>{len(runs)} runs side by side</h1>'
    if len(sources) > 1:
        alarm = f"These runs learned from different data ({', '.join(sources)})."
        head += f'<p class="verdict poor">{escape(alarm)} Their scores do not compare.</p>'
    sections = [_compared_scores(runs), _compared_curves(runs), _compared_densities(runs)]
    return _page("Comparison · WGFlow", head, sections)


def _named(materials: Sequence[Material]) -> dict[str, Material]:
    """Runs by folder name; equal names are numbered."""
    names = [material.name for material in materials]
    numbered = [
        name if names.count(name) == 1 else f"{name} ({names[: j + 1].count(name)})"
        for j, name in enumerate(names)
    ]
    return dict(zip(numbered, materials, strict=True))


def _compared_scores(runs: Mapping[str, Material]) -> Section:
    tables = [material.scores or {} for material in runs.values()]
    keys = score_keys({key: 0.0 for table in tables for key in table})
    if not keys:
        return _absent("scores", "Scores", "scores.json")
    rows = "".join(_compared_row(key, tables) for key in keys)
    header = "".join(f'<th class="number">{escape(name)}</th>' for name in runs)
    note = "Bold: best. Green: not to be told from the best by its error bars or its floor."
    table = f"<thead><tr><th>Score</th>{header}</tr></thead><tbody>{rows}</tbody>"
    return Section("scores", "Scores", _note(note) + _wide(table))


def _compared_row(key: str, tables: Sequence[Mapping[str, float]]) -> str:
    marks = rank(key, tables)
    cells = [
        f'<td class="number {mark}">{escape(_value(table, key))}<small>{_against(table, key)}'
        "</small></td>"
        for table, mark in zip(tables, marks, strict=True)
    ]
    return f"<tr>{_score_name(key)}{''.join(cells)}</tr>"


def rank(key: str, tables: Sequence[Mapping[str, float]]) -> list[str]:
    """Per run ``best``, ``tied`` (within two standard errors, or at the floor) or nothing."""
    ideal = SCORES[key].ideal if key in SCORES else "none"
    costs = [_cost(key, table, ideal) for table in tables]
    if ideal == "none" or not any(math.isfinite(cost) for cost in costs):
        return [""] * len(tables)
    best = int(np.argmin(costs))
    errors = [table.get(f"{key}_error", 0.0) for table in tables]
    near = [
        math.isfinite(cost) and cost - costs[best] <= 2 * math.hypot(error, errors[best])
        for cost, error in zip(costs, errors, strict=True)
    ]
    return ["best" if j == best else "tied" if near[j] else "" for j in range(len(tables))]


def _cost(key: str, table: Mapping[str, float], ideal: str) -> float:
    value = table.get(key, math.inf)
    if not math.isfinite(value):
        return math.inf
    if ideal == "one":
        return abs(value - 1)
    floor = table.get(f"{key}_floor", value)  # where nothing can be told from perfection
    return -min(value, floor) if ideal == "high" else max(value, floor)


def _compared_curves(runs: Mapping[str, Material]) -> Section:
    try:
        figure = plots.compared_curves({name: m.records for name, m in runs.items()})
    except ValueError as error:
        return Section("curves", "Learning", f'<p class="missing">{escape(str(error))}</p>')
    note = "The lower and the earlier, the better."
    return Section("curves", "Learning", _note(note) + _figure(figure, "Learning curves"))


def _compared_densities(runs: Mapping[str, Material]) -> Section:
    views = {name: material.view for name, material in runs.items() if material.view}
    first = next(iter(views.values()), None)
    if first is None:
        note = "Densities of more than two dimensions cannot be drawn."
        return Section("densities", "Densities", _note(note))
    alike = {n: v.learned for n, v in views.items() if len(v.learned.axes) == len(first.true.axes)}
    names = next(iter(runs.values())).names
    figure = plots.compared_densities({first.truth: first.true, **alike}, names)
    return Section("densities", "Densities", _figure(figure, "Densities of the runs"))


# Pieces of a page ------------------------------------------------------------------------------

escape = partial(html.escape, quote=True)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def _page(title: str, head: str, sections: Iterable[Section]) -> str:
    parts = list(sections)
    links = "".join(f'<a href="#{part.key}">{escape(part.title)}</a>' for part in parts)
    bodies = "".join(
        f'<section id="{part.key}"><h2>{escape(part.title)}</h2>{part.body}</section>'
        for part in parts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_asset('report.css')}</style></head>"
        f"<body><main><header>{head}</header><nav>{links}</nav>{bodies}"
        "<footer>Written by WGFlow.</footer></main>"
        f"<script>{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("wgflow").joinpath(name).read_text(encoding="utf-8")


def _absent(key: str, title: str, name: str) -> Section:
    return Section(key, title, f'<p class="missing">This run has no {escape(name)}.</p>')


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _figure(figure: Figure, alt: str, caption: str = "") -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    width = round(100 * figure.get_figwidth())
    source = _uri(plots.png(figure))
    return f'<figure><img src="{source}" alt="{escape(alt)}" width="{width}">{below}</figure>'


def _pair(parts: Sequence[str], beside: bool = True) -> str:
    """Two things beside each other where there is room."""
    both = "".join(parts)
    return f'<div class="pair">{both}</div>' if beside else both


def _uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return _wide(f"<thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody>")


def _wide(table: str) -> str:
    return f'<div class="wide"><table>{table}</table></div>'


def _value(scores: Mapping[str, float], key: str) -> str:
    """A score with its error, to the digits that the error leaves."""
    value, error = scores.get(key), scores.get(f"{key}_error")
    if value is None:
        return "–"
    if error is None or not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return _number(value)
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}" if digits < 8 else _number(value)


def _floor(scores: Mapping[str, float], key: str) -> str:
    return _number(scores[f"{key}_floor"]) if f"{key}_floor" in scores else ""


def _against(scores: Mapping[str, float], key: str) -> str:
    floor = _floor(scores, key)
    return f"floor {floor}" if floor else ""


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)
