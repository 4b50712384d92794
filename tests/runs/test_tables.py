"""Runs that learned from a table: what they read, what they draw, and what they keep."""

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from command_line import SMALL, refused, succeed, told

import wgflow
from wgflow.config import build, override
from wgflow.data.columns import Columns
from wgflow.runs.load import load, publish
from wgflow.runs.outliers import other_points
from wgflow.runs.uses import read_points
from wgflow.storage import folder

RNG = np.random.default_rng(0)
ROWS = 300
TABLE = pd.DataFrame(
    {
        "length": RNG.normal(size=ROWS),
        "count": RNG.integers(0, 5, ROWS),
        "flag": RNG.random(ROWS) < 0.3,
        "colour": RNG.choice(["red", "green"], ROWS, p=[0.2, 0.8]),
    }
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def learned(file):
    return wgflow.fit(build(override({}, f'data.name="{file}"', *SMALL)), file.parent / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("tables")
    TABLE.to_csv(home / "t.csv", index=False)
    return learned(home / "t.csv")


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory):
    home = tmp_path_factory.mktemp("arrays")
    np.save(home / "t.npy", RNG.normal(size=(ROWS, 3)))
    return learned(home / "t.npy")


def test_the_columns_are_kept_in_the_folder_and_published(run, tmp_path):
    assert run.schema == Columns.of(TABLE) == run.dataset.schema
    assert load(run.path).schema == run.schema
    publish(run, tmp_path / "small")
    assert load(tmp_path / "small").schema == run.schema


@pytest.mark.parametrize("make", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_frames_and_files_give_the_same_points(run, make, tmp_path):
    x = run.read(run.config.data.name, generator=generator())
    assert x.dtype == torch.float32
    assert torch.equal(x, run.read(make(TABLE), generator=generator()))
    TABLE.iloc[:, ::-1].to_parquet(tmp_path / "t.parquet")
    assert torch.equal(x, run.read(tmp_path / "t.parquet", generator=generator()))
    np.save(tmp_path / "x.npy", x.numpy())
    assert torch.equal(x, run.read(tmp_path / "x.npy"))
    assert run.log_prob(x).isfinite().all()


def test_samples_are_rows_of_the_table(run):
    frame = run.sample_frame(50, backend="polars", generator=generator())
    types = {"length": pl.Float64, "count": pl.Int64, "flag": pl.Boolean, "colour": pl.String}
    assert frame.schema == types
    assert set(frame["colour"]) <= {"red", "green"}
    assert frame["count"].is_between(0, 4).all()
    x = run.sample(50, generator=generator())
    assert frame.equals(run.schema.frame(x, "polars"))


def test_points_without_names_are_numbered(unnamed, tmp_path):
    assert unnamed.schema is None
    assert not (unnamed.path / folder.COLUMNS).exists()
    assert list(unnamed.sample_frame(4)) == ["x0", "x1", "x2"]
    numbers = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
    assert unnamed.read(numbers).tolist() == [[1, 0.5, 1], [2, 1.5, 0]]
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    message = r"x.npy must hold points of shape \(3,\): got an array of shape \(4, 2\)"
    with pytest.raises(ValueError, match=message):
        unnamed.read(tmp_path / "x.npy")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_a_frame_is_learned_as_its_file_is(run, make, tmp_path):
    config = replace(run.config, training=replace(run.config.training, steps=1))
    found = wgflow.fit(config, tmp_path / "frame", data=make(TABLE))
    assert found.config.data.name == str(tmp_path / "frame" / folder.TABLE)
    assert found.schema == run.schema
    assert torch.equal(found.dataset.train[:], run.dataset.train[:])
    assert load(found.path).dataset.schema == run.schema


def test_a_frame_that_cannot_be_learned_leaves_no_folder(run, tmp_path):
    for data, message in (
        ([1, 2], "`data` must be a data frame"),
        (TABLE[:1], "Text must repeat"),
    ):
        with pytest.raises(ValueError, match=message):
            wgflow.fit(run.config, tmp_path / "none", data=data)
        assert not (tmp_path / "none").exists()


def test_a_value_that_many_rows_share_is_told_once(tmp_path, caplog):
    rng = np.random.default_rng(0)
    wet = np.arange(300) % 5 < 2
    rain = np.where(wet, rng.gamma(2, size=300), 0.0)
    data = pd.DataFrame({"rain": rain, "heat": rng.normal(size=300), "wet": wet})
    run = wgflow.fit(build(override({}, *SMALL)), tmp_path / "atom", data=data)
    said = [r.getMessage() for r in caplog.records if "no density" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("In column 'rain' ")
    assert "rows are exactly 0: a single value" in said[0]
    caplog.clear()
    assert run.read(data).shape == (300, 3)
    data.loc[5, "heat"] = -5e4
    wgflow.fit(build(override({}, *SMALL)), tmp_path / "far", data=data)
    said = [r.getMessage() for r in caplog.records if "no tail leads" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("What is farthest out in column 'heat', 1 of ")
    caplog.clear()
    data = data.drop(5).assign(sum=data["rain"] - 2 * data["heat"])
    wgflow.fit(build(override({}, *SMALL)), tmp_path / "sum", data=data)
    said = [r.getMessage() for r in caplog.records if "fill no volume" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("Column 'sum' follows from 'rain', 'heat' up to ")
    caplog.clear()
    assert not caplog.records


def test_other_columns_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"`frame` must have the columns .*: missing 'count'"):
        run.read(TABLE.drop(columns="count"))
    with pytest.raises(ValueError, match="must have finite numbers alone: got nan in row 0"):
        run.read(TABLE.assign(length=np.nan))
    TABLE.assign(more=1).to_csv(tmp_path / "o.csv", index=False)
    message = "o.csv must have the columns 'length', 'count', 'flag', 'colour': extra 'more'."
    assert message in refused("ood", run.path, tmp_path / "o.csv")
    assert "a path that exists: got 'none.csv'; there is no such file" in refused(
        "ood", run.path, "none.csv"
    )


def test_columns_left_out_and_an_index_may_stay_in_files(tmp_path):
    named = TABLE.assign(name=[f"row {i}" for i in range(ROWS)])
    named.to_csv(tmp_path / "t.csv")
    (tmp_path / "c.toml").touch()  # the settings of toy sets
    words = [part for word in SMALL for part in ("--set", word)]
    words += ["--config", tmp_path / "c.toml", "--out", tmp_path / "r"]
    succeed("train", tmp_path / "t.csv", "--exclude", "name, flag", *words)
    run = load(tmp_path / "r")
    assert run.schema.names == ("length", "count", "colour")
    assert run.schema.left_out == ("flag", "name")
    x = run.read(tmp_path / "t.csv", generator=generator())
    assert torch.equal(x, run.read(TABLE, generator=generator()))
    gaps, filled = tmp_path / "gaps.csv", tmp_path / "full.csv"
    named.drop(columns="colour").to_csv(gaps)
    succeed("inpaint", run.path, "--input", gaps, "-n", "3", "--out", filled)
    assert set(pd.read_csv(filled)) >= {"length", "count", "colour"}
    assert "extra 'more'" in refused("ood", run.path, written(tmp_path, TABLE.assign(more=1)))


def written(home, frame):
    frame.to_csv(home / "other.csv", index=False)
    return home / "other.csv"


def test_all_rows_of_another_file_are_compared(run, tmp_path, caplog):
    TABLE.iloc[:40, ::-1].to_csv(tmp_path / "o.csv", index=False)
    x = other_points(run, str(tmp_path / "o.csv"))
    assert run.schema.frame(x.double(), "pyarrow").equals(
        run.schema.frame(run.read(TABLE[:40]).double(), "pyarrow")
    )
    assert "columns of o.csv are in another order" in caplog.text
    smooth = replace(run.config, data=replace(run.config.data, smoothing=0.5))
    noise = other_points(replace(run, config=smooth), str(tmp_path / "o.csv")) - x
    z = noise / (0.5 * run.energy.scale)
    assert abs(float(z.square().mean()) - 1) < 5 * (2 / z.numel()) ** 0.5


def test_verbs_read_the_rows_of_a_table(run, tmp_path):
    TABLE[:40].to_csv(tmp_path / "o.csv", index=False)
    x = read_points(run, tmp_path / "o.csv", 7)
    assert run.schema.frame(x.double())["count"].tolist() == TABLE["count"][:7].tolist()
    assert torch.equal(x, read_points(run, tmp_path / "o.csv", 40)[:7])


def test_products_are_of_the_same_columns(run):
    renamed = TABLE.rename(columns={"count": "number"})
    other = replace(run, schema=Columns.of(renamed))
    with pytest.raises(ValueError, match=r"`runs` must have the same columns.*'count'.*'number'"):
        wgflow.compose([run, other])
    assert wgflow.compose([run, run]).schema == run.schema


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_command_line_writes_names_and_types(run, suffix, tmp_path):
    file = tmp_path / f"rows.{suffix}"
    assert told("sample", run.path, "-n", 30, "--out", file, "--seed", 1)["shape"] == [30, 4]
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    found, expected = read(file), run.sample_frame(30, generator=generator(1))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
    assert [kind.kind for kind in found.dtypes[:3]] == ["f", "i", "b"]
    succeed("sample", run.path, "-n", 30, "--out", tmp_path / "x.npy", "--seed", 1)
    points = np.load(tmp_path / "x.npy")
    pd.testing.assert_frame_equal(run.schema.frame(points), expected, rtol=1e-6, atol=1e-6)
