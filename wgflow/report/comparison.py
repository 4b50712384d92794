"""The page of several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wgflow import plots
from wgflow.report import markup
from wgflow.report.markup import Section, escape
from wgflow.report.material import Material, gather
from wgflow.report.scores import explained, rank, score_keys, written, written_floor
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
        raise ValueError(f"A comparison needs runs: expected at least 2, got {len(materials)}.")
    runs = _named(materials)
    sources = sorted({material.source for material in materials})
    head = f'<p class="kicker">WGFlow</p><h1>{len(runs)} runs side by side</h1>'
    if len(sources) > 1:
        alarm = f"These runs learned from different data ({', '.join(sources)})."
        head += f'<p class="verdict poor">{escape(alarm)} Their scores do not compare.</p>'
    sections = [_compared_scores(runs), _compared_curves(runs), _compared_densities(runs)]
    return markup.page("Comparison · WGFlow", head, sections)


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
        return markup.absent("scores", "Scores", "scores.json")
    rows = "".join(_compared_row(key, tables) for key in keys)
    header = "".join(f'<th class="number">{escape(name)}</th>' for name in runs)
    note = "Bold: best. Green: not to be told from the best by its error bars or its floor."
    table = f"<thead><tr><th>Score</th>{header}</tr></thead><tbody>{rows}</tbody>"
    return Section("scores", "Scores", markup.note(note) + markup.wide(table))


def _compared_row(key: str, tables: Sequence[Mapping[str, float]]) -> str:
    marks = rank(key, tables)
    cells = [
        f'<td class="number {mark}">{escape(written(table, key))}<small>{_against(table, key)}'
        "</small></td>"
        for table, mark in zip(tables, marks, strict=True)
    ]
    return f"<tr>{explained(key)}{''.join(cells)}</tr>"


def _compared_curves(runs: Mapping[str, Material]) -> Section:
    try:
        figure = plots.compared_curves({name: m.records for name, m in runs.items()})
    except ValueError as error:
        return Section("curves", "Learning", f'<p class="missing">{escape(str(error))}</p>')
    note = "The lower and the earlier, the better."
    return Section(
        "curves", "Learning", markup.note(note) + markup.figure(figure, "Learning curves")
    )


def _compared_densities(runs: Mapping[str, Material]) -> Section:
    views = {name: material.view for name, material in runs.items() if material.view}
    first = next(iter(views.values()), None)
    if first is None:
        note = "Densities of more than two dimensions cannot be drawn."
        return Section("densities", "Densities", markup.note(note))
    alike = {n: v.learned for n, v in views.items() if len(v.learned.axes) == len(first.true.axes)}
    names = next(iter(runs.values())).names
    figure = plots.compared_densities({first.truth: first.true, **alike}, names)
    return Section("densities", "Densities", markup.figure(figure, "Densities of the runs"))


def _against(scores: Mapping[str, float], key: str) -> str:
    floor = written_floor(scores, key)
    return f"floor {floor}" if floor else ""
