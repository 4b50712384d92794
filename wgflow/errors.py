"""Errors that end a run. Invalid arguments raise ValueError, unreadable files OSError."""


class WGFlowError(RuntimeError):
    """Base class of the errors that the package defines."""


class Diverged(WGFlowError):
    """Learning diverged more often than a run may roll back."""


class Interrupted(WGFlowError):
    """A signal stopped the run after a whole step; it can be resumed."""


class Lost(WGFlowError):
    """Another rank ended or did not answer in time."""


class Led(WGFlowError):
    """The first rank failed, and says why itself."""
