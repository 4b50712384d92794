"""The tables of the benchmark: the law of its mixtures, noise by resolution, the same rows."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal

from benchmarks.tables_data import (
    TEST,
    WEIGHTS,
    dequantised,
    drawn_anew,
    load,
    mixture,
    one_class,
    resolution,
    split,
)


@pytest.fixture(scope="module")
def law():
    return mixture("mix3-7")


def test_a_mixture_has_the_density_it_states(law):
    x = law.draws[1][:50]
    parts = [
        w * multivariate_normal(m, c).pdf(x)
        for w, m, c in zip(law.weights, law.means, law.covariances, strict=True)
    ]
    assert law.log_prob(x) == pytest.approx(np.log(np.sum(parts, 0)), rel=1e-10)
    assert law.parts(x) == pytest.approx((parts / np.sum(parts, 0)).T, rel=1e-8)


def test_draws_of_a_mixture_have_its_law(law):
    # The law of one coordinate by its distribution function; the posterior has the mean w.
    x = law.draws[1]

    def cdf(t):
        scales = np.sqrt(law.covariances[:, 0, 0])
        normal = multivariate_normal()
        return sum(
            w * normal.cdf((t - m) / s)
            for w, m, s in zip(law.weights, law.means[:, 0], scales, strict=True)
        )

    assert kstest(x[:, 0], cdf).pvalue > 1e-3
    shares = law.parts(x)
    z = (shares.mean(0) - WEIGHTS) / (shares.std(0) / np.sqrt(TEST))
    assert np.abs(z).max() < 4


def test_draws_are_those_of_numpy_row_by_row():
    # So that mixtures are the same as ones made by `Generator.multivariate_normal`.
    rng = np.random.default_rng(2)
    means = rng.normal(0, 1.2, (4, 2))
    covariances = []
    for _ in range(4):
        q, _ = np.linalg.qr(rng.normal(size=(2, 2)))
        covariances.append(q @ np.diag(np.exp(rng.uniform(np.log(0.1), np.log(1.5), 2))) @ q.T)
    scale, shift = np.exp(rng.normal(0, 1.0, 2)), rng.normal(0, 10, 2)
    parts = rng.choice(4, 20_000, p=WEIGHTS)[:20]
    rows = [rng.multivariate_normal(means[k], covariances[k]) for k in parts]
    law = mixture("mix2")
    assert law.draws[0][:20] == pytest.approx(np.stack(rows) * scale + shift)
    assert law.covariances[1] == pytest.approx(covariances[1] * np.outer(scale, scale))


def test_seeds_name_other_laws():
    assert [drawn_anew(name, 3) for name in ("mix10", "mix10-2", "wine")] == [
        "mix10-3",
        "mix10-2",
        "wine",
    ]
    assert drawn_anew("mix10", 0) == "mix10"
    assert not np.allclose(mixture("mix2").means, mixture("mix2-1").means)
    assert mixture("wine") is None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([3, 1, 2, 8], 1.0),
        ([0.3, 0.1, 0.4, 1.0], 0.1),
        ([10.0, 30.0, 25.0], 1.0),
        ([1020.01, 1020.04], 0.01),
        ([0.1 + 0.2, 0.3, 0.5], 0.1),  # rounding is no resolution
        ([4.0, 4.0], 1.0),
    ],
)
def test_the_resolution_is_the_power_of_ten_below_the_smallest_gap(column, expected):
    assert resolution(np.array(column)) == pytest.approx(expected)


def test_noise_fills_the_resolution():
    rows = np.random.default_rng(1).integers(0, 9, (4000, 2)) * [1.0, 0.01]
    noise = (dequantised(rows) - rows) / [1.0, 0.01]
    assert kstest(noise.ravel(), "uniform").pvalue > 1e-3
    assert (dequantised(rows) == dequantised(rows)).all()


def test_a_split_is_of_the_rows_inside_and_always_the_same():
    inside = np.flatnonzero(np.arange(50) % 5 > 0)
    test, train = split(inside, 0.2)
    assert len(test) == 8
    assert sorted([*test, *train]) == inside.tolist()
    assert (split(inside, 0.2)[0] == test).all()


def test_tables_are_made_once_and_read_with_every_digit(tmp_path):
    made = load("mix2", tmp_path)
    assert made.columns == ("v0", "v1")
    assert (made.train == mixture("mix2").draws[0]).all()
    (tmp_path / "mix2_test.csv").write_text("v0,v1\n1,2\n")
    assert load("mix2", tmp_path).test.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match=r"must be ccpp, .* joined by .: got 'mixed'"):
        load("mixed", tmp_path)


def test_one_class_learns_from_half_of_the_normal_rows_alone(tmp_path):
    y = np.array([0, 1] * 10 + [0] * 10)
    np.savez(tmp_path / "set.npz", X=np.arange(30)[:, None], y=y)
    train, test, labels = one_class(tmp_path / "set.npz", 1)
    assert len(train) == 10
    assert not y[train[:, 0].astype(int)].any()
    assert (y[test[:, 0].astype(int)] == labels).all()
    assert sorted([*train[:, 0], *test[:, 0]]) == list(range(30))
    assert (one_class(tmp_path / "set.npz", 2).train != train).any()
