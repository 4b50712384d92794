"""Signals that stop a run after a whole step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Asked:
    """Whether to stop: the number of the signal that asked for it."""

    number: int | None = None

    def is_set(self) -> bool:
        """Whether one came."""
        return self.number is not None


@contextlib.contextmanager
def stopping() -> Iterator[Asked]:
    """What the first SIGINT or SIGTERM asks for; the second acts as it did before."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # Python handles signals in the main thread only
        return
    numbers = (int(signal.SIGINT), int(signal.SIGTERM))
    before = {n: signal.getsignal(n) for n in numbers}

    def ask(number: int, frame: Any) -> None:
        asked.number = number
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
