"""A summary of the scores in a few sentences: first what they say against the run."""

import math
from collections.abc import Iterator, Mapping

from wgflow.metrics.alarms import FAR, alarms, over_floor
from wgflow.report.material import Material
from wgflow.report.scores import to_error, written

GRADES = ("", "good", "fair", "poor")
DIVERGED = ("rollback", "diverged")

CLOSE = 0.02
"""Nats of KL divergence up to which a density is a good one."""

BESIDE = 1.3
"""Distances of samples to data, over that of exact samples, up to which they are good."""

Finding = tuple[str, str]
"""A grade, or none, and a sentence."""


def verdict(material: Material) -> Finding:
    """The worst grade, and what the scores say in words: alarms first, remarks last."""
    scores = material.scores or {}
    said = [(alarm.grade, alarm.sentence) for alarm in alarms(scores)]
    findings = [*_given(scores), *_divergence(scores), *_likelihood(scores), *_distance(scores)]
    findings = findings or ([] if any(g for g, _ in said) else [("", _ungraded(scores))])
    if rollbacks := sum(event.get("event") in DIVERGED for event in material.events):
        times = "once" if rollbacks == 1 else f"{rollbacks} times"
        findings.append(("", f"Training diverged and was rolled back {times}; see Health."))
    findings = [f for f in said if f[0]] + findings + [f for f in said if not f[0]]
    return max((grade for grade, _ in findings), key=GRADES.index), " ".join(
        s for _, s in findings
    )


def _given(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "target_log_z" in scores:
        error, ends = scores.get("target_log_z_error"), {"lower": -math.inf, "upper": math.inf}
        bounds = (scores.get(f"target_log_z_{end}", none) for end, none in ends.items())
        low, high = (to_error(bound, error) for bound in bounds)
        yield (
            "",
            f"log Z of the given energy is {written(scores, 'target_log_z')} nats, with bounds "
            f"{low} and {high}.",
        )


def _divergence(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "kl" in scores and scores["kl"] <= FAR:
        words = {
            "good": "is very close to the true density",
            "fair": "is close to the true density, with visible differences",
        }
        grade, value = _grade(scores["kl"], CLOSE), written(scores, "kl")
        yield grade, f"The learned density {words[grade]}: KL(data‖model) is {value} nats."


def _likelihood(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "kl" in scores or not {"nll", "nll_gaussian"} <= set(scores):
        return
    if any(alarm.name == "gaussian" for alarm in alarms(scores)):
        return
    yield (
        "",
        f"The held-out negative log-likelihood is {written(scores, 'nll')} nats per point; that "
        f"of a Gaussian of the same moments is {written(scores, 'nll_gaussian')}.",
    )


def _distance(scores: Mapping[str, float]) -> Iterator[Finding]:
    if (ratio := over_floor(scores)) is not None:
        if any(alarm.name == "distance" for alarm in alarms(scores)):
            return
        words = {
            "good": "Model samples are nearly as close to held-out data as exact samples are",
            "fair": "Model samples differ slightly from held-out data",
        }
        grade = _grade(ratio, BESIDE)
        yield grade, f"{words[grade]}: their sliced W₂ is {ratio:.2f} × that of exact samples."


def _ungraded(scores: Mapping[str, float]) -> str:
    if "nll" not in scores:
        return "This run has not been evaluated yet."
    return f"The held-out negative log-likelihood is {written(scores, 'nll')} nats per point."


def _grade(value: float, good: float) -> str:
    return "good" if value <= good else "fair"
