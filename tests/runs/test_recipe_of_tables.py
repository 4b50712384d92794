"""Runs of tables by their recipe: from rows to samples, log Z and every level of noise."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import wgflow
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.flows import HeatFlow
from wgflow.likelihood.from_reference import ROUNDS
from wgflow.runs.evaluate import affordable
from wgflow.runs.remarks import remark
from wgflow.training.learner import Learner, load_data
from wgflow.training.validation import HEAVIEST
from wgflow.training.warm_start import initialise

SMALL = (
    "training.steps=12",
    "training.evaluate_every=4",
    "training.checkpoint_every=4",
    "training.batch_size=128",
    "energy.width=32",
    "energy.features=8",
    "scheme.scheme.dynamics.size=512",
    "scheme.scheme.dynamics.held_out=512",
)
MEANS = [[-2.0, 0.0, 1.0], [2.0, 1.0, 0.0]]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def truth():
    return GaussianMixture(MEANS, 0.6, weights=[0.7, 0.3])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    file = tmp_path_factory.mktemp("table") / "x.npy"
    np.save(file, truth().sample(1500, dtype=torch.float32, generator=seeded()).numpy())
    return file


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    config = wgflow.configure(str(table), None, *SMALL)
    return wgflow.fit(config, tmp_path_factory.mktemp("run") / "run")


def test_its_density_is_near_the_truth(run):
    x = truth().sample(4000, dtype=torch.float32, generator=seeded(5))
    gap = (truth().log_prob(x) - run.log_prob(x)).double()
    assert -4 * float(gap.std()) / 63 < float(gap.mean()) < 0.05


def test_log_z_is_between_bounds_that_are_near(run):
    found = run.normaliser
    assert found.lower - 4 * found.error <= found.value <= found.upper + 4 * found.error
    assert abs(found.upper - found.lower) < 0.1


def test_samples_have_the_shares_of_the_modes(run):
    x = run.sample(4000, generator=seeded(1))
    share = float((x[:, 0] < 0).double().mean())
    assert abs(share - 0.7) < 0.04
    with pytest.raises(ValueError, match="`start` must be one of noise, population, reference"):
        run.sample(3, start="data")


def test_every_use_of_a_heat_flow_works_for_points(run):
    flow = run.require_flow()
    assert isinstance(flow, HeatFlow)
    like, test = run.like(64), run.standardise(run.dataset.test[:64])
    noisy = test + 0.5 * torch.randn(test.shape, generator=seeded(2))
    clean = flow.denoise(noisy, torch.tensor(0.5))
    assert (clean - test).square().mean() < (noisy - test).square().mean()
    drawn = flow.sample(like, generator=seeded(3))
    assert abs(float(drawn.mean())) < 0.4
    hidden = torch.tensor([True, False, False])
    filled = flow.bridge(test, hidden, generator=seeded(4))
    assert torch.equal(filled[:, 1:], test[:, 1:])
    assert not torch.equal(filled, test)
    errors = flow.reconstruction_error(test, generator=seeded())
    assert errors.isfinite().all()
    path = flow.interpolate(test[0], test[1], 5)
    assert path is not None
    assert path.shape == (5, 3)
    assert [len(x) for x in flow.trajectory(like, generator=seeded())] == [64] * 12


def test_log_z_along_the_flow_agrees_with_the_reference(run):
    along = run.require_flow().log_z(run.like(1), None, generator=seeded())
    assert along is not None
    found = run.normaliser
    assert abs(along.value - found.value) < 4 * math.hypot(along.error, found.error) + 0.05


@pytest.mark.parametrize("rate", [3.0, 1e30])
def test_the_best_energy_is_kept(table, tmp_path, rate):
    """With a rate that ruins it the run ends where it validated best: at the start."""
    ruin = (*SMALL, f"training.learning_rate={rate}", "training.average=0.0", "training.warmup=8")
    run = wgflow.fit(wgflow.configure(str(table), None, *ruin), tmp_path / "ruin")
    x = truth().sample(4000, dtype=torch.float32, generator=seeded(5))
    gap = (truth().log_prob(x) - run.log_prob(x)).double()
    assert float(gap.mean()) < 0.1


@pytest.mark.parametrize(("nats", "kept"), [(4.6, False), (4.62, True)])  # log 100 = 4.605
def test_the_start_is_kept_unless_unseen_rows_gain_evidence(
    table, tmp_path, monkeypatch, nats, kept
):
    """All of them together; the gain of the first look is also that of the best one."""
    found = iter([0.0, -1.0, -0.5, -0.5])

    def validates(dataset, *args):
        gain = nats / len(dataset.validation)
        return lambda *args: {"nll": 7.0 + gain * next(found), "reference_ess": 1.0}

    monkeypatch.setattr("wgflow.training.runner.validator", validates)
    run = wgflow.fit(wgflow.configure(str(table), None, *SMALL), tmp_path / "run")
    assert bool(run.energy.energy.residual.head.any()) is kept, run.energy


def test_killed_and_resumed_it_is_the_same(table, run, tmp_path):
    code = (
        "import os, signal, sys, wgflow\n"
        "def stop(step, metrics):\n"
        "    if step == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "config = wgflow.configure(sys.argv[1], None, *sys.argv[3:])\n"
        "wgflow.fit(config, sys.argv[2], listener=stop)\n"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(table), str(out), *SMALL]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    again = wgflow.resume(out)
    a, b = (r.energy.state_dict() for r in (run, again))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_from_a_coarse_start_it_learns_and_is_loaded(table, tmp_path):
    config = wgflow.configure(str(table), None, *SMALL, "energy.start=coarse")
    run = wgflow.fit(config, tmp_path / "run")
    x = truth().sample(4000, dtype=torch.float32, generator=seeded(5))
    gap = (truth().log_prob(x) - run.log_prob(x)).double()
    assert -4 * float(gap.std()) / 63 < float(gap.mean()) < 0.05
    again = wgflow.load(run.path)
    assert again.energy.energy.draws is not None
    assert torch.equal(again.energy(x), run.energy(x))
    drawn = [one.sample(50, generator=seeded(1)) for one in (run, again)]
    assert torch.equal(*drawn)


def test_vectors_of_a_file_and_frames_are_tables(table, tmp_path):
    plane = tmp_path / "plane.csv"
    plane.write_text("a,b\n1,2\n")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 3.0]})
    for data in (table, str(table), plane, frame):
        assert type(wgflow.configure(data).energy).__name__ == "NoiseMLPSpec"
    assert wgflow.configure(plane).data.name == str(plane)
    assert type(wgflow.configure("moons").energy).__name__ == "MLPSpec"
    with pytest.raises(ValueError, match="`data` must be a data frame, of pandas"):
        wgflow.configure(3)


def test_settings_of_toy_sets_are_told_for_a_table(table, tmp_path, monkeypatch, caplog):
    config = wgflow.Config(data=wgflow.Data(str(table)))
    np.save(tmp_path / "flat.npy", np.random.default_rng(0).normal(size=(200, 2)))
    flat = wgflow.configure(tmp_path / "flat.npy", "plane")
    smaller = wgflow.NearProximal(dynamics=wgflow.Population(size=64, held_out=64))
    for chosen in (config, flat):
        remark(chosen, load_data(chosen))
        assert ".npy is learned with the settings of toy sets" in caplog.text
        caplog.clear()
    for chosen in (replace(config, scheme=smaller), wgflow.configure(table)):
        remark(chosen, load_data(chosen))
    monkeypatch.setattr("wgflow.runs.remarks.MANY", 100)  # rows in the plane, as its recipe says
    remark(flat, load_data(flat))
    assert not caplog.text


@pytest.mark.parametrize("d", [1, 2])
def test_few_rows_of_few_columns_are_no_worse_than_their_gaussian(d, tmp_path):
    truth = Gaussian([1.0] * d, [[1.0 if i == j else 0.9 for i in range(d)] for j in range(d)])
    np.save(tmp_path / "x.npy", truth.sample(25, dtype=torch.float32, generator=seeded()).numpy())
    run = wgflow.fit(wgflow.configure(tmp_path / "x.npy", None, *SMALL), tmp_path / "run")
    x = truth.sample(2000, dtype=torch.float64, generator=seeded(5))
    rows = run.dataset.train[:].double()
    covariance = torch.cov(rows.T).reshape(d, d)
    gaussian = Gaussian(rows.mean(0), covariance).log_prob(x)
    assert float(run.log_prob(x.float()).mean()) > float(gaussian.mean()) - 0.05


def test_log_z_and_draws_for_a_sample_are_found_once_and_tell_how_many_are_affordable(run):
    again = wgflow.load(run.path)
    assert again.reach.rounds == ROUNDS
    assert again.normaliser is again.reach.log_z
    for rounds, points in ((50, 8000), (100, 5000), (400, 2000)):
        again.__dict__["reach"] = again.reach._replace(rounds=rounds)
        assert affordable(again, 8000) == points
    assert affordable(again, 1000) == 1000


def test_what_is_kept_is_cut_and_what_learns_is_not(table, run):
    ceiling = wgflow.load(run.path).energy.energy.ceiling
    assert abs(float(ceiling) - math.log(HEAVIEST) - run.normaliser.value) < 0.1
    warm = Learner.build(wgflow.configure(str(table), None, *SMALL))
    initialise(warm, run.energy)
    assert warm.energy.ceiling.isinf()
    assert torch.equal(warm.energy.residual.head, run.energy.energy.residual.head)
    warm.average.module.ceiling.fill_(2.0)  # as a validation does
    warm.average.update_parameters(warm.energy)
    assert warm.average.module.ceiling.isinf()
