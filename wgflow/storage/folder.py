"""The run folder: its files, and writes that are whole or absent.

This file imports nothing heavy, so that folders can be listed without waiting for PyTorch.
"""

import contextlib
import glob
import itertools
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from wgflow._check import shown
from wgflow.storage.lock import LOCK, holder, in_use, lock

CONFIG = "config.toml"
"""What was asked for, every setting visible."""
ENVIRONMENT = "environment.json"
"""Versions, machine, command line, start, seconds and status of the run."""
TABLE = "table.parquet"
"""The rows of a data frame that a run learned from; absent for data from files."""
COLUMNS = "columns.json"
"""Names, kinds, resolutions and categories of a table's columns; absent for other data."""
METRICS = "metrics.jsonl"
"""One object per logged step: ``step``, ``seconds``, ``cpu_seconds`` and metrics by name."""
EVENTS = "events.jsonl"
"""One object per rollback, early stop or interruption; absent in an uneventful run."""
CHECKPOINT = "checkpoint.safetensors"
"""The latest state of learning."""
ENERGY = "energy.safetensors"
"""What a published run has in place of a checkpoint: its energy alone."""
LABELLER = "labeller.safetensors"
"""``log p(c|x)`` of the run's own data; absent until a class is asked for."""
FRAMES = "frames.npz"
"""Snapshots ``step`` (F,) and ``x`` (F, N, *event), in original units, equally weighted."""
TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's event files."""
SCORES = "scores.json"
ROW_SCORES = "row_scores.csv"
"""``log_density``, ``error`` and ``rank`` of rows; absent until some are scored."""
SAMPLES = "samples.npy"
REPORT = "report.html"
TARGET = "target"
"""Folder of the samples of a given energy, from which the run learned; absent in others."""
PART = ".part"
"""Suffix of files before they are whole."""
MOMENT = 1.0
"""Seconds for which a new file may be without its lock."""
BEGUN = {LOCK, TABLE, CONFIG, COLUMNS, TARGET}
"""Files of a run that was killed before it was one."""

