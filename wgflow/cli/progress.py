"""The progress of a run on stderr."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from wgflow.cli.printing import note

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LIVE = {
    "beta": "β",
    "log_ratio": "log Z/Z₀",
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
        self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
            self._bar.add_task("", total=self.steps, numbers="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the number of steps done and the latest value of every metric."""
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
            note(f"step {step}/{self.steps}  {numbers}")


@contextlib.contextmanager
def progressing(steps: int, *, shown: bool) -> Iterator[Progress | None]:
    """The progress of a run; None where another process shows it."""
    if not shown:
        yield None
        return
    with Progress(steps) as progress:
        yield progress


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """On a terminal, what is being done and for how long; for work of unknown length."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(what, total=None)
        yield


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
