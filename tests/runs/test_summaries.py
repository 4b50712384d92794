"""Runs side by side."""

from wgflow.runs.summaries import differences


def test_differences_show_keys_that_only_one_run_has():
    a, b = {"x": 1, "h": 0.5, "s": "n"}, {"x": 1, "g": True, "s": "m"}
    assert differences({"a": a, "b": b}) == {
        "h": {"a": 0.5, "b": None},
        "s": {"a": "n", "b": "m"},
        "g": {"a": None, "b": True},
    }
