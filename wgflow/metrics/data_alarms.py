"""What scores say against the data themselves, in words."""

from collections.abc import Iterator, Mapping

Said = tuple[str, str, str]
"""The name, sentence and grade of an alarm."""


def data_alarms(scores: Mapping[str, float]) -> Iterator[Said]:
    """What is no part of a smooth density: ``atom``, ``determined`` and ``isolated``."""
    if "atom" in scores:
        yield (
            "atom",
            f"In one column {100 * scores['atom']:.0f} % of the rows have the very same value, "
            "which has a probability but no density: the likelihood is that of an arbitrarily "
            "narrow peak.",
            "fair",
        )
    if "determined" in scores:
        count = scores["determined"]
        follow = "1 column follows" if count == 1 else f"{count:.0f} columns follow"
        yield (
            "determined",
            f"{follow} from others: the rows fill no volume, and the likelihood is that of an "
            "arbitrarily thin layer.",
            "fair",
        )
    if {"isolated", "isolated_times"} <= set(scores):
        count, times = scores["isolated"], scores["isolated_times"]
        lie = "1 row lies" if count == 1 else f"{count:.0f} rows lie"
        yield (
            "isolated",
            f"In one column {lie} {times:.2g} × as far from the median as any other, where no "
            "tail leads: errors, or what so few rows tell little of. The density learns them all "
            "the same.",
            "fair",
        )
