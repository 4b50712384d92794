"""Out-of-distribution detection by a run: how well its scores separate other points."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from wgflow._random import Rng, noise_like, stream
from wgflow._tensor import Points
from wgflow.data.sources import unknown_source
from wgflow.data.tables import ARRAYS, TABLES
from wgflow.energies.base import Energy
from wgflow.likelihood.quadrature import tabulate
from wgflow.runs.rows import CHUNK
from wgflow.runs.run import Run
from wgflow.runs.uses import check_points
from wgflow.tasks.ood import Auroc, auroc, energy_scores, mean_zscore, typicality
from wgflow.training.loading import load_data

IMAGES = 1000
"""Points of a set that are compared by default, of convolutional energies."""

ERRORS = "reconstruction_error"
"""Of points (n, K) at K levels or times, and as a score (n,)."""


def ood(
    run: Run,
    others: Mapping[str, Points],
    *,
    background: Energy | None = None,
    count: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Auroc]]:
    """How well each outlier score separates other points from the run's own test points.

    Energy, slope and likelihood ratio need no reference. Typicality and the reconstruction error
    are in deviations of points held out: for either half of the test points these are the other
    half, and for other points all of them.

    Args:
        run: the density.
        others: points by name, in the units of the data.
        background: E_b of the likelihood ratio; None for none.
        count: at most so many points of each set; None for `most_points`.
        seed: of the order of the test points, and of noise.

    Raises:
        ValueError: on points of another shape, or too few of them.
    """
    for name, x in others.items():
        check_points(run, x, name)
    most = most_points(run) if count is None else count
    generator = torch.Generator().manual_seed(seed)
    measure = partial(measured, run, background=background, generator=generator)
    test = run.dataset.test
    inside = measure(test[torch.randperm(len(test), generator=generator)[:most]])
    own = compared_by_halves(inside)
    return {
        name: {s: auroc(own[s], v) for s, v in compared(measure(x[:most]), inside).items()}
        for name, x in others.items()
    }


def most_points(run: Run) -> int | None:
    """How many points of a set are compared: None for all, `IMAGES` where that takes long."""
    return IMAGES if run.config.energy.is_expensive else None


def other_points(run: Run, name: str) -> Points:
    """Other points in the units of the run.

    All rows of a file where it learned from vectors, by the names of their columns, with the
    noise of the run's own test points; else the test points of a data set, loaded with the
    settings of the run.
    """
    if len(run.event_shape) == 1 and Path(name).suffix.lower() in (*ARRAYS, *TABLES):
        x = run.read(_existing(name), generator=stream(run.config.seed, 5))
        return _smoothed(run, x)
    data = replace(run.config.data, name=name, size=None, test=None, transform=None)
    data = replace(data, columns=None, exclude=())  # which are of tables
    return load_data(replace(run.config, data=data)).test


def _existing(name: str) -> Path:
    if not Path(name).is_file():
        raise ValueError(unknown_source(Path(name), name, ()))
    return Path(name)


def _smoothed(run: Run, x: Points) -> Points:
    """With the noise that the run's own test points have."""
    if not run.config.data.smoothing:
        return x
    u = run.standardise(x)
    noise = noise_like(u, generator=stream(run.config.seed, 6))
    return run.unstandardise(u + run.config.data.smoothing * noise)


def measured(
    run: Run, x: Points, *, background: Energy | None = None, generator: Rng = None
) -> dict[str, Tensor]:
    """What the run measures at each point, by name."""
    found = energy_scores(run.energy, x, background=background)
    if len(run.event_shape) == 1:
        found["outlier_energy"] = tabulate(run.outlier_energy, x, CHUNK)
    if run.flow is not None:
        errors = partial(run.reconstruction_error, generator=generator)
        found[ERRORS] = torch.cat([errors(part) for part in x.split(CHUNK)])
    return found


def compared(found: Mapping[str, Tensor], held_out: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All outlier scores by name, each (batch,), of measurements relative to others."""
    scores = {**found, "typicality": typicality(found["energy"], held_out["energy"])}
    if ERRORS in found:
        scores[ERRORS] = mean_zscore(found[ERRORS], held_out[ERRORS])
    return scores


def compared_by_halves(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores of points of which either half is compared to the other."""
    middle = len(found["energy"]) // 2
    first = {name: values[:middle] for name, values in found.items()}
    second = {name: values[middle:] for name, values in found.items()}
    a, b = compared(first, second), compared(second, first)
    return {name: torch.cat([a[name], b[name]]) for name in a}
