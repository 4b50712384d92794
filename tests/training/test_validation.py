"""Validation: on points of its own, so that the test points say nothing to learning."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import CONFIG, Killed, assert_same, killer, lines
from tilts import seeded, tilted as tilted_energy

from wgflow.data.dataset import Dataset
from wgflow.likelihood.from_reference import drawn
from wgflow.likelihood.quadrature import Grid, log_z
from wgflow.runs.fit import fit, resume
from wgflow.training import validation
from wgflow.training.validation import tilted

RNG = np.random.default_rng(1)
TABLE = RNG.normal(size=(400, 3)) @ [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.1]]


@pytest.fixture
def config(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    data = replace(CONFIG.data, name=str(tmp_path / "x.npy"), size=None)
    return replace(CONFIG, data=data, training=replace(CONFIG.training, learning_rate=1e-3))


def with_test(config, path, x):
    np.save(path, x)
    return replace(config, data=replace(config.data, test=str(path)))


def test_patience_and_metrics_never_see_the_test_points(config, tmp_path):
    config = replace(config, training=replace(config.training, patience=1, steps=40))
    near = fit(with_test(config, tmp_path / "a.npy", TABLE[:50] + 0.1), tmp_path / "a")
    far = fit(with_test(config, tmp_path / "b.npy", 100 + TABLE[:9]), tmp_path / "b")
    assert_same(near, far)
    assert any("nll" in line for line in lines(near.path))


def test_validation_is_the_mean_over_the_validation_points(config, tmp_path):
    def last(config, name):
        return [line["nll"] for line in lines(fit(config, tmp_path / name).path) if "nll" in line]

    data = replace(config.data, validation_fraction=0.0)
    own = last(config, "own")
    moved = last(with_test(config, tmp_path / "t.npy", 100 + TABLE[:9]), "moved")
    without = last(with_test(replace(config, data=data), tmp_path / "t.npy", 100 + TABLE), "far")
    assert len(own) == len(moved) == 4
    assert max(own + moved) < 20 < min(without)  # where the test points are all there is


def test_relative_path_of_test_points_is_kept_absolute(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", TABLE[:50])
    config = replace(config, data=replace(config.data, test="t.npy"))
    with pytest.raises(Killed):
        fit(config, "r", listener=killer(6))
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    run = resume(tmp_path / "r")
    assert run.config.data.test == str(tmp_path / "t.npy")
    assert torch.equal(run.dataset.test, torch.tensor(TABLE[:50], dtype=torch.float32))


@pytest.mark.parametrize("others", [False, True])
def test_of_a_tilted_energy_it_is_by_quadrature_too(others):
    energy = tilted_energy(1, size=1.0, others=others)
    x = torch.randn(300, 1, generator=seeded(4), dtype=torch.float64)
    zero, one = (torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0))
    dataset = Dataset("line", x, x, zero, one, validation=x)
    found = tilted(dataset, energy, torch.device("cpu"))(energy, energy, None)
    with torch.no_grad():
        expected = energy(x).mean() + log_z(energy, Grid.box([-15.0], [15.0], 20_000))
    assert 0.1 < found["reference_ess"] < 1
    error = (1 / found["reference_ess"] - 1) ** 0.5 / 128  # of 16,384 draws
    assert abs(found["nll"] - float(expected)) < 4 * error


@pytest.mark.parametrize("others", [False, True])
def test_no_weight_of_what_is_kept_is_beyond_the_heaviest(others, monkeypatch):
    heaviest = 30.0
    monkeypatch.setattr(validation, "HEAVIEST", heaviest)
    energy = tilted_energy(1, size=8.0, others=others)
    x = torch.randn(300, 1, generator=seeded(4), dtype=torch.float64)
    zero, one = (torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0))
    dataset = Dataset("line", x, x, zero, one, validation=x)
    like = torch.empty(1, 1, dtype=torch.float64)
    _, v = drawn(energy.relative(), like, 50_000, seeded(3))
    assert ratio(v) > 2 * heaviest
    validate = tilted(dataset, energy, torch.device("cpu"))
    found = validate(energy, energy, None)
    with torch.no_grad():
        value = log_z(energy, Grid.box([-15.0], [15.0], 20_000))
        expected = float(energy(x).mean() + value)
    error = (heaviest / 16_384) ** 0.5
    assert abs(float(energy.ceiling) - math.log(heaviest) - float(value)) < 4 * error
    assert abs(found["nll"] - expected) < 4 * error
    _, v = drawn(energy.relative(), like, 50_000, seeded(3))
    assert ratio(v) < 1.2 * heaviest
    assert validate(energy, energy, None) == found  # of the energy without the cut, again


@pytest.mark.parametrize("others", [False, True])
def test_the_energy_that_learns_has_the_same_cut_where_it_costs_nothing(others):
    energy = tilted_energy(1, size=8.0, others=others)
    average = copy.deepcopy(energy)
    x = torch.randn(300, 1, generator=seeded(4), dtype=torch.float64)
    zero, one = (torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0))
    dataset = Dataset("line", x, x, zero, one, validation=x)
    validate = tilted(dataset, energy, torch.device("cpu"))
    validate(energy, average, None)
    assert average.ceiling.isfinite()
    assert torch.equal(energy.ceiling, torch.tensor(math.inf) if others else average.ceiling)


def ratio(v):
    """The largest weight over their mean."""
    return float((-v.double()).softmax(0).max()) * len(v)
