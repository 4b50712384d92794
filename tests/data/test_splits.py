"""Splits: disjoint, exhaustive, seeded, and each part free of the size of the others."""

import numpy as np
import pytest
import torch

from wgflow.data.dataset import load

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -1.0]
OTHER = RNG.normal(size=(20, 3))
HALF = {"dtype": torch.float64, "validation_fraction": 0.5}


def rows(x):
    return [tuple(row) for row in x.tolist()]


@pytest.fixture
def table(tmp_path):
    return written(tmp_path / "t.csv", TABLE, "abc")


def written(path, x, names):
    np.savetxt(path, x, delimiter=",", header=",".join(names), comments="", fmt="%.17g")
    return path


def test_parts_are_disjoint_and_have_every_row(table):
    data = load(table, test_fraction=0.2, **HALF)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 20, 10)
    found = rows(data.train) + rows(data.validation) + rows(data.test)
    assert sorted(found) == sorted(rows(TABLE))


def test_split_is_seeded(table):
    one, same, other = (load(table, seed=s, **HALF) for s in (0, 0, 1))
    assert torch.equal(one.validation, same.validation)
    assert set(rows(one.validation)) != set(rows(other.validation))


def test_validation_leaves_the_test_points_and_comes_out_of_train(table):
    data, whole = load(table, **HALF), load(table, dtype=torch.float64)
    assert whole.validation is None
    assert torch.equal(data.test, whole.test)
    assert torch.equal(torch.cat([data.train, data.validation]), whole.train)
    torch.testing.assert_close(data.shift, data.train.mean(0))


@pytest.mark.parametrize(("size", "count"), [(20, 2), (14, 0), (3, 0)])
def test_a_handful_of_rows_is_all_for_learning(table, size, count):
    data = load(table, size=size, validation_fraction=0.1)
    assert (0 if data.validation is None else len(data.validation)) == count
    assert len(data.train) == size - count


def test_images_have_no_validation_points_and_toy_sets_more_of_their_law():
    for name, count in (("digits", None), ("moons", 50)):
        with_it, without = load(name, size=100, validation_fraction=0.5), load(name, size=100)
        assert (with_it.validation if count is None else len(with_it.validation)) == count
        assert torch.equal(with_it.train, without.train)
        assert torch.equal(with_it.test, without.test)
    held, learned = (set(map(tuple, x.tolist())) for x in (with_it.validation, with_it.train))
    assert not held & learned


def test_a_file_of_test_points_is_kept_whole_and_changes_nothing_else(table, tmp_path):
    test = written(tmp_path / "o.csv", OTHER, "abc")
    data = load(table, test=test, **HALF)
    assert rows(data.test) == rows(OTHER)
    assert sorted(rows(data.train) + rows(data.validation)) == sorted(rows(TABLE))
    again = load(table, test=written(tmp_path / "p.csv", OTHER[:5] + 1, "abc"), **HALF)
    assert torch.equal(data.train, again.train)
    assert torch.equal(data.validation, again.validation)


def test_columns_of_test_points_are_found_by_name(table, tmp_path):
    data = load(table, test=written(tmp_path / "o.csv", OTHER[:, [2, 0, 1]], "cab"), **HALF)
    assert rows(data.test) == rows(OTHER)


def test_validation_works_on_a_file_that_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", 1)
    np.save(tmp_path / "t.npy", TABLE)
    data = load(tmp_path / "t.npy", **HALF)
    assert isinstance(data.validation, torch.Tensor)
    parts = (data.train[:], data.validation, data.test)
    assert sorted(rows(torch.cat(parts))) == sorted(rows(TABLE))


REFUSED = {
    "fraction": ({"validation_fraction": 1.0}, "`validation_fraction` must be at least 0"),
    "columns": (
        {"test": ("abd", OTHER)},
        "o.csv must have the columns 'a', 'b', 'c': missing 'c'; extra 'd'",
    ),
    "shape": ({"test": ("ab", OTHER[:, :2])}, "o.csv must have the columns .*: missing 'c'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_splits_are_refused(case, table, tmp_path):
    options, message = REFUSED[case]
    if "test" in options:
        names, x = options["test"]
        options = {"test": written(tmp_path / "o.csv", x, names)}
    with pytest.raises(ValueError, match=message):
        load(table, **options)


def test_other_kinds_of_test_points_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", TABLE.reshape(10, 1, 3, 5))
    np.save(tmp_path / "y.npy", np.zeros((4, 1, 3, 5), np.uint8))
    with pytest.raises(ValueError, match="must hold pixels if the train points are, and only th"):
        load(tmp_path / "x.npy", test=tmp_path / "y.npy")
    with pytest.raises(ValueError, match="`test` must be none for moons"):
        load("moons", test=tmp_path / "x.npy")
