"""Runs on tables whose columns are mapped: the same scores, files and bounds as any run's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import CONFIG, Killed, assert_same, killer, lines

from wgflow.energies.transformed import original
from wgflow.likelihood.annealing import LogZ
from wgflow.runs.compose import compose, counted
from wgflow.runs.evaluate import density_scores, evaluate
from wgflow.runs.fit import fit, resume
from wgflow.runs.load import load, publish
from wgflow.runs.outliers import ood
from wgflow.runs.uses import denoise, inpaint
from wgflow.training.learner import Learner
from wgflow.training.warm_start import initialise

RNG = np.random.default_rng(2)
Z = RNG.normal(size=(400, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]]
SHARE = 1 / (1 + np.exp(-3 * Z[:, 2]))
ZERO = LogZ(0.0, 0.0, 0.0, 0.0)
TABLE = np.stack([Z[:, 0], np.exp(1.5 * Z[:, 1]), SHARE], 1)


def config_of(path, table, **data):
    np.save(path, table)
    data = replace(CONFIG.data, name=str(path), size=None, **data)
    return replace(CONFIG, data=data, dtype="float64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mapped")


@pytest.fixture(scope="module")
def run(folder):
    return fit(config_of(folder / "x.npy", TABLE), folder / "run")


def seeded():
    return torch.Generator().manual_seed(0)


def test_it_is_the_run_on_mapped_data_in_other_units(run, folder):
    maps = run.dataset.transform
    assert [column.kind for column in maps.columns] == ["identity", "log", "logit"]
    mapped = maps.forward(torch.from_numpy(TABLE)).numpy()
    other = fit(config_of(folder / "y.npy", mapped, transform=None), folder / "other")
    assert other.dataset.transform is None
    x, y = run.dataset.test, other.dataset.test
    torch.testing.assert_close(y, maps.forward(x))
    volume = maps.log_derivative(x).sum(1)
    assert volume.std() > 0.5
    torch.testing.assert_close(run.energy(x), other.energy(y) - volume, rtol=0, atol=1e-6)
    mean = float(maps.log_derivative(run.dataset.validation).sum(1).mean())
    pairs = zip(lines(run.path), lines(other.path), strict=True)
    found = [(a["nll"], b["nll"]) for a, b in pairs if "nll" in a]
    assert found
    assert [a for a, _ in found] == pytest.approx([b - mean for _, b in found], abs=1e-6)
    scores = [density_scores(r.energy, r.dataset, ZERO)["nll"] for r in (run, other)]
    assert scores[0] == pytest.approx(scores[1] - float(volume.mean()), abs=1e-6)


def test_samples_stay_within_bounds_in_every_precision(run, tmp_path):
    single = fit(replace(run.config, dtype="float32"), tmp_path / "single")
    for learned in (run, single):
        x = learned.sample(500, generator=seeded())
        assert x.isfinite().all()
        assert (x[:, 1] > 0).all()
        assert ((x[:, 2] > 0) & (x[:, 2] < 1)).all()
        assert learned.energy(x).isfinite().all()
    with np.load(run.path / "frames.npz") as frames:
        assert (frames["x"][:, :, 1] > 0).all()


def test_a_resumed_run_is_the_same(run, tmp_path):
    with pytest.raises(Killed):
        fit(run.config, tmp_path / "r", listener=killer(8))
    resumed = resume(tmp_path / "r")
    assert_same(run, resumed)
    assert resumed.energy.transform == run.dataset.transform
    x = run.dataset.test
    assert torch.equal(run.energy(x), resumed.energy(x))


def test_a_run_does_not_resume_with_other_maps(run, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        fit(run.config, tmp_path / "r", listener=killer(8))
    text = (tmp_path / "r" / "config.toml").read_text()
    (tmp_path / "r" / "config.toml").write_text(text.replace('"auto"', '"yeo-johnson"'))
    with pytest.raises(ValueError, match="`data` must be those the run started on"):
        resume(tmp_path / "r")


def test_it_is_loaded_and_published_with_its_maps(run, tmp_path):
    again, x = load(run.path), run.dataset.test
    assert torch.equal(again.energy(x), run.energy(x))
    publish(run, tmp_path / "p")
    published = load(tmp_path / "p")
    assert published.energy.transform == run.energy.transform
    assert torch.equal(published.standardise(x), run.standardise(x))
    torch.testing.assert_close(published.energy(x), run.energy(x), rtol=0, atol=0.05)


def test_a_run_begins_with_one_of_the_same_maps_alone(run):
    learner = Learner.build(run.config)
    initialise(learner, run.energy)
    torch.testing.assert_close(
        learner.energy(run.standardise(run.dataset.test)),
        run.energy.energy(run.standardise(run.dataset.test)),
    )
    plain = original(run.energy.energy, run.energy.shift, run.energy.scale)
    with pytest.raises(ValueError, match="got another mean, deviation or transform"):
        initialise(learner, plain)


def test_products_and_powers_are_taken_in_the_units_of_the_data(run):
    x = run.dataset.test
    both = compose([run, run], coefficients=[0.25, 0.75])
    torch.testing.assert_close(both.energy(x), run.energy(x))
    u = run.standardise(x)
    torch.testing.assert_close(both.energy.energy(u), run.energy.energy(u))
    flat = compose([run], temperature=2.0)
    torch.testing.assert_close(flat.energy(x), run.energy(x) / 2)
    assert (flat.sample(50, generator=seeded())[:, 1] > 0).all()
    counting, counter = counted(run)
    assert torch.equal(counting.energy(x), run.energy(x))
    assert counter.points == len(x)


def test_uses_are_in_the_units_of_the_data(run):
    x = run.dataset.test[:3]
    hidden = torch.tensor([False, True, False])
    drawn = inpaint(run, x, hidden, generator=seeded())
    assert (drawn[..., 1] > 0).all()
    torch.testing.assert_close(drawn[:, 0, [0, 2]], x[:, [0, 2]])
    with pytest.raises(ValueError, match=r"data.transform none, got auto"):
        denoise(run, x, 0.1)


def test_points_far_beyond_a_bound_are_outliers_of_finite_density(run):
    beyond = run.dataset.train[:40] * torch.tensor([1.0, -1.0, 1.0])
    found = ood(run, {"beyond": beyond})["beyond"]
    assert found["energy"].value > 0.9
    assert run.energy(beyond).isfinite().all()
    zero = run.dataset.train[:1] * torch.tensor([1.0, 0.0, 1.0])
    assert run.energy(zero) < run.energy(-100 * zero - torch.tensor([0.0, 100.0, 0.0]))


def test_on_the_line_the_density_has_mass_one(tmp_path):
    config = config_of(tmp_path / "x.npy", TABLE[:, 1:2])
    run = fit(config, tmp_path / "r")
    u = torch.linspace(-6, 6, 10_001, dtype=torch.float64)[:, None]
    x = run.energy.unstandardise(u)
    density = run.log_prob(x).exp()
    assert float(x.min()) < 0 < float(run.unstandardise(u).min())
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=1e-3)
    scores = evaluate(run, samples=200)
    assert {"nll", "temperature", "sliced_w2"} <= set(scores)
    assert scores["nll"] == pytest.approx(-float(run.log_prob(run.dataset.test).mean()))
    assert run.log_prob(-x).isfinite().all()


def test_conditionals_keep_to_the_bounds_and_are_in_the_units_of_the_columns(run):
    p = run.conditional({"x0": 0.3, "x1": 2.0})
    u = torch.zeros(20_001, 3, dtype=torch.float64)
    u[:, 2] = torch.linspace(-8, 8, len(u))
    share = run.energy.unstandardise(u)[:, 2:]
    density = p.log_prob(share).exp()
    assert torch.trapezoid(density, share[:, 0]) == pytest.approx(1, abs=1e-3)
    drawn = run.conditional({0: 0.3}).sample(200, generator=seeded())
    assert (drawn[:, 0] > 0).all()
    assert ((drawn[:, 1] > 0) & (drawn[:, 1] < 1)).all()
