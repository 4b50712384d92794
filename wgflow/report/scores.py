"""Scores: how they are called, written down and ranked."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wgflow.report.markup import escape


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


def score_keys(scores: Mapping[str, float]) -> list[str]:
    """The scores themselves, known ones first, without what goes with them."""

    def belongs(key: str) -> bool:
        return any(key.endswith(s) and key.removesuffix(s) in scores for s in SUFFIXES)

    own = [key for key in scores if not belongs(key)]
    return [k for k in SCORES if k in own] + sorted(k for k in own if k not in SCORES)


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


def explained(key: str) -> str:
    """The cell of a table that says what a score means."""
    known = SCORES.get(key, Score(key, ""))
    return f"<td>{escape(known.label)}<small>{escape(known.meaning)}</small></td>"


def written(scores: Mapping[str, float], key: str) -> str:
    """A score with its error, to the digits that the error leaves."""
    value, error = scores.get(key), scores.get(f"{key}_error")
    if value is None:
        return "–"
    if error is None or not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return rounded(value)
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}" if digits < 8 else rounded(value)


def written_floor(scores: Mapping[str, float], key: str) -> str:
    """The floor of a score, or nothing."""
    return rounded(scores[f"{key}_floor"]) if f"{key}_floor" in scores else ""


def rounded(value: float) -> str:
    """Three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", "−")


def _cost(key: str, table: Mapping[str, float], ideal: str) -> float:
    value = table.get(key, math.inf)
    if not math.isfinite(value):
        return math.inf
    if ideal == "one":
        return abs(value - 1)
    floor = table.get(f"{key}_floor", value)  # where nothing can be told from perfection
    return -min(value, floor) if ideal == "high" else max(value, floor)
