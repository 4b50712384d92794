"""Runs side by side: settings and scores, read without importing PyTorch."""

import tomllib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgflow.cli.output import grid_table
from wgflow.storage.folder import CONFIG, ENVIRONMENT, SCORES, is_run, read_json

if TYPE_CHECKING:
    from rich.table import Table


def read_config(folder: Path) -> dict[str, Any]:
    """Settings of a run by dotted key; ValueError where there is no run."""
    if not is_run(folder):
        raise ValueError(f"{folder} must be a run, with {CONFIG}: got none.")
    return dict(_flat(tomllib.loads((folder / CONFIG).read_text("utf8")), ""))


def read_scores(folder: Path) -> dict[str, float]:
    """Scores of a run; ValueError when it has none yet."""
    read_config(folder)
    if not (folder / SCORES).is_file():
        raise ValueError(f"A run must be evaluated first: run `wgflow evaluate {folder}`.")
    return read_json(folder / SCORES)


def summary(folder: Path) -> dict[str, Any]:
    """One line about a run: its data, scheme, status and scores; None for what it lacks."""
    config = read_config(folder)
    scores = read_json(folder / SCORES) if (folder / SCORES).is_file() else {}
    return {
        "run": str(folder),
        "data": Path(config["data.name"]).name,
        "scheme": config["scheme.kind"],
        "seed": config["seed"],
        "steps": config["training.steps"],
        "status": read_json(folder / ENVIRONMENT).get("status"),
        "kl": scores.get("kl"),
        "nll": scores.get("nll"),
    }


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By key, the values of all runs, where they differ; None where a run has no such key."""
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    rows = {key: {run: config.get(key) for run, config in configs.items()} for key in keys}
    return {key: row for key, row in rows.items() if len({str(v) for v in row.values()}) > 1}


def score_table(runs: Mapping[str, Mapping[str, float]]) -> "Table":
    """Scores in rows and runs in columns, each with its error and its floor."""
    names = dict.fromkeys(name for scores in runs.values() for name in scores)
    rows = {
        name: {run: _score(scores, name) for run, scores in runs.items()}
        for name in names
        if not _belongs(name, names)
    }
    return grid_table("score", rows)


def _belongs(name: str, names: Container[str]) -> bool:
    """Whether a score is the floor or the error bar of another."""
    stem, _, what = name.rpartition("_")
    return what in ("floor", "error") and stem in names


def _score(scores: Mapping[str, float], name: str) -> str:
    if name not in scores:
        return ""
    error = f" ± {scores[f'{name}_error']:.2g}" if f"{name}_error" in scores else ""
    floor = f"  (floor {scores[f'{name}_floor']:.4g})" if f"{name}_floor" in scores else ""
    return f"{scores[name]:.4g}{error}{floor}"


def _flat(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
