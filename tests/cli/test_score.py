"""Scores of rows from the command line."""

import math

import pytest
import torch
from command_line import refused, run, succeed, told

from wgflow.likelihood.annealing import LogZ
from wgflow.runs.run import Run


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n0,0\n1,0.5\n90,90\n")
    return file


def test_rows_are_scored(runs, rows, tmp_path):
    moons, out = runs["moons"], tmp_path / "scores.csv"
    found = told("score", moons.path, rows, "--out", out)
    expected = moons.log_prob(torch.tensor([[0.0, 0.0], [1.0, 0.5], [90.0, 90.0]])).double()
    assert found.pop("log_density") == pytest.approx(float(expected.mean()), rel=1e-6)
    about = {"run": str(moons.path), "path": str(out)}
    assert found.pop("error") < 0.01
    assert found == about | {"rows": 3, "held_out": 10_000, "below_all": 1}
    header, *lines = (line.split(",") for line in out.read_text().splitlines())
    assert header == ['"log_density"', '"error"', '"rank"']
    assert [float(line[0]) for line in lines] == pytest.approx(expected.tolist(), rel=1e-6)
    assert float(lines[2][2]) == 0.0


def test_the_summary_says_what_is_known(runs, rows, tmp_path, monkeypatch):
    arguments = ("score", runs["moons"].path, rows, "--out", tmp_path / "scores.parquet")
    shown = succeed(*arguments)
    assert "Wrote the scores of 3 rows" in shown
    assert "Mean log-density: " in shown
    assert "1 rows have a lower density than all 10000 held-out rows." in shown
    monkeypatch.setattr(Run, "normaliser", LogZ(math.nan, math.inf, 40.0, 0.0))
    result = run(*arguments)
    assert result.exit_code == 0
    assert "No log-density" in result.stderr
    assert "Mean log-density" not in result.stdout
    assert told(*arguments)["log_density"] is None


def test_mistakes_are_told_before_the_work(runs, rows, tmp_path):
    path = runs["moons"].path
    assert "Scores are written to .csv, .parquet" in refused("score", path, rows, "--out", "x.npy")
    assert "got no such file" in refused("score", path, tmp_path / "none.csv")
    assert "`file` must be one of" in refused("score", path, tmp_path)
    assert "must hold points of shape (1, 8, 8)" in refused("score", runs["digits"].path, rows)
