"""The verbs about one trained run."""

import json
from pathlib import Path

import pytest
from command_line import run, succeed, told

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


@pytest.mark.parametrize(
    ("scores", "verdict", "code"),
    [
        ({"kl": 0.01}, "healthy", 0),
        ({"kl": 0.01, "temperature": 1.2}, "fair", 0),
        ({"nll": 1.0, "sliced_w2": 900.0, "sliced_w2_floor": 0.1}, "poor", 3),
    ],
)
@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_poor_density_has_an_exit_code(trained, monkeypatch, scores, verdict, code, how):
    monkeypatch.setattr(evaluation, "evaluate", lambda run, **options: scores)
    ended = run("evaluate", trained, *how)
    assert ended.exit_code == code
    if how:
        assert json.loads(ended.stdout)["verdict"] == verdict
