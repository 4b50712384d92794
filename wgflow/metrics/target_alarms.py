"""What the scores of samples of a given energy say against them, in words.

This file imports nothing heavy, like `wgflow.metrics.alarms`, which shows these alarms too.
"""

from collections.abc import Iterator, Mapping

REACH = 3.0
"""Standard deviations of the start beyond which no mass should lie."""

FAR_OUT = 6.0
"""Standard deviations of the start beyond which the samples are not to be believed: of a billion
draws none is there."""

RHAT = 1.05
"""Split R-hat above which chains have not forgotten where they started."""

FEW = 0.1
"""Effective fraction of the samples below which they are few."""

PROPOSAL = 0.1
"""Effective fraction of importance weights below which the learned density is a rough one."""

CROSSED, WIDE = 9.0, 1.0
"""As of `wgflow.metrics.alarms`."""

ERRORS, CROSSING = 4.0, 0.25
"""Errors of log Z, and nats, by which its bounds may cross by chance."""

EXCLUDED, MOSTLY = 0.01, 0.5
"""Share of the evaluations without a value that is worth a word, and that leaves no trust."""

MISSED = 0.1
"""Share of the mass in modes without samples from which on log Z and samples are wrong."""

Said = tuple[str, str, str]
"""Name, sentence and grade of an alarm."""


def target_alarms(scores: Mapping[str, float]) -> Iterator[Said]:
    """Alarms of the scores that begin with ``target_``, and of ``proposal_ess``."""
    if "target_ess" not in scores:
        return
    yield from _bounds(scores)
    reach = scores.get("target_reach", 0.0)
    if reach > REACH:
        yield (
            "start",
            f"Samples of the given energy reach {reach:.1f} standard deviations of the start: "
            "what lies farther out may be missing, from log Z and its bounds too; repeat with a "
            "wider start (the option scale).",
            "fair" if reach <= FAR_OUT else "poor",
        )
    if (lacking := scores.get("target_excluded", 0.0)) > EXCLUDED:
        yield (
            "excluded",
            f"At {100 * lacking:.2g} % of its evaluations the given energy was not a number, "
            "raised an error, or had no finite gradient: it counts as infinite there, so that "
            "mass there is missing.",
            "fair" if lacking <= MOSTLY else "poor",
        )
    if (share := scores.get("target_missed", 0.0)) > 0:
        yield (
            "missed",
            f"Minima of the given energy below its samples have {100 * share:.2g} % of the mass "
            "around them and hardly a sample: both samples and log Z lack it; repeat with the "
            "method near-proximal, more particles, or a narrower start there (mean, scale).",
            "fair" if share <= MISSED else "poor",
        )
    if scores.get("target_rhat", 1.0) > RHAT:
        rhat = scores["target_rhat"]
        yield ("chains", f"Chains disagree: their split R-hat is {rhat:.2f}; run longer.", "poor")
    if scores["target_ess"] < FEW:
        share = 100 * scores["target_ess"]
        yield ("samples", f"Samples are worth {share:.1g} % of their number.", "fair")
    if (share := scores.get("proposal_ess", 1.0)) < PROPOSAL:
        yield (
            "proposal",
            f"The learned density is a rough one: its draws are worth {100 * share:.2g} % "
            "of their number as proposals for the given energy.",
            "fair",
        )


def _bounds(scores: Mapping[str, float]) -> Iterator[Said]:
    if "target_log_z_lower" not in scores or "target_log_z_upper" not in scores:
        return
    lower, upper = scores["target_log_z_lower"], scores["target_log_z_upper"]
    if "target_log_z" not in scores or lower - upper > CROSSED:
        yield (
            "target_bounds",
            f"The bounds of log Z of the given energy, {lower:.4g} and {upper:.4g}, contradict "
            "each other or the value: samples do not follow it.",
            "poor",
        )
    elif lower - upper > max(CROSSING, ERRORS * scores.get("target_log_z_error", 0.0)):
        yield (
            "target_bounds",
            f"The bounds of log Z of the given energy cross by {lower - upper:.2g} nats, "
            "beyond its error: it may be off by as much, as where particles are not independent.",
            "fair",
        )
    elif upper - lower > WIDE:
        yield (
            "target_bounds",
            f"The bounds of log Z of the given energy are {upper - lower:.2g} nats apart.",
            "fair",
        )
