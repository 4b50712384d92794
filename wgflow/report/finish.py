"""What follows training: scores, samples and a report in the run's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from wgflow.data.arrays import write_points
from wgflow.report.page import write_report
from wgflow.runs.evaluate import affordable, evaluate
from wgflow.runs.run import Run
from wgflow.storage.folder import SAMPLES

SAVED = 10_000
"""Samples that are kept, of energies that are cheap to evaluate."""


class Finished(NamedTuple):
    """The scores of a run, and where its report is; None without one."""

    scores: dict[str, float]
    report: Path | None


def finish(
    run: Run, *, report: bool = True, tell: Callable[[str], None] = lambda line: None
) -> Finished:
    """Evaluate a trained run, save samples of it and write its report.

    Args:
        run: the run; its seed is that of the samples.
        report: whether to write the report.
        tell: called with a line before each long part.
    """
    tell("Evaluating.")
    scores = evaluate(run)
    generator = torch.Generator().manual_seed(run.config.seed)
    write_points(run.path / SAMPLES, run.sample(affordable(run, SAVED), generator=generator))
    if not report:
        return Finished(scores, None)
    tell("Writing the report.")
    return Finished(scores, write_report(run))
