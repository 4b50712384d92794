"""How good is a learned density? Every score beside its error bar or its two-sample floor."""

import math

import torch
from torch import Tensor

from wgflow.calibration import best_temperature, grid_temperature
from wgflow.data import Dataset
from wgflow.energy import Energy, Rescaled
from wgflow.grid import Grid, fisher, kl_both, kl_gap, log_z, tabulate
from wgflow.likelihood import LogZ
from wgflow.metrics import (
    MMD,
    EnergyDistance,
    Metric,
    SlicedWasserstein,
    Wasserstein,
    halves,
    mode_occupancy,
    with_floor,
)
from wgflow.targets import GaussianMixture

DISTANCES: dict[str, Metric] = {
    "sliced_w2": SlicedWasserstein(),
    "w2": Wasserstein(),
    "energy_distance": EnergyDistance(),
    "mmd": MMD(),
}
REACH = 6.0
"""Half-width of the quadrature box, in standard deviations of the data."""


def plane(dataset: Dataset, points: int = 400) -> Grid | None:
    """The quadrature box of data in one or two dimensions, in their units; None in more."""
    if len(dataset.event_shape) != 1 or dataset.event_shape[0] > 2:
        return None
    low = (dataset.shift - REACH * dataset.scale).tolist()
    high = (dataset.shift + REACH * dataset.scale).tolist()
    return Grid.box(low, high, points, dtype=dataset.test.dtype, device=dataset.test.device)


def density_scores(energy: Energy, dataset: Dataset, normaliser: LogZ | None) -> dict[str, float]:
    """Likelihood scores on the test points.

    ``nll`` in nats per point; ``log_z``; where the law of the data is known, ``kl`` (data to
    model, on the test points), ``kl_reverse`` and ``fisher`` by quadrature. Quadrature gives
    ``log_z`` in one and two dimensions, ``normaliser`` elsewhere.

    Raises:
        ValueError: without a normaliser where there is no quadrature.
    """
    grid = plane(dataset)
    values = tabulate(energy, dataset.test)
    if grid is not None:
        log_normaliser, error = float(log_z(energy, grid)), 0.0
    elif normaliser is not None:
        log_normaliser, error = normaliser.value, normaliser.error
    else:
        raise ValueError("A likelihood in more than two dimensions needs an estimate of log Z.")
    spread = float(values.std()) / math.sqrt(len(values))
    scores = {
        "nll": float(values.mean()) + log_normaliser,
        "nll_error": math.hypot(spread, error),
        "log_z": log_normaliser,
        "log_z_error": error,
    }
    if normaliser is not None:
        scores |= {"log_z_lower": normaliser.lower, "log_z_upper": normaliser.upper}
    if grid is not None:
        scores["temperature"] = grid_temperature(energy, dataset.test, grid)
    if grid is not None and dataset.target is not None:
        scores |= _divergences(energy, dataset, grid)
    return scores


def sample_scores(x: Tensor, dataset: Dataset, seed: int = 0) -> dict[str, float]:
    """Distances of samples x to test points, each with ``_floor``: what exact samples score.

    Where the law is known its exact sampler gives the second reference, otherwise the test points
    are halved. For a mixture of Gaussians, ``mode_error`` as well.
    """
    generator = torch.Generator().manual_seed(seed)
    if dataset.target is None:
        reference, second = halves(dataset.test, seed=seed)
    else:
        reference = dataset.test
        second = dataset.target.sample(len(x), dtype=x.dtype, generator=generator)
    count = min(len(x), len(reference), len(second))
    scores: dict[str, float] = {}
    for name, metric in DISTANCES.items():
        scored = with_floor(metric, x[:count], reference[:count], second)
        scores |= {name: scored.score, f"{name}_floor": scored.floor}
    if isinstance(dataset.target, GaussianMixture):
        scores |= {
            "mode_error": mode_error(x, dataset.target),
            "mode_error_floor": mode_error(second, dataset.target),
        }
    return scores


def temperature(energy: Energy, data: Tensor, samples: Tensor) -> float:
    """The best-fitting temperature, 1 when calibrated, from samples of the model; any dimension.

    NaN when no temperature fits.
    """
    try:
        return best_temperature(tabulate(energy, data), tabulate(energy, samples))
    except ValueError:
        return math.nan


def mode_error(x: Tensor, target: GaussianMixture) -> float:
    """The largest error of the share of points nearest to one mode, over the modes."""
    found = mode_occupancy(x, target.means.to(x)).double().cpu()
    return float((found - target.weights.double().cpu()).abs().max())


def standardised(energy: Rescaled) -> Energy:
    """The energy in the units it was learned in."""
    return energy.energy


def _divergences(energy: Energy, dataset: Dataset, grid: Grid) -> dict[str, float]:
    target = dataset.target
    assert target is not None
    gap = kl_gap(energy, target.log_prob, dataset.test, grid)
    return {
        "kl": float(gap.value),
        "kl_error": float(gap.error),
        "kl_reverse": float(kl_both(energy, target.log_prob, grid).reverse),
        "fisher": float(fisher(target, energy, grid)),
    }
