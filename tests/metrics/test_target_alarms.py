"""Alarms of samples of a given energy, among those of the run."""

import pytest

from wgflow.metrics.alarms import alarms
from wgflow.metrics.target_alarms import target_alarms

GOOD = {
    "target_log_z": 1.0,
    "target_log_z_error": 0.01,
    "target_log_z_lower": 0.98,
    "target_log_z_upper": 1.02,
    "target_ess": 0.9,
    "target_reach": 2.4,
    "target_rhat": 1.01,
    "proposal_ess": 0.8,
}
BAD = {
    "start": (
        {"target_reach": 3.4},
        "Samples of the given energy reach 3.4 standard deviations of the start: what lies "
        "farther out may be missing, from log Z and its bounds too; repeat with a wider start "
        "(the option scale).",
        "fair",
    ),
    "chains": ({"target_rhat": 1.3}, "split R-hat is 1.30", "poor"),
    "excluded": (
        {"target_excluded": 0.03},
        "At 3 % of its evaluations the given energy was not a number, raised an error, or had no "
        "finite gradient: it counts as infinite there",
        "fair",
    ),
    "missed": (
        {"target_missed": 0.04},
        "Minima of the given energy below its samples have 4 % of the mass around them and hardly "
        "a sample",
        "fair",
    ),
    "samples": ({"target_ess": 0.04}, "worth 4 % of their number", "fair"),
    "proposal": ({"proposal_ess": 0.02}, "worth 2 % of their number as proposals", "fair"),
    "target_bounds": ({"target_log_z_upper": 4.0}, "are 3 nats apart", "fair"),
}


def test_good_samples_and_runs_without_a_given_energy_have_none():
    assert list(target_alarms(GOOD)) == []
    assert list(target_alarms({"nll": 1.0, "target_reach": 9.0})) == []


@pytest.mark.parametrize("name", BAD)
def test_each_alarm_rings_alone_and_among_those_of_the_run(name):
    change, words, grade = BAD[name]
    ((found, sentence, worst),) = target_alarms(GOOD | change)
    assert (found, worst) == (name, grade)
    assert words in sentence
    assert any(alarm.name == name for alarm in alarms(GOOD | change))


def test_samples_far_out_of_the_start_are_not_to_be_believed():
    """Annealing from N(0, 9) to a funnel that is 12 times as wide missed log Z by 60 errors."""
    ((name, sentence, grade),) = target_alarms(GOOD | {"target_reach": 12.0})
    assert (name, grade) == ("start", "poor")
    assert "reach 12.0 standard deviations" in sentence


def test_an_energy_that_mostly_has_no_value_is_not_to_be_believed():
    ((name, _, grade),) = target_alarms(GOOD | {"target_excluded": 0.7})
    assert (name, grade) == ("excluded", "poor")
    assert list(target_alarms(GOOD | {"target_excluded": 0.009})) == []
    ((name, _, grade),) = target_alarms(GOOD | {"target_missed": 0.5})
    assert (name, grade) == ("missed", "poor")


def test_bounds_cross_by_chance_or_beyond_it():
    """By four errors of log Z, and a quarter of a nat, they may."""
    for error, crossing, rings in ((0.1, 0.39, False), (0.1, 0.41, True), (0.001, 0.24, False)):
        ends = {"target_log_z_lower": 3.0 + crossing, "target_log_z_upper": 3.0}
        found = list(target_alarms(GOOD | ends | {"target_log_z_error": error}))
        assert [(name, grade) for name, _, grade in found] == [("target_bounds", "fair")] * rings


def test_bounds_that_contradict_each_other_or_the_value_are_the_gravest():
    crossed = GOOD | {"target_log_z_lower": 20.0, "target_log_z_upper": 5.0}
    unknown = {k: v for k, v in GOOD.items() if k not in ("target_log_z", "target_log_z_error")}
    for scores in (crossed, unknown):
        ((name, sentence, grade),) = target_alarms(scores)
        assert (name, grade) == ("target_bounds", "poor")
        assert "contradict" in sentence
