"""Networks on tables: the spline flow stops early, WGFlow learns and scores in raw units."""

import numpy as np
import pytest

from benchmarks.tables_data import files_of
from benchmarks.tables_flows import SplineFlow, WGFlow
from benchmarks.tables_methods import Part

QUICK = (
    *("energy.width=16", "energy.depth=1", "energy.features=8", "training.steps=4"),
    *("training.batch_size=64", "training.warmup=1", "training.evaluate_every=4"),
    *("scheme.scheme.dynamics.size=64", "scheme.scheme.dynamics.held_out=64"),
)


@pytest.fixture
def part(tmp_path):
    x = np.random.default_rng(0).normal([5.0, -300.0], [0.1, 40.0], (400, 2))
    return Part("two", ("a", "b"), x[:300], x[300:], 0, tmp_path)


def mass(log_prob):
    a, b = np.linspace(4, 6, 121), np.linspace(-700, 100, 121)
    nodes = np.stack(np.meshgrid(a, b), -1).reshape(-1, 2)
    return np.exp(log_prob(nodes)).sum() * (a[1] - a[0]) * (b[1] - b[0])


def test_a_spline_flow_stops_early_at_its_best(part):
    pytest.importorskip("zuko")
    found = SplineFlow(transforms=1, hidden=(16,), rate=0.1, batch=64, patience=1).fit(part)
    told = found.told()
    assert told["steps"] % 25 == 0  # by patience and not by time
    assert 50 <= told["steps"] < 1000
    assert mass(found.log_prob) == pytest.approx(1, abs=0.02)
    assert found.sample(500, 1).mean(0) == pytest.approx([5, -300], rel=0.05)
    assert (found.sample(9, 1) == found.sample(9, 1)).all()


def test_a_spline_flow_stops_by_its_seconds(part):
    pytest.importorskip("zuko")
    assert SplineFlow(transforms=1, hidden=(8,), seconds=0.0).fit(part).told()["steps"] == 0


def test_wgflow_leaves_constant_columns_out_and_scores_in_raw_units(part):
    def constant(x):
        return np.insert(x, 1, 7.0, axis=1)

    three = part._replace(columns="abc", train=constant(part.train), test=constant(part.test))
    found = WGFlow(QUICK).fit(three)
    assert files_of("two", part.folder)[0].read_text().startswith('"a","c"\n')
    assert mass(lambda x: found.log_prob(constant(x))) == pytest.approx(1, abs=0.01)
    x = three.test
    # Outliers have the energy with some noise, which of few steps is nearly that without.
    assert np.corrcoef(found.score(x), -found.log_prob(x))[0, 1] > 0.99
    assert found.told()["steps"] == 4
    assert found.told()["log_z"]["error"] < 1e-6
    assert found.others is not None
    assert {"energy", "typicality", "slope"} <= set(found.others(x))
    assert found.sample(20, 0).shape == (20, 2)
