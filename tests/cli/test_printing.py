"""Tables, and the progress of a run."""

import math
import sys
import time

import pytest

from wgflow._progress import BEGINNING, watched
from wgflow.cli.printing import normaliser_text, score_table
from wgflow.cli.progress import Progress, telling, waiting
from wgflow.cli.sampling import PARTS, Sampling
from wgflow.likelihood.annealing import LogZ


def test_scores_stand_beside_their_floors_and_errors():
    scores = {"kl": 0.5, "kl_error": 0.25, "w2": 3.0, "w2_floor": 2.0, "mode_error": 0.75}
    names, cells = score_table({"r": scores}).columns
    assert list(names.cells) == ["kl", "w2", "mode_error"]
    assert list(cells.cells) == ["0.5 ± 0.25", "3  (floor 2)", "0.75"]


def test_values_have_the_digits_that_their_errors_leave():
    scores = {"a": -108.1113, "a_error": 0.00064, "b": 2.2214e-6, "b_error": 1.0, "c": 12345.678}
    _, cells = score_table({"r": scores}).columns
    assert list(cells.cells) == ["-108.1113 ± 0.00064", "2.221e-06 ± 1", "1.235e+04"]


def test_a_normaliser_stands_beside_its_error_and_its_bounds():
    text = normaliser_text(LogZ(-0.226561, 0.02, -0.231012, -0.232523))
    assert text == "-0.2266 ± 0.02, lower bound -0.231, upper bound -0.2325"
    refuted = normaliser_text(LogZ(math.nan, math.inf, 2.0, 1.0))
    assert refuted == "not known, as its bounds contradict each other"


def test_progress_off_a_terminal_is_an_occasional_line(capsys):
    with Progress(3, every=1e9) as progress:
        progress(1, {"kl": 0.5, "ess": 0.25, "unknown": 1.0})
        progress(2, {"ess": 0.75})
        progress(3, {"acceptance": 0.5})
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "step 3/3  KL 0.5  ESS 0.75  acceptance 0.5\n"


def test_the_time_left_is_by_the_steps_that_were_seen(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 4.0, 4.0, 4.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress(10, every=1.0)
    progress(0, {})
    progress(2, {"kl": 0.5})
    assert capsys.readouterr().err == "step 2/10  KL 0.5  16 s left\n"


def test_slow_energies_are_told_before_the_first_step(capsys):
    sampling = Sampling(Progress(PARTS, every=1e9))
    sampling(0.0, {"beta": 0.0, BEGINNING: 40.0})
    assert "The energies of all particles once: 40 s." in capsys.readouterr().err
    sampling(0.0, {"beta": 0.0, BEGINNING: 1.0})
    sampling(0.1, {"beta": 0.1})
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(2) as progress:
        progress(1, {"kl": 0.5})
    assert "KL 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_waiting_is_told_on_a_terminal(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with waiting("Scoring"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Scoring" in err) is terminal


def test_long_work_is_told_in_lines(capsys):
    with telling(every=0.0):
        assert list(watched(range(2), "Annealing")) == [0, 1]
    assert capsys.readouterr().err.splitlines() == [
        "Annealing 1/2, 0 s left",
        "Annealing 2/2, 0 s left",
    ]
    assert list(watched(range(2), "Annealing")) == [0, 1]
    assert capsys.readouterr().err == ""
