"""How far long work is, for whoever watches, and a limit of how long it may take.

Loops that may take minutes go over `watched` items. Who wants to know says so around the call, by
`watching`, and who will not wait, by `limited`; else nothing happens.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Watcher = Callable[[str, int, int, float], None]
"""(what, items done, items in all, seconds left), called after every item."""

PATIENCE = 5.0
"""Seconds of work after which it is told how long all of it takes."""

BEGINNING = "beginning_seconds"
"""Metric of the seconds that were needed before a first step, of as much work as any step has."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_limit: ContextVar[float] = ContextVar("limit", default=float("inf"))


class TooLong(ValueError):
    """Work would take longer than it may."""


def watched(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, each of which takes about as long.

    Raises:
        TooLong: all of them would take longer than the limit, as of `PATIENCE` seconds of work.
    """
    begun = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        _tell(what, done, len(items), time.monotonic() - begun)


def finished(state: T, step: Callable[[T], T], progress: Callable[[T], float], what: str) -> T:
    """The state after as many steps as make ``progress``, the part of the work that is done, 1.

    Raises:
        TooLong: all of it would take longer than the limit, as `watched`.
    """
    begun = time.monotonic()
    while progress(state) < 1:
        state = step(state)
        if percent := int(100 * progress(state)):
            _tell(what, percent, 100, time.monotonic() - begun)
    return state


def _tell(what: str, done: int, of: int, spent: float) -> None:
    watcher, limit, total = _watcher.get(), _limit.get(), spent / done * of
    if spent > PATIENCE and total > limit:
        raise TooLong(f"{what} would take {duration(total)}, more than {duration(limit)}")
    if watcher is not None:
        watcher(what, done, of, total - spent)


@contextlib.contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell how far work is."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Give up work that would take longer."""
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
