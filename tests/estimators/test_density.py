"""Densities as estimators: units, conventions, and the run that goes with them."""

import gc
import math
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from estimated import SMALL
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import wgflow

X = np.random.default_rng(0).normal([1.0, -2.0], [1.0, 3.0], (60, 2))


def density(**changes):
    return wgflow.EnergyDensity(**{"steps": 3, "settings": SMALL, "random_state": 4} | changes)


@pytest.fixture(scope="module")
def fitted():
    return density().fit(X)


def test_scores_are_log_densities_of_the_run(fitted):
    scores = fitted.score_samples(X)
    assert np.array_equal(scores, fitted.run_.log_prob(torch.tensor(X)).numpy())
    assert fitted.score(X) == pytest.approx(scores.mean(), rel=1e-12)
    assert (scores.dtype, scores.shape) == (np.float64, (60,))


def test_densities_integrate_to_one(fitted):
    """By a sum over a box wider than that of log Z, whose tails are heavy after a few steps."""
    a, b = np.linspace(-11, 13, 400), np.linspace(-35, 31, 400)
    nodes = np.stack(np.meshgrid(a, b), -1).reshape(-1, 2)
    mass = np.exp(fitted.score_samples(nodes)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert mass == pytest.approx(1, abs=0.02)


def test_the_log_density_is_in_the_units_of_the_rows(fitted):
    """That of ``1000 x`` is that of x less ``d log 1000``."""
    other = density().fit(1000 * X)
    expected = fitted.score_samples(X) - 2 * math.log(1000)
    assert other.score_samples(1000 * X) == pytest.approx(expected, abs=1e-6)


def test_the_seed_is_an_integer_as_it_is_or_is_drawn(fitted):
    assert fitted.run_.config.seed == 4
    drawn = density(random_state=np.random.RandomState(7)).fit(X)
    assert drawn.run_.config.seed == np.random.RandomState(7).randint(2**31 - 1)
    assert np.array_equal(density().fit(X).score_samples(X), fitted.score_samples(X))
    assert not np.array_equal(drawn.score_samples(X), fitted.score_samples(X))


def test_samples_are_those_of_the_run(fitted):
    found = fitted.sample(5, random_state=3)
    expected = fitted.run_.sample(5, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(found, expected.numpy())
    assert fitted.sample().shape == (1, 2)
    with pytest.raises(ValueError, match="`n_samples` must be > 0 and finite: got 0"):
        fitted.sample(0)


def test_settings_are_those_of_the_command_line():
    run = density(settings=(*SMALL, "training.steps=9", "data.test_fraction=0.5")).fit(X).run_
    assert (run.steps, len(run.dataset.test)) == (3, 30)
    with pytest.raises(ValueError, match=r"Did you mean 'training.warmup'"):
        density(settings=("training.warmpu=3",)).fit(X)
    with pytest.raises(ValueError, match="`settings` must be a list of key=value, not one alone"):
        density(settings="training.warmup=3").fit(X)


def test_a_copy_has_a_folder_of_its_own(fitted):
    """It goes with the estimator, and so does what was found out about log Z."""
    original = clone(fitted).fit(X)
    original.score_samples(X)
    copy = pickle.loads(pickle.dumps(original))
    assert vars(copy.run_)["normaliser"] == original.run_.normaliser
    assert np.array_equal(copy.score_samples(X), original.score_samples(X))
    first, second = original.run_.path, copy.run_.path
    assert first != second
    test = original.run_.dataset.test
    del original
    gc.collect()
    assert not first.exists()
    assert torch.equal(copy.run_.dataset.test, test)
    assert np.array_equal(copy.sample(3, 0), clone(copy).fit(X).sample(3, 0))


def test_what_is_saved_is_a_run(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    run = wgflow.load(tmp_path / "run")
    assert np.array_equal(run.log_prob(torch.tensor(X)).numpy(), fitted.score_samples(X))
    rows = torch.cat([run.dataset.test, run.dataset.train, run.dataset.validation])
    assert torch.equal(rows.sort(0).values, torch.tensor(X).sort(0).values)
    with pytest.raises(ValueError, match="must be a new or an empty folder"):
        fitted.save(tmp_path / "run")


def test_an_unfitted_one_says_so(tmp_path):
    for use in (lambda: density().save(tmp_path / "run"), density().sample):
        with pytest.raises(Exception, match="not fitted yet"):
            use()


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.table], ids=["pandas", "arrow"])
def test_columns_have_the_names_of_the_frame(fitted, kind):
    frame = kind({"height": X[:, 0], "weight": X[:, 1]})
    named = density().fit(frame)
    assert named.run_.dataset.columns == ("height", "weight")
    assert list(named.feature_names_in_) == ["height", "weight"]
    assert np.array_equal(named.score_samples(frame), fitted.score_samples(X))
    with pytest.raises(ValueError, match="feature names should match"):
        named.score_samples(kind({"weight": X[:, 1], "height": X[:, 0]}))
    assert named.fit(X).run_.dataset.columns == ("x0", "x1")


def test_words_are_refused_with_what_learns_them():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "kind": ["x", "y", "x"]})
    with pytest.raises(ValueError, match=r"`X` must hold numbers: .* learned by wgflow.fit"):
        wgflow.EnergyDensity().fit(frame)


def test_a_pipeline_hands_on_what_it_scales(fitted):
    scaler = StandardScaler().fit(X)
    pipeline = make_pipeline(StandardScaler(), density()).fit(X)
    expected = fitted.score_samples(X) + np.log(scaler.scale_).sum()
    assert pipeline.score_samples(X) == pytest.approx(expected, abs=1e-6)
    assert pipeline.score(X) == pytest.approx(expected.mean(), abs=1e-6)


def test_a_search_takes_the_best_score():
    search = GridSearchCV(density(), {"steps": [1, 3]}, cv=2).fit(X)
    best = np.argmax(search.cv_results_["mean_test_score"])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.run_.steps == [1, 3][best]
