"""Outliers by energy: the line between them and the rest, and the conventions about signs."""

import numpy as np
import pytest
from estimated import SMALL

import wgflow

X = np.random.default_rng(1).normal([1.0, -2.0], [1.0, 3.0], (50, 2))


def outlier(**changes):
    return wgflow.EnergyOutlier(**{"steps": 3, "settings": SMALL, "random_state": 4} | changes)


@pytest.mark.parametrize("contamination", [0.1, 0.5])
def test_the_given_share_of_the_rows_is_outside(contamination):
    found = outlier(contamination=contamination).fit(X)
    assert (found.predict(X) == -1).sum() == contamination * 50
    assert np.array_equal(found.decision_function(X), found.score_samples(X) - found.offset_)
    assert np.array_equal(found.predict(X) == -1, found.decision_function(X) < 0)


def test_what_is_far_is_an_outlier_and_what_is_likely_is_not():
    found = outlier().fit(X)
    assert found.predict([[1.0, -2.0], [1.0, 40.0], [-30.0, -2.0]]).tolist() == [1, -1, -1]


def test_scores_are_log_densities_up_to_log_z():
    """The same run as that of `EnergyDensity`: only the constant is another."""
    found = outlier().fit(X)
    density = wgflow.EnergyDensity(steps=3, settings=SMALL, random_state=4).fit(X)
    unit = float(density.run_.energy.scale.log().sum())  # of standardised points
    expected = density.score_samples(X) + density.run_.normaliser.value + unit
    assert found.score_samples(X) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("contamination", [0.0, 0.6, float("nan")])
def test_the_share_has_its_range(contamination):
    with pytest.raises(ValueError, match="`contamination` must be above 0 and at most 1/2: got"):
        outlier(contamination=contamination).fit(X)
