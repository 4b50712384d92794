"""Settings that cannot be read, and the messages that say so."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from wgflow._check import shortened


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """Refuse what is nested more deeply than Python follows."""
    try:
        yield
    except RecursionError:
        raise ValueError(
            "A configuration must be nested no more than a few levels deep: got many more."
        ) from None


class Mismatch(ValueError):
    """A value of the wrong type; keeps in words what was expected."""

    def __init__(self, path: str, expected: str, value: Any) -> None:
        self.path, self.expected = path, expected
        got = shortened(_text(value))
        super().__init__(
            f"A value must suit its key: expected {expected} for {path or 'the configuration'}, "
            f"got {got}."
        )


def _text(value: Any) -> str:
    """A value in words; JSON, unless it has more digits than Python writes."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except ValueError:
        return "a number of thousands of digits"
