"""Points that memory does not hold, and annealing that takes too long, are refused or left out."""

import logging

import pytest

from wgflow._progress import TooLong
from wgflow.runs import evaluate as evaluation
from wgflow.runs.run import Run


def test_more_points_than_memory_holds_are_refused(runs):
    with pytest.raises(ValueError, match=r"hold .* TiB for 1000000000000 points: got .* free"):
        runs["moons"].sample(10**12)


def test_annealing_that_would_take_too_long_is_left_out(runs, monkeypatch, caplog):
    def slow(run):
        raise TooLong("Annealing for log Z would take 12 min, more than 10 min")

    monkeypatch.setattr(Run, "normaliser", property(slow))
    with caplog.at_level(logging.WARNING):
        assert evaluation.normaliser_of(runs["moons"], None) is None
    assert "would take 12 min, more than 10 min: left out; `--likelihood` takes" in caplog.text
    with pytest.raises(TooLong):
        evaluation.normaliser_of(runs["moons"], True)
