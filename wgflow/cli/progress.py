"""The progress of a run on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from wgflow._progress import Watcher, duration, watching
from wgflow.cli.printing import note

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LIVE = {
    "beta": "β",
    "log_z": "log Z",
    "kl": "KL",
    "nll": "NLL",
    "matching": "matching loss",
    "space": "space loss",
    "time": "time loss",
    "ess": "ESS",
    "reference_ess": "ESS",
    "acceptance": "acceptance",
}
"""Labels of the metrics that the progress shows, where a run has them."""


class Progress:
    """A listener of `fit`: a bar with metrics on a terminal, lines at intervals elsewhere.

    Args:
        steps: training steps in all.
        every: seconds between two lines.
    """

    def __init__(self, steps: int, every: float = 10.0) -> None:
        self.steps = steps
        self.every = every
        self._bar: Bar | None = _bar() if sys.stderr.isatty() else None
        self._shown: dict[str, float] = {}
        self._last = self._begun = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
            self._bar.add_task("", total=self.steps, numbers="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the number of steps done, the latest value of every metric, and the time left."""
        if self._first is None:  # a run that goes on begins later than at the first step
            self._first, self._begun = step, time.monotonic()
        self._shown.update(metrics)
        numbers = "  ".join(
            f"{label} {self._shown[name]:.3g}"
            for name, label in LIVE.items()
            if name in self._shown
        )
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, numbers=numbers)
        elif step == self.steps or time.monotonic() > self._last + self.every:
            self._last = time.monotonic()
            left = "" if step == self.steps else f"  {self._left(step)} left"
            note(f"step {step}/{self.steps}  {numbers}{left}")

    def _left(self, step: int) -> str:
        """The time that the other steps take, if they take as long as those that were seen."""
        seen = step - (self._first or 0)
        spent = time.monotonic() - self._begun
        return duration(spent / max(seen, 1) * (self.steps - step))


@contextlib.contextmanager
def progressing(steps: int, *, shown: bool) -> Iterator[Progress | None]:
    """The progress of a run, and of what takes long before its first step.

    None where another process shows it.
    """
    if not shown:
        yield None
        return
    with Progress(steps) as progress, telling():
        yield progress


@contextlib.contextmanager
def waiting(what: str, every: float = 10.0) -> Iterator[None]:
    """What is being done and, where it is known, how long it will take.

    On a terminal beside the time that has passed; elsewhere a line at intervals.

    Args:
        what: the work.
        every: seconds between two lines.
    """
    if not sys.stderr.isatty():
        with telling(every):
            yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(part: str, done: int, items: int, left: float) -> None:
            bar.update(task, description=f"{what}: {_told(part, done, items, left)}")

        with watching(show):
            yield


@contextlib.contextmanager
def telling(every: float = 10.0) -> Iterator[None]:
    """A line at intervals of how far long work is and how long it will take."""
    with watching(_lines(every)):
        yield


def _lines(every: float) -> Watcher:
    """Notes at intervals, the first only of work that takes so long."""
    last = time.monotonic()

    def tell(part: str, done: int, items: int, left: float) -> None:
        nonlocal last
        if time.monotonic() >= last + every:
            last = time.monotonic()
            note(_told(part, done, items, left))

    return tell


def _told(part: str, done: int, items: int, left: float) -> str:
    return f"{part} {done}/{items}, {duration(left)} left"


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
