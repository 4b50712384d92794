"""Alarms: what scores are said to be wrong, and in which words."""

import math
import subprocess
import sys

import pytest

from wgflow.metrics.alarms import STANDARDISED, alarms, over_floor, why_unknown, worst

GOOD = {
    "nll": 1.5,
    "nll_error": 0.03,
    "log_z": 9.45,
    "log_z_error": 0.01,
    "log_z_lower": 9.40,
    "log_z_upper": 9.47,
    "log_z_particles": 9.2,
    "log_z_particles_error": 0.01,
    "log_z_held_out": 9.5,
    "log_z_held_out_error": 0.01,
    **{f"modes_{source}": 0.02 for source in ("density", "samples", "particles", "held_out")},
    **{f"modes_{source}_error": 0.01 for source in ("density", "samples", "particles")},
    "modes_density_draws": 240.0,
    "outside_samples": 0.004,
    "outside_samples_error": 0.001,
    "outside_samples_floor": 0.01,
}


def without(*names):
    return {name: value for name, value in GOOD.items() if name not in names}


def test_a_good_run_and_one_that_was_not_scored_have_none():
    assert alarms(GOOD) == []
    assert alarms({}) == []
    assert alarms({"kl": 0.004, "sliced_w2": 0.05, "sliced_w2_floor": 0.04}) == []


@pytest.mark.parametrize(("chance", "names"), [(0.11, []), (0.09, ["distance"])])
def test_samples_that_are_far_by_chance_ring_nothing(chance, names):
    far = {"sliced_w2": 0.1, "sliced_w2_floor": 0.04, "sliced_w2_chance": chance}
    assert [alarm.name for alarm in alarms(GOOD | far)] == names


def test_the_distance_in_units_of_learning_decides_where_it_is_known():
    far = {"sliced_w2": 9.0, "sliced_w2_floor": 0.04, "sliced_w2_chance": 0.1}
    near = {f"{STANDARDISED}{end}": value for end, value in (("", 0.05), ("_floor", 0.04))}
    assert (over_floor(GOOD), over_floor(far), over_floor(far | near)) == (None, 225.0, 1.25)
    assert alarms(GOOD | far | near) == []
    assert worst(GOOD | far | near | {STANDARDISED: 0.1}) == "poor"
    assert worst(GOOD | far | near | {STANDARDISED: 0.1, f"{STANDARDISED}_chance": 0.2}) == ""


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({"modes_density_draws": 50.0}, "fair"),
        ({"modes_density_draws": 49.0}, "poor"),  # the density is not known
        ({"modes_samples": -0.1}, "poor"),
        ({"modes_density": -0.1}, "poor"),
    ],
)
def test_particles_alone_do_not_make_a_density_poor_that_has_the_shares(changes, grade):
    assert worst(GOOD | {"modes_held_out": 0.29} | changes) == grade
    unknown = without("modes_density", "modes_density_draws")
    assert worst(unknown | {"modes_held_out": 0.29}) == "poor"


@pytest.mark.parametrize(("error", "names"), [(0.16, []), (0.15, ["mixture"])])
def test_a_mixture_that_is_likelier_by_chance_rings_nothing(error, names):
    said = {"nll_over_mixture": 0.31, "nll_over_mixture_error": error}
    assert [alarm.name for alarm in alarms(GOOD | said)] == names
    assert alarms(GOOD | said | {"kl": 0.01}) == []  # the divergence itself is known


def test_isolated_rows_are_counted():
    (alarm,) = alarms(GOOD | {"isolated": 3.0, "isolated_times": 12.4})
    assert alarm.sentence.startswith("In one column 3 rows lie 12 × as far")
    assert alarms(GOOD | {"isolated": 3.0}) == []  # of a file that lacks the rest


def test_the_gravest_grade():
    assert worst(GOOD) == worst({}) == ""
    assert worst(GOOD | {"temperature": 0.8}) == "fair"
    assert worst(GOOD | {"temperature": 0.8, "kl": 0.5}) == "poor"
    assert worst({"kl": 0.01}) == ""  # a remark alone


