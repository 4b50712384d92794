"""How good is a learned density? Every score beside its error bar or its two-sample floor."""

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wgflow._progress import TooLong, limited
from wgflow._tensor import standard_error
from wgflow.data.dataset import Dataset
from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import Energy
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.calibration import best_temperature, grid_temperature
from wgflow.likelihood.quadrature import Grid, box, fisher, kl_both, kl_gap, tabulate
from wgflow.metrics.alarms import STANDARDISED
from wgflow.metrics.chance import QUICK, chance
from wgflow.metrics.isolated import Isolated, isolated
from wgflow.metrics.samples import DISTANCES, halves, mode_occupancy, with_floor
from wgflow.runs import zoo
from wgflow.runs.image_scores import image_judge, sharp
from wgflow.runs.run import Run
from wgflow.runs.trust import MOST_ROWS, gaussian_nll, over_mixture, trust_scores
from wgflow.storage import folder

POINTS = 5_000
"""Points drawn for the scores, of cheap energies."""

IMAGES = 500
"""Points drawn for the scores, of convolutional energies."""

DRAWS, FEW = 500_000, 2_000
"""Draws of a reference that samples for scores take, about, and how many samples at least."""

LONGEST = 600.0
"""Seconds that annealing for log Z may take, each way, where nobody asked for it."""

EXACT_STREAM = 2**31
"""Offset of the seeds of second references."""

log = logging.getLogger(__name__)


