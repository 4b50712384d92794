"""What binds a checkpoint to its run: its configuration, and a digest of its data."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wgflow.config.toml import parse
from wgflow.data.dataset import Dataset
from wgflow.storage import folder

Binding = dict[str, Any]
"""``config``, settings by dotted key as JSON, and ``data``, a digest, if the run's folder says."""


def binding(path: Path) -> Binding:
    """What a checkpoint of the run in a folder belongs to, by the folder's files alone.

    The settings are those that are written there, without the device and the folders that data
    and runs lie in, which may change. The digest is what `digest_of` gave at the start.
    """
    table = parse((path / folder.CONFIG).read_text("utf8"))
    table.pop("device", None)
    config = {key: json.dumps(value, default=str) for key, value in _leaves(_movable(table))}
    try:
        data = folder.read_record(path / folder.ENVIRONMENT).get("data")
    except ValueError:  # a damaged record of the machine costs no run
        data = None
    return {"config": config} | ({"data": data} if isinstance(data, str) else {})


def check_bound(file: Path, bound: object, own: Binding) -> None:
    """Raise ValueError for a checkpoint of another run, by what it belongs to.

    Files from before checkpoints were bound say nothing, and settings that one of both lacks, as
    those of another version, count as the same.
    """
    if not isinstance(bound, Mapping):
        return
    settings = bound.get("config")
    for key, value in own["config"].items():
        other = settings.get(key, value) if isinstance(settings, Mapping) else value
        if other != value:
            raise ValueError(
                f"{file} must be of the run that {folder.CONFIG} beside it describes: expected "
                f"{key} = {value}, got one learned with {other}."
            )
    if bound.get("data", own.get("data")) != own.get("data", bound.get("data")):
        raise ValueError(
            f"{file} must be of the run that {folder.ENVIRONMENT} beside it describes: got one "
            "learned from other data."
        )


def check_data(path: Path, dataset: Dataset) -> None:
    """Raise ValueError unless the data are those that the run in a folder started on."""
    started = binding(path).get("data")
    if started is not None and started != digest_of(dataset):
        raise ValueError(
            f"`data` must be those the run started on: got others at {dataset.name}, by the "
            f"digest in {folder.ENVIRONMENT}."
        )


def digest_of(dataset: Dataset) -> str:
    """A digest of the test points, the units, and the number of train points."""
    digest = hashlib.sha256(f"{len(dataset.train)}{dataset.event_shape}".encode())
    for part in (dataset.test, dataset.shift, dataset.scale):
        digest.update(_bytes(part))
    return digest.hexdigest()


def _bytes(x: Tensor) -> bytes:
    return x.contiguous().numpy().tobytes()


def _movable(table: dict[str, Any]) -> dict[str, Any]:
    """The table with the names of files in place of their paths."""
    data = dict(table.get("data", {}))
    for key in ("name", "test"):
        if key in data:
            data[key] = Path(str(data[key])).name
    begun = {"init": Path(str(table["init"])).name} if "init" in table else {}
    return table | begun | {"data": data}


def _leaves(table: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        found += _leaves(value, f"{path}{key}.") if inner else [(f"{path}{key}", value)]
    return found