UNKNOWN = ("nll", "nll_error", "log_z", "log_z_error")
BAD = {
    "trained below": (
        GOOD | {"log_z_particles": -2.1, "log_z_held_out": 18.0},
        "log_z_gap",
        "The energy is pushed up at the particles that train it: their log Z is 20.1 nats below "
        "that of held-out particles.",
        "fair",
    ),
    "trained above": (
        GOOD | {"log_z_particles": 11.5},
        "log_z_gap",
        "The energy is pushed down at the particles that train it: their log Z is 2.0 nats above "
        "that of held-out particles.",
        "fair",
    ),
    "modes": (
        GOOD | {"modes_density": -0.18, "modes_held_out": 0.29, "modes_held_out_error": 0.02},
        "modes",
        "The share of one cluster of the data is off by −0.18 ± 0.01 in the density and +0.29 ± "
        "0.02 in held-out particles.",
        "poor",
    ),
    "far from the truth": (
        GOOD | {"kl": 0.53, "kl_error": 0.02},
        "kl",
        "The learned density is far from the true density: KL(data‖model) is 0.53 ± 0.02 nats.",
        "poor",
    ),
    "worse than a Gaussian": (
        GOOD | {"nll_gaussian": 1.25, "nll_gaussian_error": 0.04},
        "gaussian",
        "The held-out negative log-likelihood is 1.5 ± 0.03 nats per point, worse than that of a "
        "Gaussian of the same moments: 1.25 ± 0.04.",
        "poor",
    ),
    "worse than a mixture": (
        GOOD | {"nll_over_mixture": 0.31, "nll_over_mixture_error": 0.07},
        "mixture",
        "A mixture of Gaussians, fitted in seconds, is likelier by 0.31 ± 0.07 nats per held-out "
        "point: KL(data‖model) is that or more.",
        "poor",
    ),
    "a little worse than a mixture": (
        GOOD | {"nll_over_mixture": 0.31, "nll_over_mixture_error": 0.09},
        "mixture",
        "A mixture of Gaussians, fitted in seconds, is likelier by 0.31 ± 0.09 nats per held-out "
        "point: KL(data‖model) is that or more.",
        "fair",
    ),
    "samples far away": (
        GOOD | {"sliced_w2": 3000.0, "sliced_w2_floor": 0.05},
        "distance",
        "Model samples differ clearly from held-out data: their sliced W₂ is 6e+04 × that of "
        "exact samples.",
        "poor",
    ),
    "cold": (
        GOOD | {"temperature": 0.02},
        "temperature",
        "The energy is too flat: its best-fitting temperature is 0.02, not 1.",
        "poor",
    ),
    "a little warm": (
        GOOD | {"temperature": 1.3},
        "temperature",
        "The energy is too steep: its best-fitting temperature is 1.3, not 1.",
        "fair",
    ),
    "few draws": (
        GOOD | {"modes_density_draws": 12.3},
        "modes",
        "What share of each cluster of the data the density has is not known: annealing to it "
        "leaves 12 effective draws.",
        "",
    ),
    "crossed": (
        without(*UNKNOWN) | {"log_z_lower": 18.0, "log_z_upper": -2.1},
        "bounds",
        "There is no likelihood: the lower and the upper bound of log Z, 18 and −2.1, have "
        "crossed by more than chance allows, so that the particles do not follow the density.",
        "poor",
    ),
    "beyond": (
        without(*UNKNOWN),
        "bounds",
        "There is no likelihood: the estimate of log Z lies outside of its bounds, 9.4 and 9.47, "
        "by more than chance allows, so that the particles do not follow the density.",
        "poor",
    ),
    "drifting": (
        without(*UNKNOWN, "log_z_upper"),
        "bounds",
        "There is no likelihood: chains of the model still drift, so that log Z has but a lower "
        "bound, 9.4.",
        "poor",
    ),
    "crossed a little": (
        GOOD | {"log_z_lower": 20.0, "log_z_upper": 10.0},
        "bounds",
        "The lower and the upper bound of log Z, 20 and 10, have crossed by more than chance "
        "allows, so that the particles do not follow the density.",
        "poor",
    ),
    "outside": (
        GOOD
        | {"outside_samples": 0.032, "outside_particles": 0.2, "outside_particles_floor": 0.1},
        "outside",
        "Farther out than any row of the data lie 3.2 % of model samples and 20.0 % of training "
        "particles.",
        "poor",
    ),
    "repeats": (
        GOOD | {"repeats": 0.21, "repeats_floor": 0.01},
        "repeats",
        "Of model samples 21 % are copies of others: moves between them are stuck at a few "
        "points, and log Z may be too small.",
        "poor",
    ),
    "atom": (
        GOOD | {"atom": 0.6},
        "atom",
        "In one column 60 % of the rows have the very same value, which has a probability but no "
        "density: the likelihood is that of an arbitrarily narrow peak.",
        "fair",
    ),
    "determined": (
        GOOD | {"determined": 2.0},
        "determined",
        "2 columns follow from others: the rows fill no volume, and the likelihood is that of an "
        "arbitrarily thin layer.",
        "fair",
    ),
    "isolated": (
        GOOD | {"isolated": 1.0, "isolated_times": 3.2e5},
        "isolated",
        "In one column 1 row lies 3.2e+05 × as far from the median as any other, where no tail "
        "leads: errors, or what so few rows tell little of. The density learns them all the same.",
        "fair",
    ),
    "sandwich": (
        GOOD | {"log_z_upper": 12.0},
        "sandwich",
        "log Z is known to within 2.6 nats only.",
        "fair",
    ),
    "grid": (
        without("log_z_lower", "log_z_upper") | {"log_z_error": 0.4},
        "grid",
        "log Z is known to within 0.4 nats only: the density has peaks that are narrower than "
        "the cells of the finest grid.",
        "poor",
    ),
    "grid, after maps of the columns": (
        GOOD | {"log_z_lower": 2.0, "log_z": 2.0, "log_z_upper": 2.0, "log_z_error": 0.4},
        "grid",
        "log Z is known to within 0.4 nats only: the density has peaks that are narrower than "
        "the cells of the finest grid.",
        "poor",
    ),
    "not estimated": (
        without(*UNKNOWN, "log_z_lower", "log_z_upper"),
        "likelihood",
        "There is no likelihood: log Z was not estimated; `wgflow evaluate DIR --likelihood` "
        "estimates it, or says why it cannot.",
        "",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_each_alarm_rings_alone(case):
    scores, *expected = BAD[case]
    assert [list(alarm) for alarm in alarms(scores)] == [expected]


SILENT = {
    "a gap that chance explains": {"log_z_particles": 6.0, "log_z_particles_error": 1.0},
    "a share that chance explains": {"modes_samples": 0.3, "modes_samples_error": 0.08},
    "a share that hardly matters": {"modes_samples": 0.049, "modes_samples_error": 0.001},
    "bounds crossed by chance": {"log_z_lower": 12.0, "log_z_upper": 10.0},
    "data that repeat themselves": {"repeats": 0.4, "repeats_floor": 0.38},
    "few samples outside": {"outside_samples": 0.02, "outside_samples_error": 0.004},
}


@pytest.mark.parametrize("case", SILENT)
def test_what_chance_explains_is_no_alarm(case):
    assert alarms(GOOD | SILENT[case]) == []


def test_the_gravest_comes_first():
    scores = GOOD | {"log_z_upper": 12.0, "modes_density_draws": 3.0, "outside_samples": 0.5}
    assert [alarm.grade for alarm in alarms(scores)] == ["poor", "fair", ""]


def test_a_reason_is_the_second_half_of_a_sentence():
    for bounds in ((18.0, -2.0), (0.0, 1.0), (0.0, math.inf)):
        reason = why_unknown(*bounds)
        assert reason[0].islower()
        assert not reason.endswith(".")


def test_alarms_are_read_without_pytorch():
    code = "import sys, wgflow.metrics.alarms; print(*{'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
