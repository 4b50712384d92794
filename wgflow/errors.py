"""Errors that end a run. Invalid arguments raise ValueError, unreadable files OSError."""

import signal


class WGFlowError(RuntimeError):
    """Base class of the errors that the package defines."""


class Diverged(WGFlowError):
    """Learning diverged more often than a run may roll back."""


class Interrupted(WGFlowError):
    """A signal stopped the run after a whole step; it can be resumed.

    Attributes:
        number: of the signal; that of Ctrl-C where another rank was asked.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = int(signal.SIGINT) if number is None else number


class Lost(WGFlowError):
    """Another rank ended or did not answer in time."""


class Led(WGFlowError):
    """The first rank failed, and says why itself."""
