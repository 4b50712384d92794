"""Signals outside of learning: the command ends with one line and the code that shells expect."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def terminating() -> None:
    """Make SIGTERM end the command as Ctrl-C does, so that it leaves no half-written file."""
    signal.signal(signal.SIGTERM, _terminate)


def number_of(stop: KeyboardInterrupt) -> int:
    """The number of the signal that stopped a command."""
    return int(signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def kept(line: str) -> Iterator[None]:
    """Say, where a signal ends what is done here, what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise type(stop)(line) from None


def _terminate(number: int, frame: Any) -> NoReturn:
    raise Terminated
