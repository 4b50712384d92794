"""Signals end a command with one line and the code that shells expect."""

import os
import signal

import pytest
from command_line import run

from wgflow.cli.entry import _exit_code
from wgflow.cli.stops import Terminated, kept, terminating
from wgflow.errors import Interrupted
from wgflow.runs import summaries


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_any_verb_with_one_line(number, code, monkeypatch):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    # Shells start background jobs, as tests may be, with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(summaries, "list_runs", lambda folder: os.kill(os.getpid(), number))
    terminating()
    try:
        result = run("list")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line == "Stopped: what was written before is whole; run the command again."
    assert result.stdout == ""


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_trained_run_is_kept_and_scored_by_resume(stop, code, trained, monkeypatch):
    def halt(*arguments, **options):
        raise stop

    monkeypatch.setattr("wgflow.report.finish.finish", halt)
    result = run("resume", trained)
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line.endswith(f"for scores and report: wgflow resume {trained}")


def test_a_run_that_a_signal_interrupted_has_its_code():
    assert _exit_code(Interrupted("Stopped after step 3.", signal.SIGTERM)) == 143
    assert _exit_code(Interrupted("Stopped after step 3.")) == 130


def test_other_errors_are_not_renamed():
    with pytest.raises(ValueError, match="mine"), kept("yours"):
        raise ValueError("mine")
