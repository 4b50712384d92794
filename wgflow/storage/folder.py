"""The run folder: its files, writes that are whole or absent, and the lock of its one writer.

This file imports nothing heavy, so that folders can be listed without waiting for PyTorch.
"""

import contextlib
import itertools
import json
import math
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

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
LOCK = "lock"
"""Locked by the process that writes to the folder; holds its ``pid`` and ``host``."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or none of it: a temporary file beside it, synced, then renamed."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; give those of any other file of this user.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON; the numbers must be finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file; ValueError when it is not JSON."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must hold JSON: got {error}.") from error


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line; a number that is not finite is written as a string, ``"nan"``."""
    line = json.dumps(_plain(record), allow_nan=False)
    with path.open("a") as file:
        file.write(line + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file: none of a missing file, and not a torn last one."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


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


def check_run(path: Path) -> None:
    """Raise ValueError unless ``path`` is a run that has a checkpoint, or an energy."""
    if not is_run(path):
        got = "none of them" if path.is_dir() else "no such folder"
        raise ValueError(f"{path} must be a run, with {CONFIG} and {ENVIRONMENT}: got {got}.")
    if not ((path / CHECKPOINT).is_file() or (path / ENERGY).is_file()):
        raise ValueError(f"{path} must be a run with a {CHECKPOINT}: got no such file.")


def check_new(path: Path) -> None:
    """Raise ValueError unless ``path`` can hold a new run: absent or empty, and not in use."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} must be a folder: got a file.")
    if not path.exists() or all(file.name in (LOCK, TARGET) for file in path.iterdir()):
        return
    if owner := holder(path):
        raise _in_use(path / LOCK, owner)
    if not is_run(path):
        raise ValueError(f"{path} must be a new or an empty folder: got other files there.")
    status = read_json(path / ENVIRONMENT)["status"]
    hint = "choose another folder" + ("" if status == "finished" else ", or resume it")
    raise ValueError(
        f"{path} must be a new or an empty folder, since no run is overwritten: got a run that "
        f"is {status}; {hint}."
    )


def free(path: Path) -> Path:
    """The path, or the first of ``path-2``, ``path-3`` ... that does not exist."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one process writes to it at a time.

    The lock is the system's own (flock), which ends with its process.

    Raises:
        ValueError: the folder is in use.
    """
    made, lock = not path.exists(), path / LOCK
    with _claimed(lock) as file:
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # of a folder that is not empty
                    path.rmdir()


def holder(path: Path) -> dict[str, Any] | None:
    """The process that holds the lock of a folder, by ``pid`` and ``host``; None without one."""
    try:
        with (path / LOCK).open() as file:
            return None if _lock(file, shared=True) else _owner(file)
    except FileNotFoundError:
        return None


def _in_use(lock: Path, owner: Mapping[str, Any]) -> ValueError:
    return ValueError(
        f"{lock.parent} must be free, since a run has one writer: got one in use by process "
        f"{owner['pid']} on host {owner['host']}."
    )


def _claimed(lock: Path) -> TextIO:
    """The lock file, empty, locked until it is closed."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Another process may remove the folder before, or the file after it is opened: then again.
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            file = stack.enter_context(lock.open("a+"))
            if not _lock(file):
                raise _in_use(lock, _owner(file))
            if os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                file.truncate(0)
                stack.pop_all()
                return file


def _lock(file: TextIO, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process has."""
    import fcntl  # Windows lacks it, but can read runs

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: TextIO) -> dict[str, Any]:
    file.seek(0)
    try:
        return json.load(file)
    except ValueError:  # it has locked the file, and not yet written to it
        return {"pid": "unknown", "host": "unknown"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
