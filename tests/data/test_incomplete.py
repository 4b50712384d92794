"""Tables with empty cells: columns by name, absent ones, kinds, and what is refused."""

import math

import numpy as np
import pyarrow as pa
import pytest
from problems import seeded
from pyarrow import parquet

from wgflow.data.column import Column
from wgflow.data.columns import Columns
from wgflow.data.incomplete import point_of, read_incomplete

COLUMNS = Columns.numbers("abc")
KINDS = Columns(
    (
        Column("size", "continuous", 0.5, 10.0, 20.0),
        Column("count", "integer", 1.0, 0.0, 5.0),
        Column("colour", "categorical", 1.0, 0.0, 1.0, ("red", "blue")),
        Column("new", "boolean", 1.0, 0.0, 1.0),
    )
)


def test_cells_come_by_name_and_empty_ones_are_nan(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("c,a\n1,\n,2.5\n3,4\n")
    x = read_incomplete(file, COLUMNS)
    nan = np.nan
    assert np.array_equal(x, [[nan, nan, 1], [2.5, nan, nan], [4, nan, 3]], equal_nan=True)


def test_parquet_and_columns_without_any_value(tmp_path):
    file = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": [None, 2], "b": pa.nulls(2), "c": [0.5, None]}), file)
    x = read_incomplete(file, COLUMNS)
    assert np.array_equal(x, [[np.nan, np.nan, 0.5], [2, np.nan, np.nan]], equal_nan=True)


def test_known_values_lie_in_their_cells(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("colour,size,count,new\nblue,10.5,,true\n,,3,\n")
    x = read_incomplete(file, KINDS, generator=seeded(0))
    assert np.isnan(x).tolist() == [[False, True, False, False], [True, False, True, True]]
    low = np.array([10.5, np.nan, 1, 1]), np.array([np.nan, 3, np.nan, np.nan])
    offset = (x - low) / KINDS.widths
    known = ~np.isnan(x)
    assert ((offset[known] > 0) & (offset[known] < 1)).all()
    values = KINDS.decode(np.nan_to_num(x))
    assert (values["colour"][0], values["size"][0], values["count"][1]) == ("blue", 10.5, 3)


def test_a_value_is_the_middle_of_its_cell():
    size, count, colour, new = KINDS.columns
    assert point_of(size, 12.5) == 12.75
    assert point_of(size, 12.6) == 12.75
    assert point_of(count, 3) == 3.5
    assert point_of(count, 3 - 1e-9) == 3.5
    assert [point_of(colour, c) for c in ("red", "blue")] == [0.5, 1.5]
    assert [point_of(new, v) for v in (False, 1.0)] == [0.5, 1.5]
    assert point_of(COLUMNS.columns[0], 12.6) == 12.6


REFUSED_VALUES = {
    "'a' must have a finite number as its value: got '1'": (COLUMNS.columns[0], "1"),
    "'a' must have a finite number as its value: got nan": (COLUMNS.columns[0], math.nan),
    "'a' must have a finite number as its value: got True": (COLUMNS.columns[0], True),
    "'colour' must be one of 'red', 'blue': got 'green'": (KINDS.columns[2], "green"),
    "'colour' must be one of 'red', 'blue': got 1.0": (KINDS.columns[2], 1.0),
}


@pytest.mark.parametrize("message", REFUSED_VALUES)
def test_refusals_of_values(message):
    with pytest.raises(ValueError, match=message):
        point_of(*REFUSED_VALUES[message])


REFUSED = {
    "must have columns of the names a, b, c: got 'd', 'A'": "a,d,A\n1,2,3\n",
    "x.csv must hold a table with rows": "a,b\n",
    "must have columns of different names": "a,a\n1,2\n",
    "x.csv must hold numbers in column 'b'": "a,b\n1,red\n",
    "finite numbers in column 'b': got others": "a,b\n1,inf\n",
    "x.csv must hold a table": "a,b\n1,2,3\n",
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(REFUSED[message])
    with pytest.raises(ValueError, match=message):
        read_incomplete(file, COLUMNS)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"x.csv must be a file: got no such file"):
        read_incomplete(tmp_path / "x.csv", COLUMNS)
