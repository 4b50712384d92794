"""Signals while a command is still being imported: it leaves at once, with one line.

This file imports nothing heavy, and the command line imports it first.
"""

import os
import signal
from typing import Any, NoReturn

SIGNALLED = 128
"""What shells add to the number of a signal for an exit code: 130 for Ctrl-C, 143 for SIGTERM."""

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def leaving() -> None:
    """Until `leaves_no_more`, Ctrl-C and SIGTERM end the process; an ignored one stays so."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def leaves_no_more() -> bool:
    """Whether that was so; from now on Ctrl-C raises KeyboardInterrupt, and SIGTERM kills."""
    left = [number for number in NUMBERS if signal.getsignal(number) is _leave]
    for number in left:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    return bool(left)


def _leave(number: int, frame: Any) -> NoReturn:
    # Not an exception: what is being imported may take it for an error of its own.
    os.write(2, b"Stopped: nothing was begun; run the command again.\n")
    os._exit(SIGNALLED + number)
