from benchmarks.rows import measured, table
from wgflow.storage.folder import append_json


def test_only_what_a_file_lacks_is_measured(tmp_path):
    path, asked = tmp_path / "rows.jsonl", []

    def measure(name, seed=None):
        asked.append((name, seed))
        return {"score": len(asked)}

    cases = [{"name": "a", "seed": 0}, {"name": "b", "seed": 0}, {"name": "a", "seed": 0}]
    assert [row["score"] for row in measured(path, cases, measure)] == [1, 2]
    again = [{"name": "b", "seed": 0}, {"name": "b", "seed": 1}, {"name": "a"}, {"name": "c"}]
    rows = measured(path, again, measure)
    assert asked == [("a", 0), ("b", 0), ("b", 1), ("c", None)]
    assert [row["score"] for row in rows] == [1, 2, 3, 4]
    assert rows[2] == {"name": "b", "seed": 1, "score": 3}


def test_what_another_process_has_measured_since_is_not_measured_again(tmp_path):
    path, asked = tmp_path / "rows.jsonl", []

    def measure(name):
        asked.append(name)
        append_json(path, {"name": "b", "score": 7})
        return {"score": 1}

    rows = measured(path, [{"name": "a"}, {"name": "b"}], measure)
    assert asked == ["a"]
    assert {row["name"]: row["score"] for row in rows} == {"a": 1, "b": 7}


def test_a_table_has_a_line_for_each_row():
    assert table(["x", "y"], [[1, "a"], [2, "b"]]).splitlines() == [
        *("| x | y |", "|---|---|", "| 1 | a |", "| 2 | b |"),
    ]
