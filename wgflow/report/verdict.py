"""A summary of the scores in a few sentences: first what they say against the run."""

from collections.abc import Iterator, Mapping

from wgflow.metrics.alarms import alarms
from wgflow.report.material import Material
from wgflow.report.scores import written
from wgflow.report.template import rounded

GRADES = ("", "good", "fair", "poor")
DIVERGED = ("rollback", "diverged")

Finding = tuple[str, str]
"""A grade, or none, and a sentence."""


def verdict(material: Material) -> Finding:
    """The worst grade, and what the scores say in words: alarms first, remarks last."""
    scores = material.scores or {}
    said = [(alarm.grade, alarm.sentence) for alarm in alarms(scores)]
    findings = [*_given(scores), *_divergence(scores), *_likelihood(scores), *_distance(scores)]
    findings += _temperature(scores)
    findings = findings or [("", _ungraded(scores))]
    if rollbacks := sum(event.get("event") in DIVERGED for event in material.events):
        times = "once" if rollbacks == 1 else f"{rollbacks} times"
        findings.append(("", f"Training diverged and was rolled back {times}; see Health."))
    findings = [f for f in said if f[0]] + findings + [f for f in said if not f[0]]
    return max((grade for grade, _ in findings), key=GRADES.index), " ".join(
        s for _, s in findings
    )


def _given(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "target_log_z" in scores:
        low, high = (rounded(scores[f"target_log_z_{end}"]) for end in ("lower", "upper"))
        yield (
            "",
            f"log Z of the given energy is {written(scores, 'target_log_z')} nats, with bounds "
            f"{low} and {high}.",
        )


def _divergence(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "kl" in scores:
        words = {
            "good": "is very close to the true density",
            "fair": "is close to the true density, with visible differences",
            "poor": "is far from the true density",
        }
        grade, value = _grade(scores["kl"], 0.02, 0.15), written(scores, "kl")
        yield grade, f"The learned density {words[grade]}: KL(data‖model) is {value} nats."


def _likelihood(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "kl" in scores or not {"nll", "nll_gaussian"} <= set(scores):
        return
    gain = scores["nll_gaussian"] - scores["nll"]
    worse = gain < -2 * scores.get("nll_error", 0.0)
    yield (
        "poor" if worse else "",
        f"The held-out negative log-likelihood is {written(scores, 'nll')} nats per point"
        f"{', worse than' if worse else ';'} that of a Gaussian of the same moments"
        f"{':' if worse else ' is'} {written(scores, 'nll_gaussian')}.",
    )


def _distance(scores: Mapping[str, float]) -> Iterator[Finding]:
    if "sliced_w2" in scores and scores.get("sliced_w2_floor", 0) > 0:
        ratio = scores["sliced_w2"] / scores["sliced_w2_floor"]
        words = {
            "good": "Model samples are nearly as close to held-out data as exact samples are",
            "fair": "Model samples differ slightly from held-out data",
            "poor": "Model samples differ clearly from held-out data",
        }
        grade = _grade(ratio, 1.3, 2.0)
        yield grade, f"{words[grade]}: their sliced W₂ is {ratio:.2f} × that of exact samples."


def _temperature(scores: Mapping[str, float]) -> Iterator[Finding]:
    best = scores.get("temperature", 1.0)
    if abs(best - 1) > 0.1:
        shape = "flat" if best < 1 else "steep"
        yield (
            "fair",
            f"The energy is too {shape}: its best-fitting temperature is {best:.2f}, not 1.",
        )


def _ungraded(scores: Mapping[str, float]) -> str:
    if "nll" not in scores:
        return "This run has not been evaluated yet."
    return f"The held-out negative log-likelihood is {written(scores, 'nll')} nats per point."


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value <= good else "fair" if value <= fair else "poor"
