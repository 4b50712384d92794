"""The rows of the benchmark of given energies as Markdown, beside what is published."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import table

Row = Mapping[str, Any]

PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "mustache": {
        **{"MALA": 4.6e-2, "HMC": 1.7e-2, "DDS": 6.9e-2, "CRAFT": 9.2e-2},
        **{"JKO-IC": 2.9e-3, "WFR-JKO": 1.2e-2, "floor": 8.6e-5},
    },
    "gmm:20": {
        **{"MALA": 9.1e-3, "HMC": 9.1e-3, "DDS": 5.0e-3, "CRAFT": 0.54},
        **{"JKO-IC": 1.1e-4, "WFR-JKO": 1.0e-4, "floor": 6.4e-5},
    },
    "gmm:50": {
        **{"MALA": 2.4e-2, "HMC": 2.4e-2, "DDS": 2.3e-2, "CRAFT": 1.8},
        **{"JKO-IC": 1.0e-4, "WFR-JKO": 4.1e-4, "floor": 1.1e-4},
    },
    "gmm:100": {
        **{"MALA": 3.6e-2, "HMC": 3.7e-2, "DDS": 3.9e-2, "CRAFT": 28.0},
        **{"JKO-IC": 6.0e-4, "WFR-JKO": 1.7e-2, "floor": 1.5e-4},
    },
}
"""Energy distances of 50,000 points: Duan, Hertrich and Steidl 2026, table 2."""

PUBLISHED_W2: Mapping[str, Mapping[str, float]] = {
    "dw4": {"Flow Sampling": 0.11, "ASBS": 0.20, "iDEM": 0.55},
    "lj13": {"Flow Sampling": 0.97, "ASBS": 1.99, "iDEM": 30.8},
}
"""Energy-W2 of published neural samplers."""

COLUMNS = (
    *("method", "points", "seed", "V per point", "energy distance (floor)", "as published"),
    *("sliced W2 (floor)", "energy-W2 (floor)", "1000 to 1000 (floor)", "log Z - truth"),
    *("log Z ± error [bounds]", "share error", "ESS", "CPU s"),
)


def shown(rows: Sequence[Row]) -> str:
    """A table for each target, and the published rows below."""
    return "\n\n".join(of_target(rows, name) for name in dict.fromkeys(r["data"] for r in rows))


def of_target(rows: Sequence[Row], name: str) -> str:
    """The table of a target."""
    own = [r for r in rows if r["data"] == name]
    parts = [f"{name}:", table(COLUMNS, map(line_of, own))]
    for title, values in (("energy distance", PUBLISHED), ("energy-W2", PUBLISHED_W2)):
        if name in values:
            told = ", ".join(f"{k} {v:.2g}" for k, v in values[name].items())
            parts.append(f"Published {title}: {told}.")
    return "\n\n".join(parts)


def line_of(r: Row) -> list[object]:
    """The cells of a row."""
    first = [r["name"], r["particles"], r["seed"]]
    if "error" in r:
        return [*first, *[""] * (len(COLUMNS) - 4), r["error"]]
    bounds = ""
    if r["log_z_lower"] is not None:
        low, high = number(r["log_z_lower"], ".3f"), number(r["log_z_upper"], ".3f")
        middle, error = number(r["log_z"], ".3f"), number(r["log_z_error"], ".3f")
        bounds = f"{middle or 'refused'} ± {error or '∞'} [{low}, {high}]"
    published = number(r.get("energy_distance_published"), ".2e")
    return [
        *(*first, number(r["evaluations"], ".0f")),
        *(beside(r, "energy_distance", ".2e"), published, beside(r, "sliced_w2", ".4f")),
        *(beside(r, "energy_w2", ".3f"), beside(r, "energy_w2_blocks", ".3f")),
        *(number(r.get("log_z_off"), "+.4f"), bounds, number(r.get("share_error"), ".4f")),
        *(number(r.get("ess"), ".0%"), number(r["seconds"], ".1f")),
    ]


def beside(r: Row, name: str, form: str) -> str:
    """A score with its floor."""
    if name not in r:
        return ""
    return f"{number(r[name], form)} ({number(r[f'{name}_floor'], form)})"


def number(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return "" if value is None else format(value, form)
