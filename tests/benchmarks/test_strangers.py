import numpy as np
import pandas as pd
import pytest

from benchmarks import strangers
from wgflow.runs import evaluate

RNG = np.random.default_rng(0)


def test_files_are_of_enough_rows_and_no_two_the_same(tmp_path):
    frame = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.normal(size=200)})
    for name in ("one", "other", "few"):
        (tmp_path / name).mkdir()
    frame.to_csv(tmp_path / "one" / "t.csv")
    frame.to_csv(tmp_path / "other" / "t.csv")
    frame.head(100).to_csv(tmp_path / "few" / "t.csv")
    assert strangers.files(tmp_path) == ["one/t.csv"]


def test_advice_is_taken(tmp_path, monkeypatch):
    small = ["energy.width=8", "energy.features=4", "training.steps=2"]
    monkeypatch.setattr(strangers, "SMALL", [*strangers.SMALL[2:], *small])
    monkeypatch.setattr(evaluate, "POINTS", 200)
    x = RNG.normal(size=(200, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "same": 1})
    frame["name"] = [f"row {i}" for i in range(200)]
    frame.loc[3, "a"] = np.nan
    frame.to_csv(tmp_path / "t.csv")
    row = strangers.measure(tmp_path, "t.csv")
    assert strangers.outcome(row) == "as advised", row
    assert (row["excluded"], row["imputed"]) == (["same", "name"], True)
    (tmp_path / "t.csv").write_text("1,2\n" * 200)
    row = strangers.measure(tmp_path, "t.csv")
    assert strangers.outcome(row) == "refused"
    assert "must have a header of names" in row["line"]
    (counts, *_, why) = strangers.printed([{"file": "t.csv"} | row])
    assert counts.endswith("| 0 | 0 | 1 | 0 | 1 |")
    assert why.startswith("refused: t.csv: Error: t.csv must have a header")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('In t.csv, data.exclude = ["a", "b"] leaves them out.', ["a", "b"]),
        ('data.exclude = ["a… (900 characters) …"z] leaves them out.', []),
        ("Error: no advice", []),
    ],
)
def test_advice_is_read(text, columns):
    assert strangers.advised(text) == columns


def test_a_traceback_is_no_refusal():
    row = {"code": 1, "line": "Traceback: KeyError()", "excluded": [], "imputed": False}
    assert strangers.outcome(row) == "TRACEBACK"
