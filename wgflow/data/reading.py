"""What is read of a table: which of its columns, and what becomes of missing values."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from wgflow._check import check_choice, shortened, shown

MISSING = ("error", "impute", "drop")
"""What becomes of missing values: see `wgflow.data.missing`."""

LISTED = 300
"""Characters that a message spends on a list of names."""


@dataclass(frozen=True)
class Reading:
    """What is read of a table.

    Args:
        missing: one of `MISSING`; with ``impute`` a missing value is NaN, to be filled in; with
            ``drop`` a row that has some is left out.
        columns: names of the columns to learn, in their order; None for all.
        exclude: names of the columns to leave out, as a row's number or name.

    Raises:
        ValueError: ``missing`` is unknown, no column is asked for, or one twice, or one that is
            excluded.
    """

    missing: str = MISSING[0]
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("missing", self.missing, MISSING)
        if self.columns is None:
            return
        if not self.columns or len({*self.columns}) < len(self.columns):
            got = shown(list(self.columns))
            raise ValueError(f"`columns` must be names of columns, each of them once: got {got}.")
        if both := [name for name in self.columns if name in self.exclude]:
            raise ValueError(f"`columns` must not be in `exclude` too: got {shown(both)}.")

    @property
    def chooses(self) -> bool:
        """Whether it names any column."""
        return self.columns is not None or bool(self.exclude)

    def chosen(self, names: Sequence[str], source: str) -> list[str]:
        """Those of the columns of a table that are learned.

        Raises ValueError where a name is not among them, or none is left.
        """
        for name in (*(self.columns or ()), *self.exclude):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                known = shortened(", ".join(map(repr, names)), LISTED)
                hint = f"did you mean {shown(near[0])}?" if near else f"its columns are {known}."
                raise ValueError(f"{source} must have the column {shown(name)}: {hint}")
        left = [name for name in self.columns or names if name not in self.exclude]
        if not left:
            raise ValueError(f"{source} must have columns to learn: got all of them in `exclude`.")
        return left


def refused(source: str, reasons: dict[str, str]) -> ValueError:
    """Of columns that cannot be learned: the reasons, by name, and how to leave them out."""
    told = " ".join(list(reasons.values())[:3])
    more = f" There are {len(reasons) - 3} more." if len(reasons) > 3 else ""
    return ValueError(f"{told}{more} In {source}, {left_out([*reasons])} out.")


def left_out(names: Sequence[str]) -> str:
    """What leaves columns out, in words."""
    told = shortened(", ".join(json.dumps(name, ensure_ascii=False) for name in names), LISTED)
    return f"data.exclude = [{told}] leaves {'it' if len(names) == 1 else 'them'}"
