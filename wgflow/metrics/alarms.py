"""What the scores of a run say against it, in words: the same ones wherever they are shown.

This file imports nothing heavy, so that scores can be read without waiting for PyTorch.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wgflow.metrics.data_alarms import data_alarms
from wgflow.metrics.target_alarms import target_alarms

ERRORS = 4.0
"""Standard errors beyond which a difference is no chance: six in a hundred thousand."""

GAP = 1.0
"""Nats of log Z within which particles that train and particles that do not agree."""

SHARE = 0.05
"""By how much the share of a cluster may be off."""

CROSSED = 9.0
"""Nats by which bounds of log Z may cross by chance.

By Markov's inequality either is on its wrong side by a nats with probability ``exp(-a)`` at most,
so that both together are by c with ``(1 + c) exp(-c)``: .1 % for 9.
"""

WIDE = 1.0
"""Nats between the bounds of log Z that leave a likelihood worth its digits."""

COPIES = 0.05
"""Share of samples that may be copies of others, beyond that of the data."""

FEWEST = 50.0
"""Effective draws from the density below which its shares are not known."""

FAR = 0.15
"""Nats of KL divergence from the true density beyond which a density is a poor one."""

APART = 2.0
"""Distances of samples to data, over that of exact samples, beyond which they differ clearly.

