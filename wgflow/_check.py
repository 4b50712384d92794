"""Checks of arguments: every message names the argument, the rule, and what it got."""

from collections.abc import Iterable

LONGEST = 120
"""Characters of a value that messages repeat."""


def check_positive(**values: int | float) -> None:
    """Raise ValueError for the first argument that is not a positive, finite number."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"`{name}` must be > 0 and finite: got {value}.")


def check_nonnegative(**values: int | float) -> None:
    """Raise ValueError for the first argument that is not a finite number of at least 0."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"`{name}` must be ≥ 0 and finite: got {value}.")


def check_fraction(**values: int | float) -> None:
    """Raise ValueError for the first argument outside [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"`{name}` must be between 0 and 1: got {value}.")


def check_choice(what: str, got: str, known: Iterable[str]) -> None:
    """Raise ValueError unless ``got``, the value of argument ``what``, is one of ``known``."""
    if got not in known:
        raise ValueError(f"`{what}` must be one of {', '.join(known)}: got {shown(got)}.")


def shown(value: object) -> str:
    """A value as a message repeats it: `repr`, its middle left out where it is long."""
    return shortened(repr(value))


def shortened(text: str, most: int = LONGEST) -> str:
    """Text of at most ``most`` characters, and a longer one without its middle."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}… ({len(text)} characters) …{text[-most // 10 :]}"
