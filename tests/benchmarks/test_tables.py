"""The benchmark of tables: densities are normalised, rows are kept, tables tell them."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.neighbors import KernelDensity as Kernels

from benchmarks import tables, tables_data
from benchmarks.tables_data import Mixture
from benchmarks.tables_methods import (
    Gaussian,
    GaussianMixture,
    KernelDensity,
    Part,
    leave_one_out,
)
from benchmarks.tables_outliers import IsolationForest, LocalOutliers, Neighbours
from benchmarks.tables_shown import labelled, ranked, shown
from wgflow.data.toys import TOYS

LAW = Mixture(
    np.array([0.75, 0.25]),
    np.array([[0.0, 100.0], [6.0, 160.0]]),
    np.array([[[1.0, 3.0], [3.0, 100.0]], [[0.5, 0.0], [0.0, 200.0]]]),
    (np.zeros((0, 2)), np.zeros((0, 2))),
)


def draw(count, seed):
    rng = np.random.default_rng(seed)
    k = rng.choice(2, count, p=LAW.weights)
    noise = np.stack([rng.multivariate_normal(np.zeros(2), c, count) for c in LAW.covariances])
    return LAW.means[k] + noise[k, np.arange(count)]


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    x = draw(1500, 0)
    return Part("two", ("a", "b"), x[:1000], x[1000:], 0, tmp_path_factory.mktemp("tables"))


DENSITIES = [Gaussian(), Gaussian(True), GaussianMixture((1, 2, 4)), KernelDensity()]


@pytest.mark.parametrize("method", DENSITIES, ids=str)
def test_densities_have_mass_one_in_raw_units_and_samples_of_their_own(method, part):
    found = method.fit(part)
    x, y = np.linspace(-12, 18, 101), np.linspace(-60, 300, 121)
    nodes = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    mass = np.exp(found.log_prob(nodes)) * (x[1] - x[0]) * (y[1] - y[0])
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    samples, mean = found.sample(2000, 1), mass @ nodes
    assert np.abs((samples.mean(0) - mean) / samples.std(0)).max() < 4 / np.sqrt(2000)
    assert found.score(nodes[:5]) == pytest.approx(-found.log_prob(nodes[:5]))
    assert (found.sample(2000, 1) == samples).all()


def test_kernels_take_the_shape_of_the_data(part):
    rng = np.random.default_rng(4)
    x = rng.multivariate_normal([0, 0], [[1.0, 9.8], [9.8, 100.0]], 100)
    found = KernelDensity().fit(part._replace(train=x))
    assert found.told()["whitened"]
    a, b = np.linspace(-6, 6, 121), np.linspace(-60, 60, 121)
    nodes = np.stack(np.meshgrid(a, b), -1).reshape(-1, 2)
    mass = np.exp(found.log_prob(nodes)) * (a[1] - a[0]) * (b[1] - b[0])
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    # Of a sum of kernels: the covariance of the rows and that of a kernel.
    wide = (1 + found.told()["bandwidth"] ** 2) * np.cov(x.T)
    assert np.cov(found.sample(5000, 1).T) == pytest.approx(wide, rel=0.12)


def test_a_singular_gaussian_is_shrunk(part):
    x = np.random.default_rng(0).normal(size=(8, 12))
    found = Gaussian().fit(part._replace(train=x))
    assert found.told() == {"shrunk": True}
    assert np.isfinite(found.log_prob(x)).all()


def test_the_bandwidth_has_the_greatest_leave_one_out_likelihood():
    u = np.random.default_rng(3).normal(size=(60, 2))

    def likelihood(h):
        others = [np.delete(u, i, 0) for i in range(len(u))]
        return np.mean(
            [Kernels(bandwidth=h).fit(o).score(x[None]) for o, x in zip(others, u, strict=True)]
        )

    h, best = leave_one_out(u, np.arange(60))
    assert best == pytest.approx(likelihood(h), abs=1e-5)
    assert best > max(likelihood(1.1 * h), likelihood(h / 1.1))


def test_the_true_density_has_no_divergence_and_the_true_shares():
    law = multivariate_normal(LAW.means[0], LAW.covariances[0])
    other = multivariate_normal(LAW.means[1], LAW.covariances[1])
    test = draw(4000, 5)
    perfect = tables.Fitted(LAW.log_prob, LAW.log_prob, draw)
    found = tables.of_density(perfect, test, LAW, 0)
    assert found["kl"] == found["kl_error"] == 0
    assert (found["mass"], found["effective"]) == (1, 1)
    assert found["shares_samples"] == pytest.approx([0.75, 0.25], abs=0.03)
    # With the weights exchanged, which importance weights must find from the same rows.
    swapped = tables.Fitted(
        LAW.log_prob, lambda x: np.log(0.25 * law.pdf(x) + 0.75 * other.pdf(x)), draw
    )
    found = tables.of_density(swapped, test, LAW, 0)
    expected = 0.5 * np.log(3)  # (.75 - .25) log(.75/.25), the modes being apart
    assert found["kl"] == pytest.approx(expected, abs=5 * found["kl_error"])
    assert found["shares_density"] == pytest.approx([0.25, 0.75], abs=0.04)
    assert found["mass"] == pytest.approx(1, abs=5 * found["mass_error"])


@pytest.mark.parametrize(
    "method", [Neighbours(), Neighbours(mean=True), LocalOutliers(), IsolationForest(20)], ids=str
)
def test_scores_are_larger_away_from_the_rows(method, part):
    score = method.fit(part).score
    near, far = score(part.test), score(part.test + np.array([40.0, 400.0]))
    assert np.quantile(near, 0.95) < np.quantile(far, 0.05)


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["tables", *map(str, words)])
    tables.main()


@pytest.fixture
def options(tmp_path):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, 3)), rng.normal(3, 1, size=(10, 3))])
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "1_three.npz", X=x, y=[0] * 60 + [1] * 10)
    folders = ("--data", tmp_path, "--adbench", tmp_path / "arrays")
    return (*folders, "--out", tmp_path / "rows.jsonl")


def test_rows_are_measured_once_and_told(options, monkeypatch, capsys):
    chosen = ("--only", "gaussian", "nearest neighbours", "--sets", "mix2", "1_three")
    call(monkeypatch, *options, *chosen, "--mixture-seed", 4)
    first = capsys.readouterr().out
    rows = options[-1].read_text()
    assert len(rows.splitlines()) == 3  # neighbours are no density
    truth = next(row["true_nll"] for row in map(json.loads, rows.splitlines()) if "kl" in row)
    assert f"| mix2-4 (2, {truth:.2f}) |" in first
    assert "| 1_three (3) |" in first

    def measured_again(*_, **__):
        raise AssertionError

    monkeypatch.setattr(tables.Bench, "measure", measured_again)
    call(monkeypatch, *options, *chosen, "--mixture-seed", 4)
    assert options[-1].read_text() == rows
    assert capsys.readouterr().out.strip() == first[first.index("NLL in nats") :].strip()
    with pytest.raises(AssertionError):  # other settings are another row
        call(monkeypatch, *options, *chosen, "--seeds", 2)


def test_products_of_toy_sets_are_told_beside_what_their_law_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_data, "LARGE", 300)
    name = "moons+rings"
    table = tables_data.load(name, tmp_path)
    assert (table.train.shape, table.test.shape) == ((300, 4), (tables_data.TEST, 4))
    assert not {*map(tuple, table.train)} & {*map(tuple, table.test)}
    laws = TOYS["moons"](), TOYS["rings"]()
    pairs = torch.from_numpy(table.test[:, :2]), torch.from_numpy(table.test[:, 2:])
    exact = -sum(float(law.log_prob(x).mean()) for law, x in zip(laws, pairs, strict=True))
    assert tables_data.true_nll(name, table.test) == {"true_nll": pytest.approx(exact)}
    assert tables_data.true_nll("casp", table.test) == {}


def test_a_method_that_fails_leaves_its_reason(options, monkeypatch, capsys):
    class Broken(Gaussian):
        def fit(self, part):
            raise FloatingPointError("lost")

    monkeypatch.setattr(tables, "DENSITY_METHODS", {"gaussian": Broken()})
    call(monkeypatch, *options, "--only", "gaussian", "--sets", "mix2")
    assert '"error": "FloatingPointError: lost"' in options[-1].read_text()
    assert "gaussian" in capsys.readouterr().out


def test_tables_label_settings_and_rank_methods():
    rows = [
        {"name": "a", "settings": {"k": 1, "m": 2}},
        {"name": "a", "settings": {"k": 3, "m": 2}},
    ]
    assert [r["label"] for r in labelled(rows)] == ["a", "a, k=3"]
    means = {("a", "x"): 0.7, ("b", "x"): 0.9, ("c", "x"): 0.7, ("a", "y"): 0.1}
    assert list(ranked(means).values()) == [2, 1, 2, 1]
    assert shown([]) == ""
