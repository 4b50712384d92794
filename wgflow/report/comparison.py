"""The page of several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from wgflow import plots
from wgflow.metrics.alarms import alarms
from wgflow.report.material import Material, gather
from wgflow.report.scores import tabulate
from wgflow.report.template import attempt, fill
from wgflow.runs.load import load
from wgflow.storage import folder


def compare_report(paths: Sequence[Path], out: Path) -> Path:
    """Write a page that puts several runs side by side, atomically, and return where it is."""
    folder.write_text(out, render_comparison([gather(load(path)) for path in paths]))
    return out


def render_comparison(materials: Sequence[Material]) -> str:
    """The page that puts several runs side by side, as HTML.

    Raises:
        ValueError: for fewer than two runs.
    """
    if len(materials) < 2:
        raise ValueError(f"`materials` must hold at least 2 runs: got {len(materials)}.")
    runs = _named(materials)
    scores = tabulate([material.scores or {} for material in materials])
    densities = _densities(runs)
    sections = {
        "scores": ("Scores", scores),
        "curves": ("Training", True),
        "densities": ("Densities", densities),
    }
    found = [(name, alarms(run.scores or {})) for name, run in runs.items()]
    return fill(
        "comparison.html",
        sections={key: title for key, (title, shown) in sections.items() if shown},
        runs=list(runs),
        alarms=[(name, said) for name, said in found if said],
        sources=sorted({material.source for material in materials}),
        scores=scores,
        curves=attempt(plots.compared_curves, {name: run.records for name, run in runs.items()}),
        densities=densities,
    )


def _named(materials: Sequence[Material]) -> dict[str, Material]:
    """Runs by folder name; equal names are numbered."""
    names = [material.name for material in materials]
    numbered = [
        name if names.count(name) == 1 else f"{name} ({names[: j + 1].count(name)})"
        for j, name in enumerate(names)
    ]
    return dict(zip(numbered, materials, strict=True))


def _densities(runs: Mapping[str, Material]) -> Figure | None:
    """The densities of the runs with as many dimensions as the first that has one."""
    drawn = [(name, run.names, run.view) for name, run in runs.items() if run.view]
    if not drawn:
        return None
    _, names, first = drawn[0]
    d = len(first.true.axes)
    alike = {name: view.learned for name, _, view in drawn if len(view.true.axes) == d}
    return plots.compared_densities({first.truth: first.true, **alike}, names)
