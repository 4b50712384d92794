"""The rows of the benchmark of flows as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.rows import table

PUBLISHED = {1: 8.7e-4, 2: 3.7e-3, 4: 8.1e-3, 6: 1.04e-2, 8: 1.41e-2, 10: 1.57e-2, 12: 1.62e-2}
"""Ornstein-Uhlenbeck at t = 1, of ICNN-JKO (Mokrov et al. 2021), in 54 to 96 s a run."""

PUBLISHED_MIXTURE = {2: 0.062, 4: 0.176, 6: 0.301, 8: 0.396, 10: 0.329, 12: 0.509}
"""Of the same, at T = 4, with mixtures of its own draw, in 970 to 7200 s a run."""

NAMES = ("gaussian", "stack", "residual")


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables of all rows."""
    tables = {
        "Ornstein-Uhlenbeck, symmetric KL ± its error (CPU s)": ornstein_uhlenbeck(rows),
        "Mixtures at T = 4, symmetric KL to the flow's end ± its error (CPU s)": mixture(rows),
    }
    return "\n\n".join(f"{title}:\n\n{text}" for title, text in tables.items())


def ornstein_uhlenbeck(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each dimension and time."""
    lines = []
    for (d, t), group in _grouped(rows, "ou").items():
        published = f"{PUBLISHED[d]:.2g}" if t == 1 and d in PUBLISHED else ""
        some = group[0]
        cells = [_cell(group, name) for name in NAMES]
        lines.append([d, t, *cells, f"{some['floor']:.2g}", f"{some['bias']:.1g}", published])
    return table(["d", "t", *NAMES, "floor", "step", "ICNN-JKO"], lines)


def mixture(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each dimension."""
    lines = []
    for (d, _), group in _grouped(rows, "mixture").items():
        some = group[0]
        shares = f"{some['least']:.3f}-{some['most']:.3f}"
        cells = [_cell(group, name) for name in NAMES[1:]]
        masses = f"{some['masses']:.3f}"
        lines.append([d, *cells, masses, shares, PUBLISHED_MIXTURE.get(d, "")])
    return table(["d", *NAMES[1:], "masses alone", "shares", "ICNN-JKO"], lines)


def _grouped(
    rows: Sequence[Mapping[str, Any]], problem: str
) -> dict[tuple[int, float], list[Mapping[str, Any]]]:
    groups: dict[tuple[int, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["problem"] == problem:
            groups.setdefault((row["d"], row["t"]), []).append(row)
    return dict(sorted(groups.items()))


def _cell(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """The mean over seeds."""
    own = [row for row in rows if row["name"] == name]
    if not own:
        return ""
    value, error, seconds = (np.mean([row[k] for row in own]) for k in ("kl", "error", "seconds"))
    return f"{value:.2g} ± {error:.1g} ({seconds:.0f})"