One of them alone may be far by chance, so that they must be beyond what chance explains too.
"""

STANDARDISED = "sliced_w2_standardised"
"""The distance in the units of learning, in which one far point decides less."""

COLD, MUCH_COLDER = 0.1, 2.0
"""By how much the best-fitting temperature may be off 1, and the factor that makes it poor."""

SOURCES = {
    "density": "the density",
    "samples": "model samples",
    "particles": "training particles",
    "held_out": "held-out particles",
}
"""What has shares of clusters, and all but the first of what lies outside of the data."""


GRADES = ("poor", "fair", "")
"""Of alarms, the gravest first."""


class Alarm(NamedTuple):
    """What is wrong with a run, in one sentence.

    Attributes:
        name: ``kl``, ``gaussian``, ``mixture``, ``distance``, ``temperature``, ``log_z_gap``,
            ``bounds``, ``modes``, ``outside``, ``repeats``, ``atom``, ``determined``,
            ``isolated``, ``sandwich``, ``grid``, ``likelihood``, or one of `target_alarms`.
        sentence: for people.
        grade: the best that a verdict may be: ``poor`` or ``fair``; empty for a mere remark.
    """

    name: str
    sentence: str
    grade: str


def alarms(scores: Mapping[str, float]) -> list[Alarm]:
    """What scores of `wgflow.runs.evaluate.evaluate` say against a run, the gravest first."""
    if not scores:
        return []
    found = [*_bounds(scores), *_modes(scores), *_outside(scores), *_repeats(scores)]
    found += [*_divergence(scores), *_gaussian(scores), *_mixture(scores), *_distance(scores)]
    found += [*_temperature(scores), *_gap(scores), *_sandwich(scores), *_unknown(scores)]
    found += [Alarm(*said) for said in (*data_alarms(scores), *target_alarms(scores))]
    return sorted(found, key=lambda alarm: GRADES.index(alarm.grade))


def worst(scores: Mapping[str, float]) -> str:
    """The gravest grade of the alarms of scores: ``poor`` or ``fair``; empty for none."""
    return min((alarm.grade for alarm in alarms(scores)), key=GRADES.index, default="")


def over_floor(scores: Mapping[str, float]) -> float | None:
    """Sliced W₂ of samples to data over that of exact samples; None where it is not known."""
    name = _distance_name(scores)
    floor = scores.get(f"{name}_floor", 0.0)
    return scores[name] / floor if name in scores and floor > 0 else None


def why_unknown(lower: float, upper: float) -> str:
    """Why these bounds of log Z go with no value of it; the second half of a sentence."""
    if not math.isfinite(upper):
        below = _number(lower)
        return f"chains of the model still drift, so that log Z has but a lower bound, {below}"
    bounds = f"{_number(lower)} and {_number(upper)}"
    if lower > upper:
        return (
            f"the lower and the upper bound of log Z, {bounds}, have crossed by more than chance "
            "allows, so that the particles do not follow the density"
        )
    return (
        f"the estimate of log Z lies outside of its bounds, {bounds}, by more than chance allows, "
        "so that the particles do not follow the density"
    )


def _bounds(scores: Mapping[str, float]) -> Iterator[Alarm]:
    if "log_z_lower" not in scores:
        return
    lower, upper = scores["log_z_lower"], scores.get("log_z_upper", math.inf)
    if "log_z" not in scores:
        yield Alarm("bounds", f"There is no likelihood: {why_unknown(lower, upper)}.", "poor")
    elif lower - upper > CROSSED:
        yield Alarm("bounds", _sentence(why_unknown(lower, upper)), "poor")


def _modes(scores: Mapping[str, float]) -> Iterator[Alarm]:
    wrong, draws = {}, scores.get("modes_density_draws", math.inf)
    for source, name in SOURCES.items():
        off, error = _with_error(scores, f"modes_{source}")
        if abs(off) > max(SHARE, ERRORS * error):
            wrong[source] = f"{_signed(off)} ± {error:.2f} in {name}"
    # Errors of particles do not know of relatives, as resampling makes them.
    known = "modes_density" in scores and draws >= FEWEST
    right = known and not {"density", "samples"} & set(wrong)
    if wrong:
        sentence = f"The share of one cluster of the data is off by {_listed([*wrong.values()])}."
        yield Alarm("modes", sentence, "fair" if right else "poor")
    if draws < FEWEST:
        sentence = (
            "What share of each cluster of the data the density has is not known: annealing to it "
            f"leaves {draws:.0f} effective draws."
        )
        yield Alarm("modes", sentence, "")


def _outside(scores: Mapping[str, float]) -> Iterator[Alarm]:
    far = []
    for source, name in SOURCES.items():
        share, error = _with_error(scores, f"outside_{source}")
        if share - ERRORS * error > scores.get(f"outside_{source}_floor", math.inf):
            far.append(f"{100 * share:.1f} % of {name}")
    if far:
        sentence = f"Farther out than any row of the data lie {_listed(far)}."
        yield Alarm("outside", sentence, "poor")


def _repeats(scores: Mapping[str, float]) -> Iterator[Alarm]:
    share = scores.get("repeats", 0.0)
    if share - scores.get("repeats_floor", 0.0) > COPIES:
        yield Alarm(
            "repeats",
            f"Of model samples {100 * share:.0f} % are copies of others: moves between them are "
            "stuck at a few points, and log Z may be too small.",
            "poor",
        )


def _divergence(scores: Mapping[str, float]) -> Iterator[Alarm]:
    kl = scores.get("kl", 0.0)
    if kl > FAR:
        sentence = "The learned density is far from the true density: KL(data‖model) is"
        yield Alarm("kl", f"{sentence} {_within(scores, 'kl')} nats.", "poor")


def _gaussian(scores: Mapping[str, float]) -> Iterator[Alarm]:
    if "kl" in scores or not {"nll", "nll_gaussian"} <= set(scores):
        return
    worse = scores["nll"] - scores["nll_gaussian"]
    if worse > 2 * scores.get("nll_error", 0.0):
        yield Alarm(
            "gaussian",
            f"The held-out negative log-likelihood is {_within(scores, 'nll')} nats per point, "
            "worse than that of a Gaussian of the same moments: "
            f"{_within(scores, 'nll_gaussian')}.",
            "poor",
        )


def _mixture(scores: Mapping[str, float]) -> Iterator[Alarm]:
    gain, error = _with_error(scores, "nll_over_mixture")
    if "kl" in scores or gain <= 2 * error:
        return
    yield Alarm(
        "mixture",
        f"A mixture of Gaussians, fitted in seconds, is likelier by {gain:.2g} ± {error:.1g} nats "
        "per held-out point: KL(data‖model) is that or more.",
        "poor" if gain - 2 * error > FAR else "fair",
    )


def _distance(scores: Mapping[str, float]) -> Iterator[Alarm]:
    name, ratio = _distance_name(scores), over_floor(scores)
    if ratio is None or scores[name] <= scores.get(f"{name}_chance", 0.0):
        return
    if ratio > APART:
        sentence = "Model samples differ clearly from held-out data: their sliced W₂ is"
        yield Alarm("distance", f"{sentence} {ratio:.3g} × that of exact samples.", "poor")


def _temperature(scores: Mapping[str, float]) -> Iterator[Alarm]:
    best = scores.get("temperature", 1.0)
    if abs(best - 1) > COLD:
        shape = "flat" if best < 1 else "steep"
        yield Alarm(
            "temperature",
            f"The energy is too {shape}: its best-fitting temperature is {best:.2g}, not 1.",
            "fair" if 1 / MUCH_COLDER <= best <= MUCH_COLDER else "poor",
        )


def _gap(scores: Mapping[str, float]) -> Iterator[Alarm]:
    trained, error = _with_error(scores, "log_z_particles")
    held_out, other = _with_error(scores, "log_z_held_out")
    gap = held_out - trained
    if abs(gap) > max(GAP, ERRORS * math.hypot(error, other)):
        pushed, side = ("up", "below") if gap > 0 else ("down", "above")
        sentence = (
            f"The energy is pushed {pushed} at the particles that train it: their log Z is "
            f"{abs(gap):.1f} nats {side} that of held-out particles."
        )
        yield Alarm("log_z_gap", sentence, "fair")


def _sandwich(scores: Mapping[str, float]) -> Iterator[Alarm]:
    if "log_z" not in scores:
        return
    width = scores.get("log_z_upper", 0.0) - scores.get("log_z_lower", 0.0)
    if not width and scores.get("log_z_error", 0.0) > FAR:  # by quadrature, which has no bounds
        sentence = (
            f"log Z is known to within {scores['log_z_error']:.2g} nats only: the density has "
            "peaks that are narrower than the cells of the finest grid."
        )
        yield Alarm("grid", sentence, "poor")
    if width > WIDE:
        yield Alarm("sandwich", f"log Z is known to within {width:.1f} nats only.", "fair")


def _unknown(scores: Mapping[str, float]) -> Iterator[Alarm]:
    if not {"nll", "kl", "log_z", "log_z_lower"} & set(scores):
        sentence = (
            "There is no likelihood: log Z was not estimated; `wgflow evaluate DIR --likelihood` "
            "estimates it, or says why it cannot."
        )
        yield Alarm("likelihood", sentence, "")


def _with_error(scores: Mapping[str, float], key: str) -> tuple[float, float]:
    return scores.get(key, 0.0), scores.get(f"{key}_error", 0.0)


def _distance_name(scores: Mapping[str, float]) -> str:
    return STANDARDISED if STANDARDISED in scores else "sliced_w2"


def _within(scores: Mapping[str, float], key: str) -> str:
    """A score, and its error where there is one."""
    error = f" ± {scores[f'{key}_error']:.2g}" if f"{key}_error" in scores else ""
    return f"{_number(scores[key])}{error}"


def _number(value: float) -> str:
    """Four digits, with a true minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _listed(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
