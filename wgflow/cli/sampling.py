"""The progress of sampling a given energy, and of learning its density."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wgflow.cli.printing import note
from wgflow.cli.progress import Progress, progressing

if TYPE_CHECKING:
    from wgflow.runs.run import Run

PARTS = 1000
"""Of the progress of sampling."""

EVERY = 10.0
"""Seconds between two lines of learning."""


class Sampling:
    """A listener of `fit_energy`: the part of the sampling that is done, of `PARTS`."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, done: float, metrics: Mapping[str, float]) -> None:
        """Show it, with inverse temperature, ESS, acceptance and log Z."""
        self.progress(int(PARTS * done), metrics)


class Learning:
    """A listener of learning: a line now and then."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say how many steps are done."""
        if time.monotonic() > self.last + EVERY:
            self.last = time.monotonic()
            note(f"learning step {step}")


def resumed(folder: Path) -> "Run":
    """The run of a given energy that was stopped."""
    from wgflow.runs.given import resume_energy

    with progressing(PARTS, shown=True) as shown:
        return resume_energy(
            folder, sampling=None if shown is None else Sampling(shown), learning=Learning()
        )
