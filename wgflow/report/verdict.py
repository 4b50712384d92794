"""What a reader should take home, in plain words."""

import math
from collections.abc import Mapping

from wgflow.report.material import Material
from wgflow.report.scores import written

GRADES = ("", "good", "fair", "poor")
ALARMS = ("rollback", "diverged")


def verdict(material: Material) -> tuple[str, str]:
    """The worst grade (or none), and what a reader should take home, in plain words."""
    scores = material.scores or {}
    graded = [_kl_sentence(scores), _transport_sentence(scores), _temperature_sentence(scores)]
    sentences = [sentence for _, sentence in graded if sentence]
    if not sentences:
        sentences = ["This run has not been scored yet."]
        if "nll" in scores:
            sentences = [f"Held-out data cost {written(scores, 'nll')} nats per point."]
    if alarms := sum(event.get("event") in ALARMS for event in material.events):
        times = "once" if alarms == 1 else f"{alarms} times"
        sentences.append(f"Learning diverged and was rolled back {times}; see Health.")
    return max((grade for grade, _ in graded), key=GRADES.index), " ".join(sentences)


def _kl_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    if "kl" not in scores:
        return "", ""
    words = {
        "good": "is very close to the true one",
        "fair": "is near the true one, with visible differences",
        "poor": "is still far from the true one",
    }
    grade = _grade(scores["kl"], 0.02, 0.15)
    value = written(scores, "kl")
    return grade, f"The learned density {words[grade]}: KL {value} nats, where 0 is perfect."


def _transport_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    if not scores.get("sliced_w2_floor", 0) > 0 or "sliced_w2" not in scores:
        return "", ""
    ratio = scores["sliced_w2"] / scores["sliced_w2_floor"]
    words = {
        "good": "Fresh samples look like held-out data",
        "fair": "Fresh samples differ a little from held-out data",
        "poor": "Fresh samples differ clearly from held-out data",
    }
    grade = _grade(ratio, 1.3, 2.0)
    return grade, f"{words[grade]}: {ratio:.2f} times as far as other real data are (sliced W₂)."


def _temperature_sentence(scores: Mapping[str, float]) -> tuple[str, str]:
    best = scores.get("temperature", math.nan)
    if not abs(best - 1) > 0.1:
        return "", ""
    shape = "flat" if best < 1 else "steep"
    return "fair", f"The energy is too {shape}: its best-fitting temperature is {best:.2f}, not 1."


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value <= good else "fair" if value <= fair else "poor"
