"""Rows of a benchmark: kept in a JSON-lines file as they are measured, shown as a table."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wgflow.storage.folder import append_json, read_lines


def measured(
    path: Path, cases: Iterable[Mapping[str, Any]], measure: Callable[..., Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """All rows of a file, after those of the cases that it lacks were measured and appended."""
    known: dict[tuple[str, ...], set[str]] = {}
    for case in cases:
        names = tuple(case)
        if _values(case, names) in known.get(names, ()):
            continue
        # Read again before any work: another process may have measured it since.
        known[names] = {_values(row, names) for row in read_lines(path)}
        if _values(case, names) in known[names]:
            continue
        print(*case.values(), flush=True)
        row = {**case, **measure(**case)}
        append_json(path, row)
        print(json.dumps(row), flush=True)
    return read_lines(path)


def _values(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Of these names, as text that can be looked up."""
    return json.dumps([row.get(name) for name in names])


def table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    marks = ["|" + "---|" * len(columns)]
    return "\n".join([line(columns), *marks, *map(line, lines)])


def line(cells: Sequence[object]) -> str:
    """One line of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"
