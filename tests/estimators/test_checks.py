"""Both estimators pass the checks that scikit-learn has for estimators of their kind."""

from estimated import SMALL
from sklearn.utils.estimator_checks import parametrize_with_checks

from wgflow import EnergyDensity, EnergyOutlier
from wgflow.likelihood import from_particles

ESTIMATORS = [kind(steps=1, settings=SMALL) for kind in (EnergyDensity, EnergyOutlier)]
REFUSED = {
    "check_do_not_raise_errors_in_init_or_set_params": "Constructors refuse arguments of another "
    "type than they say, but only under the tests, which check types as they run."
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: REFUSED)
def test_conventions(estimator, check, monkeypatch):
    """Whatever log Z is: its chains are few."""
    monkeypatch.setattr(from_particles, "CHAINS", 50)
    monkeypatch.setattr(from_particles, "temperatures", lambda dim: 5)
    check(estimator)
