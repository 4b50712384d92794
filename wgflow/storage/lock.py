"""The lock of a folder: one process at a time writes to it, and none holds it after its end."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

LOCK = "lock"
"""Locked by the process that writes to the folder; holds its ``pid`` and ``host``."""

PATIENCE, PAUSE = 0.1, 0.005
"""Seconds until a lock counts as held, since a reader of it holds it for an instant, and seconds
between two tries."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one process writes to it at a time.

    The lock is the system's own (flock), which ends with its process, however that ends. A file
    without such a lock is taken over, whatever it says.

    Raises:
        ValueError: the folder is in use.
    """
    made, lock = not path.exists(), path / LOCK
    with _claimed(lock) as file:
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
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
    if not (path / LOCK).is_file():  # a named pipe would never open
        return None
    try:
        with (path / LOCK).open() as file:
            return None if lock(file, shared=True) else _owner(file)
    except FileNotFoundError:
        return None


def in_use(path: Path, owner: Mapping[str, Any]) -> ValueError:
    """The error of a folder that another process writes to."""
    return ValueError(
        f"{path} must be free, since a run has one writer: got one in use by process "
        f"{owner['pid']} on host {owner['host']}."
    )


def lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process has."""
    import fcntl  # Windows lacks it, but can read runs

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimed(path: Path) -> IO[str]:
    """The lock file, empty, locked until it is closed."""
    last = time.monotonic() + PATIENCE
    while True:
        # Another process may remove the folder before, or the file after it is opened: then again.
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            file = stack.enter_context(_opened(path))
            if lock(file):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    file.truncate(0)
                    stack.pop_all()
                    return file
            elif time.monotonic() > last:
                raise in_use(path.parent, _owner(file))
            else:
                time.sleep(PAUSE)


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # made, and perhaps removed, by another
            os.makedirs(path.parent)
        return path.open("a+")


def _owner(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    unknown = {"pid": "unknown", "host": "unknown"}
    try:
        found = json.load(file)
    except ValueError:  # it has locked the file, and not yet written to it
        return unknown
    return unknown | found if isinstance(found, dict) else unknown
