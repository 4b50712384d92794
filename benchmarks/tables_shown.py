"""The rows of the benchmark of tables as Markdown."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.rows import table

Row = Mapping[str, Any]


def shown(rows: Sequence[Row]) -> str:
    """The tables of all rows: densities, known mixtures, outliers in short and by set."""
    densities = labelled(r for r in rows if r["task"] == "density")
    outliers = labelled(r for r in rows if r["task"] == "outliers")
    known = [r for r in densities if "kl" in r]
    tables = {
        "NLL in nats, ± its standard error (CPU s of learning)": matrix(densities, nll),
        "Known mixtures": table(KNOWN, map(truth, known)) if known else "",
        "AUROC, per cent, means over sets": areas(outliers) if outliers else "",
        "AUROC by set": matrix(outliers, area),
    }
    return "\n\n".join(f"{title}:\n\n{text}" for title, text in tables.items() if text)


def labelled(rows: Iterable[Row]) -> list[Row]:
    """The rows with a label: the method, and settings where they are not those met first."""
    first: dict[str, Row] = {}
    found = []
    for row in rows:
        usual = first.setdefault(row["name"], row["settings"])
        other = [f"{k}={v}" for k, v in row["settings"].items() if usual.get(k) != v]
        found.append({**row, "label": ", ".join([row["name"], *other])})
    return found


def matrix(rows: Sequence[Row], cell: Any) -> str:
    """A line for each set and a column for each method."""
    if not rows:
        return ""
    groups = grouped(rows, "data", "label")
    labels = list(dict.fromkeys(row["label"] for row in rows))
    sets = list(dict.fromkeys((row["data"], row["d"]) for row in rows if "d" in row))
    exact = {r["data"]: f", {r['true_nll']:.2f}" for r in rows if "true_nll" in r}
    lines = []
    for data, d in sets:
        found = (groups[data, label] for label in labels)
        name = f"{data} ({d}{exact.get(data, '')})"
        lines.append([name, *(cell(rows) if rows else "" for rows in found)])
    return table(["set (d, NLL of the law itself)", *labels], lines)


def grouped(rows: Iterable[Row], *keys: str) -> defaultdict[tuple[Any, ...], list[Row]]:
    """Rows by the values of keys."""
    groups: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


def nll(rows: Sequence[Row]) -> str:
    """The mean over seeds, with the error of a seed; why there is none."""
    good = [r for r in rows if "error" not in r]
    if not good:
        return rows[-1]["error"].split(":")[0]
    value, error, seconds = (_mean(good, key) for key in ("nll", "nll_error", "seconds"))
    return f"{value:.2f} ± {error:.2f} ({seconds:.0f})"


KNOWN = (
    *("set", "method", "seed", "KL ± error", "mass ± error", "shares of the density"),
    *("shares of samples", "rows in effect", "CPU s"),
)


def truth(r: Row) -> list[object]:
    """What is told of a density whose truth is known."""
    density, samples = (" ".join(f"{s:.3f}" for s in r[f"shares_{k}"]) for k in SHARES)
    kl, mass = (f"{r[k]:.3f} ± {r[f'{k}_error']:.3f}" for k in ("kl", "mass"))
    cost = f"{r['seconds']:.0f}"
    start = [r["data"], r["label"], r["seed"]]
    return [*start, kl, mass, density, samples, f"{r['effective']:.0%}", cost]


SHARES = ("density", "samples")


def areas(rows: Sequence[Row]) -> str:
    """A line for each method, the best first: mean area, and its mean rank among all methods."""
    groups = grouped((r for r in rows if "error" not in r), "label", "data")
    means = {key: _mean(group, "auroc") for key, group in groups.items()}
    ranks = ranked(means)
    lines = []
    for label in dict.fromkeys(label for label, _ in groups):
        sets = [data for name, data in groups if name == label]
        own = [row for data in sets for row in groups[label, data]]
        value = float(np.mean([means[label, data] for data in sets]))
        rank = float(np.mean([ranks[label, data] for data in sets]))
        lost = sum(r["label"] == label and "error" in r for r in rows)
        cost = _mean(own, "seconds") + _mean(own, "scoring")
        lines.append([label, len(sets), f"{100 * value:.2f}", f"{rank:.1f}", lost, f"{cost:.1f}"])
    columns = ["method", "sets", "mean", "rank", "failed", "CPU s a set"]
    return table(columns, sorted(lines, key=lambda line: -float(str(line[2]))))


def ranked(means: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], int]:
    """The rank of a method on a set, one for the largest area."""
    return {
        (label, data): 1 + sum(v > value for (_, d), v in means.items() if d == data)
        for (label, data), value in means.items()
    }


def area(rows: Sequence[Row]) -> str:
    """The mean over seeds in per cent."""
    good = [r for r in rows if "error" not in r]
    return f"{100 * _mean(good, 'auroc'):.1f}" if good else "error"


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(np.mean([r[key] for r in rows]))
