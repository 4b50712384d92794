"""Scores: their labels, how they are written down and how they rank."""

import math
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from wgflow.report.template import rounded


class Score(NamedTuple):
    """The label and the meaning of a score, and its ideal: low, high, one, zero or none."""

    label: str
    meaning: str
    ideal: str = "low"


class Entry(NamedTuple):
    """A score of a run as text, its floor, and its rank among the runs."""

    value: str
    floor: str
    mark: str


CLUSTER = "largest error of the share of a cluster of the data; 0 is exact"
FARTHER = "fraction farther out than any row"

SCORES = {
    "kl": Score("KL(data‖model)", "nats; 0 is exact"),
    "kl_reverse": Score("KL(model‖data)", "nats; 0 is exact"),
    "fisher": Score("Relative Fisher information", "data to model, E|∇ log p − ∇ log q|²"),
    "nll": Score("Negative log-likelihood", "nats per held-out point; lower is better"),
    "nll_gaussian": Score(
        "NLL of a Gaussian", "of the moments of the training data; nats per held-out point", "none"
    ),
    "nll_over_mixture": Score(
        "NLL over that of a mixture",
        "nats by which Gaussians fitted in seconds are likelier; below 0 they are not",
    ),
    "log_z": Score("log Z", "Z is the integral of exp(−E); not a measure of quality", "none"),
    "temperature": Score(
        "Temperature", "best fit of exp(−E/T); below 1 the energy is too flat", "one"
    ),
    "log_z_particles": Score("log Z of training particles", "by the weights they carry", "none"),
    "log_z_held_out": Score(
        "log Z of held-out particles", "by the weights they carry; should be the same", "none"
    ),
    "sliced_w2": Score("Sliced W₂", "of samples and held-out data, in units of the data"),
    "sliced_w2_standardised": Score(
        "Sliced W₂, standardised", "the same in the units of learning, after maps of columns"
    ),
    "w2": Score("W₂", "by exact optimal transport between subsamples, in units of the data"),
    "energy_distance": Score("Energy distance", "unbiased: about 0 for exact samples"),
    "mmd": Score("MMD²", "with a Gaussian kernel, unbiased: about 0 for exact samples"),
    "frechet": Score("Fréchet distance", "of image features, squared; biased upwards"),
    "kernel": Score("Kernel distance", "of image features, unbiased: about 0 for exact samples"),
    "precision": Score("Precision", "fraction of samples near a held-out image", "high"),
    "recall": Score("Recall", "fraction of held-out images near a sample", "high"),
    "density": Score("Density", "of held-out images around samples; 1 for exact samples", "one"),
    "coverage": Score("Coverage", "fraction of held-out images with a sample nearby", "high"),
    "mode_error": Score("Mode error", "largest error of the fraction of samples in a mode"),
    "modes_density": Score("Mode shares of the density", CLUSTER, "zero"),
    "modes_samples": Score("Mode shares of samples", CLUSTER, "zero"),
    "modes_particles": Score("Mode shares of training particles", CLUSTER, "zero"),
    "modes_held_out": Score("Mode shares of held-out particles", CLUSTER, "zero"),
    "modes_density_draws": Score("Draws from the density", "effective number, annealed", "none"),
    "target_log_z": Score(
        "log Z of the given energy", "with bounds from either side; not a measure", "none"
    ),
    "target_log_z_true": Score("log Z, exact", "of the given energy", "none"),
    "target_ess": Score("Effective fraction of samples", "by the method's account", "high"),
    "target_evaluations": Score(
        "Evaluations", "of the given energy, with gradients, for each sample", "none"
    ),
    "target_reach": Score(
        "Reach of samples", "in standard deviations of the start, of one in a thousand", "none"
    ),
    "target_excluded": Score(
        "Evaluations without a value", "share of them: NaN, an error or no finite gradient", "none"
    ),
    "target_missed": Score("Mass without samples", "share of it, around minima of V", "zero"),
    "target_rhat": Score("Split R̂", "of chains, the largest of coordinates; 1 is best", "one"),
    "target_mode_error": Score("Mode error of samples", "largest error of a share", "zero"),
    "target_energy_distance": Score("Energy distance", "of samples of the given energy"),
    "target_sliced_w2": Score("Sliced W₂", "of samples of the given energy"),
    "target_energy_w2": Score("W₂ of energies", "of samples of the given energy, nats"),
    "target_kl": Score("KL(target‖learned)", "nats, on held-out samples; 0 is exact", "zero"),
    "target_kl_reverse": Score("KL(learned‖target)", "nats; 0 is exact", "zero"),
    "proposal_ess": Score(
        "Learned density as a proposal", "effective fraction of importance weights", "high"
    ),
    "repeats": Score("Copies among samples", "share of samples that others equal"),
    "atom": Score("Rows of one value", "largest share in a column that is on no grid", "none"),
    "determined": Score("Columns that follow from others", "how many", "none"),
    "isolated": Score("Rows far from all others", "how many, in one column", "none"),
    "isolated_times": Score("How far these are", "over the next row, from the median", "none"),
    "outside_samples": Score("Samples outside the data", FARTHER),
    "outside_particles": Score("Training particles outside the data", FARTHER),
    "outside_held_out": Score("Held-out particles outside the data", FARTHER),
}
SUFFIXES = ("_error", "_floor", "_chance", "_lower", "_upper")


def tabulate(runs: Sequence[Mapping[str, float]]) -> list[tuple[Score, list[Entry]]]:
    """Every score that a run has, with its entry for each of the runs."""
    return [
        (SCORES.get(key, Score(key, "")), list(map(_entry, repeat(key), runs, rank(key, runs))))
        for key in score_keys({key: 0.0 for scores in runs for key in scores})
    ]


def score_keys(scores: Mapping[str, float]) -> list[str]:
    """The scores themselves, known ones first, without their errors, floors and bounds."""

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


def written(scores: Mapping[str, float], key: str) -> str:
    """A score with its error, to the digits that the error leaves."""
    value, error = scores.get(key), scores.get(f"{key}_error")
    if value is None:
        return "–"
    digits = None if error is None else _decimals(error)
    if digits is None or not math.isfinite(value):
        return rounded(value)
    return f"{to_error(value, error)} ± {error:.{digits}f}"


def to_error(value: float, error: float | None) -> str:
    """A number to the digits that an error leaves, or to three if there is none."""
    digits = None if error is None else _decimals(error)
    if digits is None or not math.isfinite(value):
        return rounded(value)
    return f"{value:.{digits}f}".replace("-", "−")


def _decimals(error: float) -> int | None:
    """Decimals for two digits of an error; None if that are too many, or none."""
    if not (math.isfinite(error) and error > 0):
        return None
    digits = max(0, 1 - math.floor(math.log10(error)))
    return digits if digits < 8 else None


def _entry(key: str, scores: Mapping[str, float], mark: str) -> Entry:
    floor = f"{key}_floor"
    return Entry(written(scores, key), rounded(scores[floor]) if floor in scores else "", mark)


def _cost(key: str, table: Mapping[str, float], ideal: str) -> float:
    value = table.get(key, math.inf)
    if not math.isfinite(value):
        return math.inf
    if ideal in ("one", "zero"):
        return abs(value - (ideal == "one"))
    floor = table.get(f"{key}_floor", value)  # beyond its floor a score is as good as perfect
    return -min(value, floor) if ideal == "high" else max(value, floor)
