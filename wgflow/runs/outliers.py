"""Out-of-distribution detection by a run: how well its scores separate other points."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wgflow._random import noise_like, stream
from wgflow._tensor import Points
from wgflow.data.tables import ARRAYS, TABLES
from wgflow.energies.base import Energy
from wgflow.metrics.samples import halves
from wgflow.runs.run import Run
from wgflow.runs.uses import check_points
from wgflow.tasks.ood import Auroc, auroc, mean_zscore, outlier_scores
from wgflow.training.loading import load_data


def ood(
    run: Run,
    others: Mapping[str, Points],
    *,
    background: Energy | None = None,
    count: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Auroc]]:
    """How well each outlier score separates other points from the run's own test points.

    One half of the test points is the reference of the scores, the other is compared.

    Args:
        run: the density.
        others: points by name, in the units of the data.
        background: E_b of the likelihood ratio; None for none.
        count: at most so many points of each set.
        seed: of the halves and of noise.

    Raises:
        ValueError: on points of another shape, or too few of them.
    """
    for name, x in others.items():
        check_points(run, x, name)
    reference, inside = (half[:count] for half in halves(run.dataset.test, seed=seed))
    scores = scorer(run, reference, background=background, seed=seed)
    own = scores(inside)
    return {
        name: {score: auroc(own[score], found) for score, found in scores(x[:count]).items()}
        for name, x in others.items()
    }


def other_data(run: Run, name: str) -> Points:
    """Other points in the units of the run: all rows of a file where it learned from a table or
    other vectors, by the names of their columns; else the test points of a data set, loaded with
    the settings of the run."""
    if len(run.event_shape) == 1 and Path(name).suffix.lower() in (*ARRAYS, *TABLES):
        x = run.read(_existing(name), generator=stream(run.config.seed, 5))
        return _smoothed(run, x)
    data = replace(run.config.data, name=name, size=None)
    return load_data(replace(run.config, data=data)).test


def _existing(name: str) -> Path:
    if not Path(name).is_file():
        raise ValueError(f"`other` must be a known name or a path: got {name!r}.")
    return Path(name)


def _smoothed(run: Run, x: Points) -> Points:
    """With the noise that the run's own test points have."""
    if not run.config.data.smoothing:
        return x
    u = run.standardise(x)
    noise = noise_like(u, generator=stream(run.config.seed, 6))
    return run.unstandardise(u + run.config.data.smoothing * noise)


def scorer(
    run: Run, reference: Points, *, background: Energy | None = None, seed: int = 0
) -> Callable[[Points], dict[str, Tensor]]:
    """All outlier scores of points, by name, relative to reference points of the data."""
    generator = torch.Generator().manual_seed(seed)
    usual = None
    if run.flow is not None:
        usual = run.reconstruction_error(reference, generator=generator)

    def scores(x: Points) -> dict[str, Tensor]:
        found = outlier_scores(run.energy, x, reference, background=background)
        if usual is not None:
            errors = run.reconstruction_error(x, generator=generator)
            found["reconstruction_error"] = mean_zscore(errors, usual)
        return found

    return scores
