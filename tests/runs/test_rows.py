"""Scores of rows against a known density, the files they come from and those they go to."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from known_runs import with_known_density
from problems import seeded
from pyarrow import csv, parquet

from wgflow.likelihood.annealing import LogZ
from wgflow.runs import rows
from wgflow.runs.rows import log_density, read_rows, score_rows, write_scores

X = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, -1.0]])


@pytest.fixture
def known(runs):
    """Held-out rows at the distances ½, 1, 2 and 2."""
    test = torch.tensor([[0.5, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    return with_known_density(runs["moons"], test)


def test_scores_by_hand(known):
    """Log-densities of N(0, I); no, four and two rows further out, and one as far."""
    found = score_rows(known, X)
    expected = -X.double().square().sum(1) / 2 - math.log(2 * math.pi)
    assert torch.allclose(found.log_density, expected, atol=1e-4)
    assert found.rank.tolist() == [1.0, 0.0, 0.625]
    assert (found.held_out, found.log_z.error, found.refuted) == (4, 0.0, False)


def test_any_number_of_rows_is_scored_in_parts(known, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 2)
    assert torch.allclose(log_density(known, X), known.log_prob(X).double())
    assert len(log_density(known, X)) == 3


def test_a_refuted_normaliser_leaves_the_ranks(known, tmp_path):
    """What is not known is empty in the file."""
    vars(known)["normaliser"] = LogZ(math.nan, math.inf, 40.0, 0.0)
    found = score_rows(known, X)
    assert found.refuted
    assert found.rank.tolist() == [1.0, 0.0, 0.625]
    write_scores(tmp_path / "scores.csv", found)
    assert (tmp_path / "scores.csv").read_text().splitlines()[1:] == [",,1", ",,0", ",,0.625"]


@pytest.mark.parametrize("suffix", rows.WRITTEN)
def test_files_hold_every_digit(known, tmp_path, suffix):
    found, file = score_rows(known, X), tmp_path / f"scores{suffix}"
    write_scores(file, found)
    table = csv.read_csv(file) if suffix == ".csv" else parquet.read_table(file)
    assert table.column_names == ["log_density", "error", "rank"]
    assert table["log_density"].to_pylist() == found.log_density.tolist()
    assert table["error"].to_pylist() == [0.0] * 3
    assert table["rank"].to_pylist() == found.rank.tolist()


def test_all_rows_of_every_kind_of_file_are_read(known, tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    np.savez(tmp_path / "x.npz", x=X.numpy())
    table = pa.table({"a": X[:, 0].numpy(), "b": X[:, 1].numpy()})
    csv.write_csv(table, tmp_path / "x.csv")
    csv.write_csv(table, tmp_path / "x.tsv", csv.WriteOptions(delimiter="\t"))
    parquet.write_table(table, tmp_path / "x.parquet")
    for suffix in rows.READ:
        x = read_rows(known, tmp_path / f"x{suffix}")
        assert torch.equal(x, X)
        assert x.dtype == torch.float32


def test_pixels_become_points_with_noise(runs, tmp_path):
    """In [k/256, (k+1)/256), as those of the data do."""
    pixels, file = np.full((3, 1, 8, 8), 7, np.uint8), tmp_path / "pixels.npy"
    np.save(file, pixels)
    x = read_rows(runs["digits"], file, generator=seeded(0))
    assert torch.equal((256 * x).floor(), torch.full((3, 1, 8, 8), 7.0))
    assert x.unique().numel() > 100


def test_other_columns_are_refused(known, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"wide.npy must hold points of shape \(2,\): got an arr"):
        read_rows(known, tmp_path / "wide.npy")
    with pytest.raises(
        ValueError, match=r"`file` must be one of .npy, .npz, .csv, .tsv, .parquet: got"
    ):
        read_rows(known, "rows.txt")
    with pytest.raises(ValueError, match=r"`x` must hold points of shape \(2,\): got an array"):
        score_rows(known, torch.zeros(4, 3))
