"""Columns: every kind there and back, any library, names matched, refusals by message."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from wgflow.data.column import Column
from wgflow.data.columns import Columns

RNG = np.random.default_rng(0)
ROWS = 400
TABLE = {
    "length": RNG.normal(size=ROWS),
    "count": RNG.integers(-3, 9, ROWS),
    "tenths": np.round(RNG.normal(size=ROWS), 1),
    "flag": RNG.random(ROWS) < 0.3,
    "colour": RNG.choice(["red", "green", "blue"], ROWS, p=[0.2, 0.5, 0.3]),
}
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
COLUMNS = Columns.of(pd.DataFrame(TABLE))
CATEGORICAL = {
    "pandas category": pd.DataFrame(TABLE).astype({"colour": "category"}),
    "polars categorical": pl.DataFrame(TABLE).with_columns(pl.col("colour").cast(pl.Categorical)),
    "dictionary": pa.table(TABLE | {"colour": pa.array(TABLE["colour"]).dictionary_encode()}),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_kinds_are_known():
    kinds = [(c.kind, c.resolution, c.categories) for c in COLUMNS.columns]
    assert kinds == [
        ("continuous", None, ()),
        ("integer", 1.0, ()),
        ("continuous", 0.1, ()),
        ("boolean", 1.0, ()),
        ("categorical", 1.0, ("green", "blue", "red")),
    ]
    count = COLUMNS.columns[1]
    assert (count.low, count.high) == (-3, 8)


def test_every_kind_comes_back_and_continuous_values_are_the_same_bits():
    x = COLUMNS.encode(pd.DataFrame(TABLE), generator=generator())
    assert x.shape == (ROWS, 5)
    assert np.array_equal(x[:, 0], TABLE["length"])
    back = COLUMNS.decode(x)
    for name, values in TABLE.items():
        assert back[name].dtype.kind == values.dtype.kind
        assert np.array_equal(back[name], values), name


def test_noise_is_uniform_in_the_cell_of_its_value():
    table = pd.DataFrame(TABLE)
    codes = np.stack([c.codes(pd_series(table, c.name), "t") for c in COLUMNS.columns], 1)
    x = COLUMNS.encode(table, generator=generator())
    widths = np.array([1.0, 0.1, 1.0, 1.0])
    u = (x - codes)[:, 1:] / widths
    assert 0 <= u.min() <= u.max() < 1
    z = (u.mean(0) - 0.5) / (1 / 12 / ROWS) ** 0.5
    assert (np.abs(z) < 4).all()
    z = (((u - 0.5) ** 2).mean(0) - 1 / 12) / (1 / 180 / ROWS) ** 0.5
    assert (np.abs(z) < 4).all()


def pd_series(table, name):
    import narwhals as nw

    return nw.from_native(table)[name]


def test_noise_is_seeded_and_that_of_a_row_does_not_depend_on_later_ones():
    table = pd.DataFrame(TABLE)
    x = COLUMNS.encode(table, generator=generator())
    assert np.array_equal(x, COLUMNS.encode(table, generator=generator()))
    assert np.array_equal(x[:9], COLUMNS.encode(table.head(9), generator=generator()))
    assert not np.array_equal(x, COLUMNS.encode(table, generator=generator(1)))


def test_renewed_noise_is_uniform_independent_of_the_old_and_stays_in_its_cell():
    x = torch.from_numpy(COLUMNS.encode(pd.DataFrame(TABLE), generator=generator()))
    y = COLUMNS.renew(x, generator(1))
    assert torch.equal(y[:, 0], x[:, 0])
    before, after = COLUMNS.decode(x), COLUMNS.decode(y)
    assert all(np.array_equal(before[name], after[name]) for name in TABLE)
    widths = torch.tensor([1.0, 0.1, 1.0, 1.0]).double()
    low = torch.tensor([column.low for column in COLUMNS.columns[1:]]).double()
    u, v = (((z[:, 1:] - low) / widths).frac() - 0.5 for z in (x, y))
    assert abs(float(v.mean())) < 4 * (1 / 12 / v.numel()) ** 0.5
    assert abs(float((v**2).mean() - 1 / 12)) < 4 * (1 / 180 / v.numel()) ** 0.5
    assert abs(float((u * v).mean())) < 4 / 12 / v.numel() ** 0.5


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_every_library_give_the_same_points_and_come_back(library):
    frame = LIBRARIES[library](TABLE)
    assert Columns.of(frame) == COLUMNS
    x = COLUMNS.encode(frame, generator=generator())
    assert np.array_equal(x, COLUMNS.encode(pd.DataFrame(TABLE), generator=generator()))
    back = COLUMNS.frame(x, library)
    assert type(back) is type(frame)
    assert back.equals(frame)


@pytest.mark.parametrize("kind", CATEGORICAL)
def test_types_of_categories_are_text(kind):
    frame = CATEGORICAL[kind]
    assert Columns.of(frame) == COLUMNS
    assert np.array_equal(
        COLUMNS.encode(frame, generator=generator()),
        COLUMNS.encode(pd.DataFrame(TABLE), generator=generator()),
    )


@pytest.mark.parametrize("library", [*LIBRARIES, "nullable"])
def test_missing_values_are_nan_in_every_library(library):
    table = {
        "a": [1.5, None, 2.0, 2.5] * 3,
        "k": [1, 2, None, 4] * 3,
        "b": [True, None, False, True] * 3,
        "c": ["u", None, "v", "u"] * 3,
    }
    make = LIBRARIES.get(library, lambda t: pd.DataFrame(t).convert_dtypes())
    frame = make(table) if library != "pandas" else make(table).astype({"b": "boolean"})
    columns = Columns.of(frame)
    assert [c.resolution for c in columns.columns] == [0.5, 1.0, 1.0, 1.0]
    missing = np.isnan(columns.encode(frame))
    assert missing[:4].astype(int).tolist() == [[0, 0, 0, 0], [1, 0, 1, 1], [0, 1, 0, 0], [0] * 4]


def test_points_beyond_what_was_seen_come_back_within_it():
    x = np.array([[9.0, 99.0, 99.0, 7.0, 7.0], [-9.0, -99.0, -99.0, -7.0, -7.0]])
    back = COLUMNS.decode(x)
    assert back["length"].tolist() == [9.0, -9.0]
    assert back["count"].tolist() == [8, -3]
    assert back["tenths"].tolist() == [TABLE["tenths"].max(), TABLE["tenths"].min()]
    assert back["flag"].tolist() == [True, False]
    assert back["colour"].tolist() == ["red", "green"]


def test_values_have_the_middle_of_their_cells():
    values = {"colour": "blue", "length": 0.3, "flag": True, "count": 2, "tenths": 0.4}
    found = COLUMNS.middle(values)
    assert found == {"colour": 1.5, "length": 0.3, "flag": 1.5, "count": 2.5, "tenths": 0.45}
    part = COLUMNS.only(list(values))
    back = part.decode([list(found.values())])
    assert {name: value[0] for name, value in back.items()} == values
    with pytest.raises(ValueError, match="known categories in column 'colour': got 'grey'"):
        COLUMNS.middle({"colour": "grey"})
    with pytest.raises(ValueError, match=r"`names` must be one of .*: got 'size'"):
        COLUMNS.only(["size"])


def test_names_are_text():
    frame = pd.DataFrame(RNG.normal(size=(9, 2)))
    columns = Columns.of(frame)
    assert columns.names == ("0", "1")
    assert np.array_equal(columns.encode(frame), frame.to_numpy())


def test_records_are_json_and_come_back():
    some = Columns.of(FRAME, names=["flag", "length"])
    for columns in (COLUMNS, some):
        back = Columns.from_record(json.loads(json.dumps(columns.record())))
        assert (back, back.left_out) == (columns, columns.left_out)


def test_columns_left_out_may_be_there_or_not():
    some = Columns.of(FRAME, names=["flag", "length"])
    assert some.names == ("flag", "length")
    assert set(some.left_out) == set(FRAME) - {"flag", "length"}
    for frame in (FRAME, FRAME[["length", "flag"]]):
        assert some.encode(frame, generator=generator())[:, 1].tolist() == [*TABLE["length"]]
    with pytest.raises(ValueError, match="extra 'more'"):
        some.encode(FRAME.assign(more=1))


def test_all_columns_that_cannot_be_learned_are_told_at_once():
    words = {f"name {k}": [f"{k} {i}" for i in range(len(FRAME))] for k in range(5)}
    with pytest.raises(ValueError, match="Text must repeat") as told:
        Columns.of(FRAME.assign(**words), "t.csv")
    names = ", ".join(f'"{name}"' for name in words)
    end = f"There are 2 more. In t.csv, data.exclude = [{names}] leaves them out."
    assert str(told.value).endswith(end)


def test_a_column_that_numbers_the_rows_is_told_of(caplog):
    Columns.of(FRAME.assign(id=range(5, 5 + len(FRAME))), "t.csv")
    (record,) = caplog.records
    left = """Column 'id' of t.csv numbers its rows: data.exclude = ["id"] leaves it out."""
    assert record.getMessage() == left


def test_columns_are_matched_by_name_and_another_order_is_said(caplog):
    shuffled = pd.DataFrame(TABLE)[["colour", "flag", "length", "tenths", "count"]]
    x = COLUMNS.encode(shuffled, "other.csv", generator=generator())
    assert np.array_equal(x, COLUMNS.encode(pd.DataFrame(TABLE), generator=generator()))
    (message,) = [r.getMessage() for r in caplog.records]
    assert tuple(COLUMNS.match(shuffled).columns) == COLUMNS.names
    assert message == "The columns of other.csv are in another order: matched by name."


FRAME = pd.DataFrame(TABLE)
REFUSED = {
    "missing": (FRAME.drop(columns="count"), r"t.csv must have the columns .*: missing 'count'\."),
    "extra": (FRAME.assign(more=1), r"'colour': extra 'more'\."),
    "both": (FRAME.rename(columns={"flag": "b"}), r": missing 'flag'; extra 'b'\."),
    "text": (FRAME.assign(length="x"), "t.csv must hold numbers in column 'length': got String"),
    "number": (FRAME.assign(colour=1), "t.csv must hold text in column 'colour': got Int64"),
    "category": (FRAME.assign(colour="grey"), "known categories in column 'colour': got 'grey'"),
    "not boolean": (FRAME.assign(flag=2), "must hold booleans in column 'flag'"),
    "no frame": ([1, 2], "t.csv must be a data frame.*got list"),
    "lazy": (pl.DataFrame(TABLE).lazy(), "must be a data frame.*got LazyFrame"),
    "names": (pa.table([[1], [2]], ["a", "a"]), "t.csv must have columns of different names.*'a'"),
    "long name": (FRAME.assign(**{"x" * 501: 1}), "t.csv must have names of at most 500 char"),
    "no rows": (FRAME.head(0), r"a table with rows: got \(0, 5\)"),
}


def test_messages_about_many_columns_are_short():
    wide = {f"column {j}": [1.5, 2.25, 3.5] for j in range(1000)}
    columns = Columns.of(pd.DataFrame(wide))
    with pytest.raises(ValueError, match=r"must have the columns 'column 0', .*: missing") as told:
        columns.encode(pd.DataFrame({"other": [1.5, 2.5]}))
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("case", REFUSED)
def test_other_frames_are_refused(case):
    frame, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        COLUMNS.encode(frame, "t.csv")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pd.to_datetime(["2020-01-01"] * 4),
            "or text: got 'a' \\(Datetime.*number, such as days",
        ),
        ([f"name {i}" for i in range(4)], "Text must repeat.*4 different ones in the 4 rows"),
        ([float("inf")] * 4, "must have values: got none that is finite in 'a'"),
        (pd.Series([None] * 4, dtype="str"), "must have values: got none in 'a'"),
    ],
)
def test_columns_that_cannot_be_learned_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Columns.of(pd.DataFrame({"a": values}))


def test_other_points_kinds_and_libraries_are_refused():
    with pytest.raises(ValueError, match=r"`points` must have shape \(n, 5\): got \(3, 4\)"):
        COLUMNS.decode(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"`kind` must be one of continuous.*got 'ordinal'"):
        Column("a", "ordinal", None, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"`backend` must be one of pandas.*got 'excel'"):
        COLUMNS.frame(np.zeros((3, 5)), "excel")


def test_the_likelihood_of_dequantised_values_bounds_that_of_the_values():
    """-log P(x) ≤ E_u[-log p(x + r u)] - log r, with equality where p is flat in the cells."""
    rate, step = 1.3, 0.5
    values = np.repeat(np.arange(8) * step, 50)
    columns = Columns.of(pd.DataFrame({"a": values}))
    assert columns.widths.tolist() == [step]
    x = columns.encode(pd.DataFrame({"a": np.full(20_000, 0.5)}), generator=generator())[:, 0]
    bound = (rate * x - np.log(rate)).mean() - np.log(step)
    exact = -np.log(np.exp(-rate * 0.5) - np.exp(-rate * 1.0))
    # E[rate·x] in the cell minus log rate, in closed form, against the probability of the cell.
    closed = rate * 0.75 - np.log(rate) - np.log(step)
    assert bound == pytest.approx(closed, abs=4 * rate * step / 12**0.5 / 20_000**0.5)
    assert exact < bound
