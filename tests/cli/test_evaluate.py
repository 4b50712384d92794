"""The verbs about one trained run."""

import json
from pathlib import Path

from command_line import succeed, told

from wgflow.metrics.alarms import alarms
from wgflow.runs import evaluate as evaluation


def test_evaluate_prints_one_object(trained, cheap):
    scores = told("evaluate", trained, "--samples", 500)
    assert scores["run"] == str(trained)
    assert {"kl", "nll", "nll_error", "log_z", "sliced_w2", "sliced_w2_floor"} <= set(scores)
    kept = json.loads((trained / "scores.json").read_text())
    assert scores["alarms"] == [alarm._asdict() for alarm in alarms(kept)]


def test_what_is_wrong_is_said_in_words(trained, monkeypatch):
    scores = {"nll": 1.0, "log_z_particles": -2.0, "log_z_held_out": 18.0}
    monkeypatch.setattr(evaluation, "evaluate", lambda run, **options: scores)
    (alarm,) = alarms(scores)
    assert succeed("evaluate", trained).rstrip().endswith(alarm.sentence)
    assert told("evaluate", trained)["alarms"] == [alarm._asdict()]


def test_report_is_written_again(trained):
    (trained / "report.html").unlink()
    said = told("report", trained)
    assert Path(said["path"]) == trained / "report.html"
    assert (trained / "report.html").stat().st_size > 1000
