"""The verbs about one trained run."""

from pathlib import Path

from command_line import told


def test_evaluate_prints_one_object(trained, cheap):
    scores = told("evaluate", trained, "--samples", 500)
    assert scores["run"] == str(trained)
    assert {"kl", "nll", "nll_error", "log_z", "sliced_w2", "sliced_w2_floor"} <= set(scores)


def test_report_is_written_again(trained):
    (trained / "report.html").unlink()
    said = told("report", trained)
    assert Path(said["path"]) == trained / "report.html"
    assert (trained / "report.html").stat().st_size > 1000
