"""Runs side by side: settings and scores, read from their folders without importing PyTorch."""

import contextlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wgflow.storage.folder import CONFIG, SCORES, is_run, read_scores, status


class Comparison(NamedTuple):
    """Scores by run, and by setting the values of all runs, where they differ."""

    scores: dict[str, dict[str, float]]
    differences: dict[str, dict[str, Any]]


def compare(paths: Sequence[Path | str]) -> Comparison:
    """Scores of evaluated runs and the settings in which they differ, by the paths given.

    Raises:
        ValueError: for fewer than two runs, or one that was not evaluated.
    """
    if len(paths) < 2:
        raise ValueError(f"`paths` must name at least 2 runs: got {len(paths)}.")
    configs = {str(path): read_settings(Path(path)) for path in paths}
    return Comparison({str(path): _scores(Path(path)) for path in paths}, differences(configs))


def list_runs(folder: Path | str = "runs") -> list[dict[str, Any]]:
    """For each run in a folder its data, scheme, status and scores; None for what it lacks."""
    return [_summary(path) for path in sorted(Path(folder).glob("*")) if is_run(path)]


def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a run by dotted key; ValueError where there is no run."""
    if not is_run(path):
        raise ValueError(f"{path} must be a run, with {CONFIG}: got none.")
    try:
        return dict(_flat(tomllib.loads((path / CONFIG).read_text("utf8")), ""))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path / CONFIG} must hold TOML: got {error}.") from None


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By key, the values of all runs, where they differ; None where a run has no such key."""
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    rows = {key: {run: config.get(key) for run, config in configs.items()} for key in keys}
    return {key: row for key, row in rows.items() if len({str(v) for v in row.values()}) > 1}


def _summary(path: Path) -> dict[str, Any]:
    """What is known of a run; None where a damaged file says nothing."""
    config: dict[str, Any] = {}
    scores: dict[str, float] = {}
    with contextlib.suppress(ValueError):
        config = read_settings(path)
    with contextlib.suppress(ValueError):
        scores = read_scores(path)
    data = config.get("data.name")
    return {
        "run": str(path),
        "data": None if data is None else Path(str(data)).name,
        "scheme": config.get("scheme.kind"),
        "seed": config.get("seed"),
        "steps": config.get("training.steps"),
        "status": status(path),
        "kl": scores.get("kl"),
        "nll": scores.get("nll"),
    }


def _scores(path: Path) -> dict[str, float]:
    if not (path / SCORES).is_file():
        raise ValueError(f"A run must be evaluated first: run `wgflow evaluate {path}`.")
    return read_scores(path)


def _flat(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