def evaluate(
    run: Run,
    *,
    samples: int | None = None,
    likelihood: bool | None = None,
    features: str | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """All scores of a run, by stable names; kept in its folder too, unless it came along.

    A score that is not finite is left out, as the reverse KL to a distribution of bounded support,
    and so is one that cannot be computed, with a warning that says why.
    What the scores say against the run, `wgflow.alarms` puts into words: why there is no
    likelihood, too.

    Args:
        run: the run.
        samples: points to draw from the model; None for as many as a minute or so allows.
        likelihood: whether log Z is annealed for; None for yes unless the energy is
            convolutional, where it takes very long, or there is nothing to anneal from.
        features: for the scores of `wgflow.metrics.fidelity`, of images: ``classifier`` of the
            labels of the data set, ``efficientnet``, or a file of Inception's weights; None for
            none.
        seed: of the draws.

    Raises:
        ValueError: features are asked for that are not to be had, or of data that are no images,
            or have no labels, or few test images; or the folder cannot be written to.
    """
    keeps = run.path.parent != zoo.HOME
    if keeps:
        folder.check_writable(run.path)
    judge = None if features is None else image_judge(sharp(run), features, seed)
    generator = torch.Generator().manual_seed(seed)
    x = run.sample(samples or affordable(run, POINTS), generator=generator)
    normaliser, scores = normaliser_of(run, likelihood), {}
    if normaliser is not None:
        chunk = affordable(run, POINTS)
        known = normaliser  # what may be None is not
        scores = attempted(
            "likelihood", lambda: density_scores(run.energy, run.dataset, known, chunk=chunk)
        )
        scores |= attempted("nll_gaussian", lambda: gaussian_nll(run.dataset, seed=seed))
        if math.isfinite(scores.get("nll", math.nan)) and "kl" not in scores:
            scores |= attempted("nll_over_mixture", lambda: over_mixture(run, seed=seed))
    if "temperature" not in scores and not run.config.energy.is_expensive:
        scores["temperature"] = temperature(run.energy, run.dataset.test, x)
    scores |= attempted("distances", lambda: sample_scores(x, run.dataset, seed))
    trusted = normaliser is not None
    scores |= attempted("shares", lambda: trust_scores(run, x, density=trusted, seed=seed))
    if judge is not None:
        scores |= attempted("features", lambda: judge(x))
    if run.target is not None:
        scores |= run.target.table
    finite = {name: value for name, value in scores.items() if math.isfinite(value)}
    if keeps:
        folder.write_json(run.path / folder.SCORES, finite)
    return finite


def attempted(name: str, scored: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Scores, or none of them with a warning where they cannot be computed."""
    try:
        return scored()
    except ValueError as error:
        log.warning("%s cannot be scored: %s", name, error)
        return {}


def normaliser_of(run: Run, wanted: bool | None) -> LogZ | None:
    """``log Z``, if wanted; by default where it does not take very long and can be had."""
    if wanted is not None:
        return run.normaliser if wanted else None
    if run.config.energy.is_expensive:
        return None
    try:
        with limited(LONGEST):
            return run.normaliser
    except TooLong as error:
        log.warning("%s: left out; `--likelihood` takes that time.", error)
    except ValueError:  # no particles, and no flow that bounds it
        return None
    return None


def affordable(run: Run, points: int) -> int:
    """How many points to draw: fewer than ``points`` where each of them is expensive."""
    if run.config.energy.is_expensive:
        return min(points, IMAGES)
    if run.tilted is None:
        return points
    return min(points, max(FEW, DRAWS // run.reach.rounds))


def plane(dataset: Dataset) -> Grid | None:
    """The quadrature box of data in one or two dimensions, in their units; None in more.

    And None with maps of the columns, after which equal cells are equal no more.
    """
    if (
        len(dataset.event_shape) != 1
        or dataset.event_shape[0] > 2
        or dataset.transform is not None
    ):
        return None
    return box(dataset.shift, dataset.scale, dataset.test.dtype)


def density_scores(
    energy: Energy, dataset: Dataset, normaliser: LogZ, *, chunk: int = POINTS
) -> dict[str, float]:
    """Likelihood scores on the test points, which the energy sees ``chunk`` at a time.

    ``nll`` in nats per point, with the error of the mean over test points and of ``log_z``, all
    NaN where the bounds refute it, see `wgflow.likelihood.annealing.LogZ`; where there is a
    sandwich its ``log_z_lower`` and ``log_z_upper``; in one and two dimensions the ``temperature``
    (NaN when none fits), and where the distribution of the data is known ``kl`` (data to model, on
    the test points), ``kl_reverse`` and ``fisher``, by quadrature.
    """
    grid = plane(dataset)
    values = tabulate(energy, dataset.test, chunk)
    spread = standard_error(values)
    scores = {
        "nll": float(values.mean()) + normaliser.value,
        "nll_error": math.hypot(spread, normaliser.error),
        "log_z": normaliser.value,
        "log_z_error": normaliser.error,
    }
    if grid is None:
        return scores | {"log_z_lower": normaliser.lower, "log_z_upper": normaliser.upper}
    scores["temperature"] = _found(grid_temperature, energy, dataset.test, grid)
    if dataset.target is not None:
        scores |= _divergences(energy, dataset, grid)
    return scores


def sample_scores(x: Tensor, dataset: Dataset, seed: int = 0) -> dict[str, float]:
    """Distances of samples x to test points, each with ``_floor``: what exact samples score.

    Where the distribution is known its exact sampler gives the second reference, otherwise the
    test points are halved. ``sliced_w2_standardised`` is in the units of learning, where heavy
    tails are mapped, and without those at isolated rows, as few as chance makes; its ``_chance``
    is what chance explains, see `wgflow.metrics.chance.chance`.
    For a mixture of Gaussians, ``mode_error`` as well. A distance that so few or such points do
    not have is left out.

    Raises:
        ValueError: samples or test points are not finite, or of different shapes.
    """
    if x.shape[1:] != dataset.test.shape[1:]:
        expected, got = tuple(dataset.test.shape[1:]), tuple(x.shape[1:])
        raise ValueError(f"Samples must have shape {expected} each: got {got}.")
    if not (x.isfinite().all() and dataset.test.isfinite().all()):
        raise ValueError("Samples and test points must be finite: got others.")
    # Not the seed itself: the data set may have drawn its test points from the same stream.
    generator = torch.Generator().manual_seed(EXACT_STREAM + seed)
    if dataset.target is None:
        reference, second = halves(dataset.test, seed=seed)
    else:
        reference = dataset.test
        second = dataset.target.sample(len(x), dtype=x.dtype, generator=generator)
    count = min(len(x), len(reference), len(second))
    scores: dict[str, float] = {}
    for name, metric in DISTANCES.items():
        with contextlib.suppress(ValueError):  # of points too few, or all the same
            scored = with_floor(metric, x[:count], reference[:count], second)
            scores |= {name: scored.score, f"{name}_floor": scored.floor}
    sides = [side[:count] for side in (x, reference, second)]
    if (found := _isolated(dataset)) is not None:
        kept = [found.without(side) for side in sides]
        sides = [side[: min(map(len, kept))] for side in kept]
    u, first, other = map(dataset.standardise, sides)
    scores |= _standardised(u, first, other, seed)
    if isinstance(dataset.target, GaussianMixture):
        scores |= {
            "mode_error": mode_error(x, dataset.target),
            "mode_error_floor": mode_error(second, dataset.target),
        }
    return scores


def _isolated(dataset: Dataset) -> Isolated | None:
    """Rows that no tail leads to, which few samples or test points are at by chance."""
    if len(dataset.event_shape) != 1 or dataset.target is not None:
        return None
    return isolated(torch.cat([dataset.train[:MOST_ROWS].to(dataset.test), dataset.test]))


def _standardised(u: Tensor, first: Tensor, other: Tensor, seed: int) -> dict[str, float]:
    """`STANDARDISED` of samples u, its floor, and what chance explains, where there are any."""
    with contextlib.suppress(ValueError):
        found = with_floor(QUICK, u, first, other)
        by_chance = chance(QUICK, torch.cat([first, other]), seed=seed)
        each = {"": found.score, "_floor": found.floor, "_chance": by_chance}
        return {STANDARDISED + suffix: value for suffix, value in each.items()}
    return {}


def temperature(energy: Energy, data: Tensor, samples: Tensor) -> float:
    """The best-fitting temperature, 1 when calibrated, from samples of the model; any dimension.

    NaN when no temperature fits.
    """
    return _found(best_temperature, tabulate(energy, data), tabulate(energy, samples))


def mode_error(x: Tensor, target: GaussianMixture) -> float:
    """The largest error of the share of points nearest to one mode, over the modes."""
    found = mode_occupancy(x, target.means.to(x)).double().cpu()
    return float((found - target.weights.double().cpu()).abs().max())


def _divergences(energy: Energy, dataset: Dataset, grid: Grid) -> dict[str, float]:
    target = dataset.target
    assert target is not None

    def forward() -> dict[str, float]:
        gap = kl_gap(energy, target.log_prob, dataset.test, grid)
        return {"kl": float(gap.value), "kl_error": float(gap.error)}

    def reverse() -> dict[str, float]:
        return {"kl_reverse": float(kl_both(energy, target.log_prob, grid).reverse)}

    def information() -> dict[str, float]:
        return {"fisher": float(fisher(target, energy, grid))}

    parts = {"kl": forward, "kl_reverse": reverse, "fisher": information}
    found = (attempted(name, part) for name, part in parts.items())
    return {key: value for scores in found for key, value in scores.items()}


def _found(search: Callable[..., float], *args: Any) -> float:
    """The root that a search finds, NaN where there is none."""
    try:
        return search(*args)
    except ValueError:
        return math.nan