log = logging.getLogger(__name__)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or none of it: a temporary file beside it, synced, then renamed.

    Temporary files of the same name whose writers were killed are removed.
    """
    clean(path.parent, path.name)
    with _temporary(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        # mkstemp makes files private; give those of any other file of this user.
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, path)


def clean(path: Path, name: str = "*") -> None:
    """Remove the temporary files of killed writers in a folder: of a file of that name, or all."""
    pattern = name if name == "*" else glob.escape(name)
    for file in path.glob(f".{pattern}-*{PART}"):
        with contextlib.suppress(OSError, ImportError), file.open() as found:
            # A moment after it is made, a file may not be locked yet.
            if time.time() - file.stat().st_mtime > MOMENT and lock(found):
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside ``path``, locked while it is written; gone afterwards if still there."""
    place = {"prefix": f".{path.name}-", "suffix": PART, "dir": path.parent}
    with tempfile.NamedTemporaryFile(delete=False, **place) as file:
        try:
            with contextlib.suppress(OSError, ImportError):  # where there are no locks
                lock(file)
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON; the numbers must be finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file; ValueError when it is not JSON, or no file but, say, a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file: got something else.")
    try:
        return json.loads(path.read_text("utf8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must hold JSON: got {error}.") from None


def read_record(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError when it holds something else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object of JSON: got {type(found).__name__}.")
    return found


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line; a number that is not finite is written as a string, ``"nan"``."""
    line = json.dumps(_plain(record), allow_nan=False)
    with path.open("a") as file:
        file.write(line + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON-lines file: none of one that is no file, and not a torn last one.

    Lines that hold something else are left out, and logged.
    """
    if not path.is_file():
        return []
    whole, _, _ = path.read_text("utf8", errors="replace").rpartition("\n")
    lines = whole.splitlines()
    found = [record for record in map(_object, lines) if record is not None]
    if lost := len(lines) - len(found):
        log.warning("%s must hold a JSON object a line: left out %d that do not.", path, lost)
    return found


def read_scores(path: Path) -> dict[str, float]:
    """The scores of a run, none where it has none; ValueError unless they are numbers by name."""
    file = path / SCORES
    if not file.is_file():
        return {}
    return numbers_by_name(read_record(file), file)


def numbers_by_name(scores: Mapping[str, Any], file: Path) -> dict[str, float]:
    """What a file says are numbers by name; ValueError where one is none."""
    for name, value in scores.items():
        if type(value) is not float and not (type(value) is int and abs(value) < 2**63):
            raise ValueError(
                f"{file} must hold numbers by name: got {shown(value)} for {shown(name)}."
            )
    return {name: float(value) for name, value in scores.items()}


def size(path: Path) -> int:
    """Bytes in a file, 0 when it is missing."""
    return path.stat().st_size if path.exists() else 0


def truncate(path: Path, length: int) -> None:
    """Cut a file back to ``length`` bytes; a shorter or missing one stays as it is."""
    if size(path) > length:
        os.truncate(path, length)


def is_run(path: Path) -> bool:
    """Whether a folder is a run."""
    return (path / CONFIG).is_file() and (path / ENVIRONMENT).is_file()


def is_learned(path: Path) -> bool:
    """Whether a run has a checkpoint, or an energy."""
    return (path / CHECKPOINT).is_file() or (path / ENERGY).is_file()


def is_begun(path: Path) -> bool:
    """Whether a run was killed before its first checkpoint, and can start again as if new."""
    learned = is_learned(path) or (path / METRICS).exists()
    return is_run(path) and not learned and status(path) in ("running", "killed")


def status(path: Path) -> str:
    """How a run stands: running, finished, interrupted, diverged, or killed; or unknown."""
    try:
        found = read_json(path / ENVIRONMENT)
    except (OSError, ValueError):
        return "unknown"
    said = str(found.get("status", "unknown")) if isinstance(found, dict) else "unknown"
    return "killed" if said == "running" and holder(path) is None else said


def check_run(path: Path) -> None:
    """Raise ValueError unless ``path`` is a run that has a checkpoint, or an energy."""
    if not is_run(path):
        got = "none of them" if path.is_dir() else "no such folder"
        raise ValueError(f"{path} must be a run, with {CONFIG} and {ENVIRONMENT}: got {got}.")
    if not is_learned(path):
        hint = f"; start it again with: wgflow resume {path}" if is_begun(path) else "."
        raise ValueError(f"{path} must be a run with a {CHECKPOINT}: got no such file{hint}")


def check_new(path: Path) -> None:
    """Raise ValueError unless ``path`` can hold a new run: absent or empty, and not in use.

    What a run left that was killed before it was one counts as nothing.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} must be a folder: got a file.")
    names = {file.name for file in path.iterdir()} if path.exists() else set()
    names = {name for name in names if not name.endswith(PART)}
    if names <= {LOCK, TARGET} or (LOCK in names and names <= BEGUN and not holder(path)):
        return
    if owner := holder(path):
        raise in_use(path, owner)
    check_no_run(path)
    raise ValueError(f"{path} must be a new or an empty folder: got other files there.")


def check_no_run(path: Path) -> None:
    """Raise ValueError for a folder that is a run."""
    if is_run(path):
        found = status(path)
        hint = "choose another folder" + ("" if found == "finished" else ", or resume it")
        raise ValueError(
            f"{path} must be a new or an empty folder, since no run is overwritten: got a run "
            f"that is {found}; {hint}."
        )


def check_writable(path: Path) -> None:
    """Raise ValueError for a folder that is there and cannot be written to."""
    if path.exists() and not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"{path} must be a folder to write to: got one that is read-only.")


def free(path: Path) -> Path:
    """The path, or the first of ``path-2``, ``path-3`` ... that does not exist."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
