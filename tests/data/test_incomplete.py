"""Tables with empty cells: columns by name, absent ones, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from wgflow.data.incomplete import read_incomplete

F32 = np.dtype(np.float32)
COLUMNS = ("a", "b", "c")


def test_cells_come_by_name_and_empty_ones_are_nan(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("c,a\n1,\n,2.5\n3,4\n")
    x = read_incomplete(file, COLUMNS, F32)
    nan = np.nan
    assert x.dtype == F32
    assert np.array_equal(x, [[nan, nan, 1], [2.5, nan, nan], [4, nan, 3]], equal_nan=True)


def test_parquet_and_columns_without_any_number(tmp_path):
    file = tmp_path / "x.parquet"
    empty = pa.nulls(2)
    parquet.write_table(pa.table({"a": [None, 2], "b": empty, "c": [0.5, None]}), file)
    x = read_incomplete(file, COLUMNS, F32)
    assert np.array_equal(x, [[np.nan, np.nan, 0.5], [2, np.nan, np.nan]], equal_nan=True)


REFUSED = {
    "must have columns of the names a, b, c: got 'd', 'A'": "a,d,A\n1,2,3\n",
    "x.csv must have rows: got none": "a,b\n",
    "must have columns of different names": "a,a\n1,2\n",
    "column 'b' must hold numbers or nothing": "a,b\n1,red\n",
    "column 'b' must hold finite numbers or nothing": "a,b\n1,inf\n",
    "x.csv must hold a table": "a,b\n1,2,3\n",
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(REFUSED[message])
    with pytest.raises(ValueError, match=message):
        read_incomplete(file, COLUMNS, F32)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"x.csv must hold a table: .*No such file"):
        read_incomplete(tmp_path / "x.csv", COLUMNS, F32)
