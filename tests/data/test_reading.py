import numpy as np
import pandas as pd
import pytest
import torch

from wgflow.config import Data
from wgflow.data.dataset import load
from wgflow.data.reading import Reading

NAMES = ("a", "b", "c", "d")


def test_chosen_columns():
    assert Reading().chosen(NAMES, "t.csv") == [*NAMES]
    assert Reading(columns=("c", "a")).chosen(NAMES, "t.csv") == ["c", "a"]
    assert Reading(exclude=("c", "a")).chosen(NAMES, "t.csv") == ["b", "d"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ("colour",)}, "t.csv must have the column 'colour': did you mean 'color'?"),
        ({"exclude": ("x",)}, "t.csv must have the column 'x': its columns are 'color', 'b'"),
        ({"exclude": ("color", "b")}, "t.csv must have columns to learn: got all"),
    ],
)
def test_columns_that_are_not_there(options, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Reading(**options).chosen(("color", "b"), "t.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ()}, r"`columns` must be names .*: got \[\]"),
        ({"columns": ("a", "a")}, r"each of them once: got \['a', 'a'\]"),
        ({"columns": ("a",), "exclude": ("a",)}, r"not be in `exclude` too: got \['a'\]"),
        ({"missing": "ignore"}, "`missing` must be one of"),
    ],
)
def test_settings_are_checked(options, message):
    for record in (Reading, Data):
        with pytest.raises(ValueError, match=message):
            record(**options)


def test_columns_are_chosen_of_tables_alone(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 3))
    names = [f"name {i}" for i in range(50)]
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(id=names)
    frame.to_csv(tmp_path / "t.csv")
    options = {"dtype": torch.float64}
    whole = load(tmp_path / "t.csv", wanted=Reading(exclude=("id",)), **options)
    assert whole.columns == ("a", "b", "c")
    part = load(tmp_path / "t.csv", wanted=Reading(columns=("c", "a")), **options)
    assert torch.equal(part.test, whole.test[:, [2, 0]])
    with pytest.raises(ValueError, match=r'exclude = \["id"\] leaves it out'):
        load(tmp_path / "t.csv", **options)
    frame.assign(a=1.0, b=[None, *x[1:, 1]]).to_csv(tmp_path / "c.csv")
    wanted = Reading("impute", exclude=("id",))
    with pytest.raises(ValueError, match=r"must vary, to have a density: got .* alone in 'a'"):
        load(tmp_path / "c.csv", wanted=wanted, **options)
    np.save(tmp_path / "t.npy", x)
    for source in (tmp_path / "t.npy", "moons", "digits"):
        with pytest.raises(ValueError, match="Columns are chosen among those of a table"):
            load(source, wanted=Reading(columns=("a",)), **options)
