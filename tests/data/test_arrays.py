"""Arrays of points in files."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv, parquet

from wgflow.data.arrays import read_array, write_points
from wgflow.data.columns import Columns


def test_a_table_of_points_reads_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_points(tmp_path / "x.csv", x)
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "x0,x1,x2"
    back = np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1, dtype=np.float32)
    assert np.array_equal(back, x)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_tables_have_names_and_values_in_place_of_points(tmp_path):
    rows = pa.table({"k, l": [1, 2, 2, 3] * 2, "c": ["u", "v", "u", "u"] * 2, "x": [0.1, 0.7] * 4})
    columns = Columns.of(rows)
    x = columns.encode(rows)
    for name, read in (("x.csv", csv.read_csv), ("x.parquet", parquet.read_table)):
        write_points(tmp_path / name, x, columns=columns)
        assert read(tmp_path / name).equals(rows)
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == '"k, l",c,x'
    write_points(tmp_path / "x.npy", x, columns=columns)
    assert np.array_equal(np.load(tmp_path / "x.npy"), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_fill_a_grid_row_by_row(tmp_path, channels):
    x = np.arange(3.0).reshape(3, 1, 1, 1) * np.ones((3, channels, 2, 4))
    write_points(tmp_path / "x.png", x)
    pixels = np.asarray(Image.open(tmp_path / "x.png")).reshape(4, 8, channels)
    assert (pixels[:2, :4] == 0).all()
    assert (pixels[:2, 4:] == 127).all()
    assert (pixels[2:, :4] == 255).all()
    assert (pixels[2:, 4:] == 0).all()


def test_what_is_unknown_is_black_and_dims_nothing_else(tmp_path):
    x = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((4, 1, 2, 2))
    write_points(tmp_path / "x.png", x)
    x[0, :, 0] = np.nan
    write_points(tmp_path / "y.png", x)
    whole, part = (np.asarray(Image.open(tmp_path / name)) for name in ("x.png", "y.png"))
    assert np.array_equal(whole, part)
    assert part.max() == 255


def test_bytes_are_levels_of_images_and_numbers_elsewhere(tmp_path):
    for shape in ((2, 1, 3, 3), (3, 3)):
        np.save(tmp_path / "x.npy", np.full(shape, 1, np.uint8))
        assert read_array(tmp_path / "x.npy").flat[0] == (1.5 / 256 if len(shape) == 4 else 1)


def test_only_images_make_a_picture(tmp_path):
    with pytest.raises(ValueError, match=r"must have shape .* got \(2,\)"):
        write_points(tmp_path / "x.png", np.zeros((5, 2)))
