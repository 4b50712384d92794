"""The posterior of a logistic regression."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from problems import F64, seeded
from sklearn.linear_model import LogisticRegression as MostLikely
from torch.distributions import Bernoulli, Normal

from wgflow.energies.base import energy_and_grad
from wgflow.likelihood.quadrature import Grid, log_z
from wgflow.targets.regression import LogisticRegression, logistic_regression

NUMBERS = np.random.default_rng(0)
A = NUMBERS.normal(size=(60, 3)) * [1.0, 5.0, 0.1] + [0.0, 30.0, -2.0]
Y = (NUMBERS.normal(size=60) + A[:, 0] > 0).astype(int)


def test_the_energy_is_minus_log_prior_times_likelihood():
    target = logistic_regression(A, Y, 2.0, standardise=False)
    w = torch.randn(5, 4, dtype=F64, generator=seeded(1))
    logits = w[:, :1] + w[:, 1:] @ torch.from_numpy(A).T
    likelihood = Bernoulli(logits=logits).log_prob(torch.from_numpy(Y).double()).sum(1)
    prior = Normal(0.0, 2.0).log_prob(w).sum(1)
    constant = 2 * math.log(2 * math.pi * 4)  # of the prior, (2πs²)^{d/2}
    torch.testing.assert_close(target.energy(w), -likelihood - prior - constant)
    torch.testing.assert_close(target.start.log_prob(w), prior)


def test_one_row_is_a_coin_of_its_symmetry():
    """``p(y) = E σ(w) = ½`` under the prior, so that ``log Z = ½ log 2πs² - log 2``."""
    energy = LogisticRegression(torch.ones(1, 1), torch.ones(1), 1.5)
    found = log_z(energy, Grid.box([-15.0], [15.0], 300))
    assert found.item() == pytest.approx(0.5 * math.log(2 * math.pi * 2.25) - math.log(2))


@pytest.mark.parametrize("intercept", [True, False])
def test_its_mode_is_that_of_scikit_learn(intercept):
    target = logistic_regression(A, Y, 1.5, intercept=intercept)
    design = (A - A.mean(0)) / A.std(0)
    if intercept:
        design = np.concatenate([np.ones((60, 1)), design], 1)
    best = MostLikely(C=1.5**2, fit_intercept=False, tol=1e-10).fit(design, Y)
    _, grad = energy_and_grad(target.energy, torch.from_numpy(best.coef_))
    assert grad.abs().max() < 1e-3


def test_standardised_columns_have_no_units():
    w = torch.randn(5, 4, dtype=F64, generator=seeded(2))
    first, second = logistic_regression(A, Y), logistic_regression(100 * A - 7, Y)
    torch.testing.assert_close(first.energy(w), second.energy(w))


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_data_frames_of_any_library(library):
    frame = library({"a": A[:, 0], "b": A[:, 1], "c": A[:, 0] > 0})
    w = torch.randn(5, 4, dtype=F64, generator=seeded(3))
    plain = np.stack([A[:, 0], A[:, 1], A[:, 0] > 0], 1)
    expected = logistic_regression(plain, Y).energy(w)
    torch.testing.assert_close(logistic_regression(frame, Y).energy(w), expected)


@pytest.mark.parametrize(
    "labels",
    [Y == 1, np.where(Y, "yes", "no"), pd.Series(np.where(Y, "yes", "no")), 3 * Y - 1, list(Y)],
)
def test_the_larger_label_is_the_one(labels):
    w = torch.randn(5, 4, dtype=F64, generator=seeded(4))
    expected = logistic_regression(A, Y).energy(w)
    torch.testing.assert_close(logistic_regression(A, labels).energy(w), expected)


def frame(**columns):
    return pd.DataFrame({"a": A[:, 0]} | columns)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (frame(b=1.0), Y, "must vary to be standardised: got a constant column 'b'"),
        (frame(b=[math.nan] + 59 * [1.0]), Y, "must be finite: got nan in row 0, column 'b'"),
        (frame(b="text"), Y, "must be columns of numbers: got other in 'b'"),
        (A[:, 0], Y, r"must have shape \(rows, columns\): got \(60,\)"),
        ("names", Y, "`features` must be a data frame"),
        (A, Y[:5], r"`labels` must have shape \(60,\), one a row: got \(5,\)"),
        (A, 0 * Y, "`labels` must have two different values: got 1"),
        (A, np.arange(60), "two different values: got 60"),
    ],
)
def test_bad_tables_are_refused(features, labels, message):
    with pytest.raises(ValueError, match=message):
        logistic_regression(features, labels)


def test_a_prior_has_a_scale():
    with pytest.raises(ValueError, match="`prior_scale` must be > 0"):
        logistic_regression(A, Y, 0.0)
