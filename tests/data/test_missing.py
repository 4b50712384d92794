"""Missing values: drawn from the others of their row, in train rows alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from wgflow.data.columns import Columns
from wgflow.data.dataset import load
from wgflow.data.lazy import LazyPoints
from wgflow.data.missing import complete_first, impute
from wgflow.data.reading import Reading

RNG = np.random.default_rng(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(rows=2000, holes=0.2):
    """Pairs of units far apart with correlation .9, part of whose seconds are missing."""
    z = RNG.normal(size=(rows, 2))
    x = np.stack([z[:, 0], 0.9 * z[:, 0] + 0.19**0.5 * z[:, 1]], 1) * [1e-4, 1e5]
    gone = RNG.random(rows) < holes
    return x, np.where(gone[:, None] & [False, True], np.nan, x), gone


def test_draws_have_the_law_of_the_others_given_their_row():
    x, seen, gone = correlated()
    columns = Columns.of(pd.DataFrame(x, columns=["a", "b"]))
    train = LazyPoints(seen, torch.arange(len(x)), torch.float64)
    found = impute(train, columns, "t", generator=generator())[:].numpy()
    assert np.array_equal(found[~gone], x[~gone])
    assert np.array_equal(found[:, 0], x[:, 0])
    assert np.array_equal(impute(train, columns, "t", generator=generator())[:].numpy(), found)
    residual = (found[gone, 1] / 1e5 - 0.9 * found[gone, 0] / 1e-4) / 0.19**0.5
    n = gone.sum()
    assert abs(residual.mean()) < 5 / n**0.5
    assert abs((residual**2).mean() - 1) < 5 * (2 / n) ** 0.5


def test_draws_stay_within_what_was_seen_and_complete_rows_alone_are_tested(tmp_path, caplog):
    n = 300
    table = pd.DataFrame({"k": RNG.integers(0, 3, n), "c": RNG.choice(["u", "v"], n)})
    table["x"] = RNG.normal(size=n)
    table.loc[RNG.random(n) < 0.3, "c"] = None
    holes = int(table["c"].isna().sum())
    table.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", wanted=Reading("impute"), dtype=torch.float64)
    assert (len(data.train), len(data.test)) == (270, 30)
    assert data.train[:].isfinite().all()
    codes = data.train[:][:, 1]
    assert 0 <= codes.min() <= codes.max() < 2
    known = set(table["x"][table["c"].notna()])
    assert set(data.test[:, 2].tolist()) <= known
    said = f"Imputed {holes} values in {holes} of 270 train rows of t.csv: 'c' {holes}."
    assert said in caplog.messages


def test_rows_with_missing_values_are_left_out(tmp_path, caplog):
    x = np.random.default_rng(1).normal(size=(60, 2))
    x[::6, 1] = np.nan
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.head(12).to_csv(tmp_path / "o.csv", index=False)
    options = {"wanted": Reading("drop"), "dtype": torch.float64}
    data = load(tmp_path / "t.csv", test=tmp_path / "o.csv", **options)
    assert sorted(data.train[:, 0].tolist()) == sorted(x[~np.isnan(x[:, 1]), 0].tolist())
    assert len(data.test) == 10
    assert caplog.messages[0] == "Left out 10 of 60 rows of t.csv: values miss."
    pd.DataFrame({"a": [1, 2, 3, None], "b": [None, None, None, 2.0]}).to_csv(tmp_path / "e.csv")
    with pytest.raises(ValueError, match="rows without missing values: got none of 4"):
        load(tmp_path / "e.csv", **options)


ONE = Columns.numbers(["a"])


def test_complete_rows_are_held_out_and_the_others_keep_their_order():
    x = np.where(np.arange(8)[:, None] % 3 == 0, np.nan, 1.0)
    order = torch.tensor([6, 5, 0, 7, 2, 3, 1, 4])
    assert complete_first(order, x, 2, ONE).tolist() == [5, 7, 6, 0, 2, 3, 1, 4]
    assert torch.equal(complete_first(order, np.ones((8, 1)), 2, ONE), order)


def test_too_few_complete_rows_and_empty_columns_are_refused():
    x = np.array([[1.0, np.nan], [2.0, 1.0], [3.0, np.nan]])
    columns = Columns.numbers(["a", "b"])
    message = (
        "got 1 complete rows for 2 of them; most values are missing in 'b' 2 of 3 rows, and data"
    )
    with pytest.raises(ValueError, match=message):
        complete_first(torch.arange(3), x, 2, columns)
    train = LazyPoints(x, torch.tensor([0, 2]), torch.float64)
    with pytest.raises(ValueError, match=r"Train rows of t must have values: got none in \['b'\]"):
        impute(train, columns, "t")


def test_a_complete_table_is_not_touched():
    x = RNG.normal(size=(5, 2))
    train = LazyPoints(x, torch.arange(5), torch.float64)
    assert impute(train, Columns.numbers(["a", "b"]), "t") is train
