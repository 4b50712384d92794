"""The progress of sampling a given energy, and of learning its density."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgflow._progress import BEGINNING, duration
from wgflow.cli.printing import note
from wgflow.cli.progress import Progress, progressing, telling

if TYPE_CHECKING:
    from wgflow.runs.run import Run

PARTS = 1000
"""Of the progress of sampling."""

PREFIX = "method."
"""Of options of the method among settings."""

EVERY = 10.0
"""Seconds between two lines of learning."""


SLOW = 5.0
"""Seconds of one evaluation of all particles, above which they are told before the first step."""


class Sampling:
    """A listener of `fit_energy`: the part of the sampling that is done, of `PARTS`."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, done: float, metrics: Mapping[str, float]) -> None:
        """Show it, with inverse temperature, ESS, acceptance and log Z."""
        seconds = metrics.get(BEGINNING, 0.0)
        if seconds > SLOW:
            note(
                f"The energies of all particles once: {duration(seconds)}. A step of the sampling "
                "takes at least as long, and there are tens of them or more."
            )
        self.progress(int(PARTS * done), metrics)


class Learning:
    """A listener of learning: a line now and then.

    Args:
        steps: of learning, at most: it ends where it gains no more.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.first: int | None = None
        self.last = self.begun = time.monotonic()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say how many steps are done, and how long the others take if all are needed."""
        if self.first is None:
            self.first, self.begun = step, time.monotonic()
        if time.monotonic() > self.last + EVERY and step > self.first:
            self.last = time.monotonic()
            left = (self.last - self.begun) / (step - self.first) * (self.steps - step)
            note(f"learning step {step}/{self.steps}  at most {duration(left)} left")


def split_settings(given: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Options of the method, from ``method.KEY=VALUE``, and the settings of learning.

    Raises:
        ValueError: a value is no number and no word.
    """
    options: dict[str, Any] = {}
    for text in given:
        if not text.startswith(PREFIX):
            continue
        key, equals, value = text.removeprefix(PREFIX).partition("=")
        if not (key.isidentifier() and equals and value):
            raise ValueError(f"`--set` must be method.KEY=VALUE for the method: got {text!r}.")
        options[key] = _plain(value)
    return options, [text for text in given if not text.startswith(PREFIX)]


def numbers_in(text: str) -> float | list[float]:
    """The number in a text, or the numbers between its commas.

    Raises:
        ValueError: something else is in it.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"`--mean` must be numbers, as 0.5 or 0,1,-2: got {text!r}.") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _plain(value: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def resumed(folder: Path) -> "Run":
    """The run of a given energy that was stopped."""
    from wgflow.runs.given import learning_steps, resume_energy

    with progressing(PARTS, shown=True) as shown, telling():
        return resume_energy(
            folder,
            sampling=None if shown is None else Sampling(shown),
            learning=Learning(learning_steps(folder)),
        )
