"""Is an energy calibrated? The temperature at which its law fits held-out data best.

Of the laws ``p_β ∝ exp(-βE)``, ``β = 1/T``, the likelihood of data is concave in β with slope
``E_β[E] - E_data[E]``. So the best β is the one root of ``E_β[E] = E_data[E]``; it is 1 for a
calibrated energy. ``T > 1`` says that the energy is too sharp: for data of ``exp(-E)``, the energy
``2E`` has ``T = 2``. To first order ``1/T - 1 = (E_1[E] - E_data[E]) / Var_1[E]``.
"""

import math
from collections.abc import Callable

import torch
from scipy.optimize import root_scalar
from torch import Tensor

from wgflow.energies.base import Energy
from wgflow.likelihood.quadrature import Grid, tabulate

LIMIT = 2.0**20
"""β is sought between 1/LIMIT and LIMIT."""


def best_temperature(
    data_energies: Tensor, model_energies: Tensor, model_log_weights: Tensor | None = None
) -> float:
    """The T with ``E_data[E] = E_{1/T}[E]``, in any dimension, from a population of the model.

    ``E_β`` is the self-normalised average with weights ``A_i - (β-1) E(x_i)`` (logarithms): an
    importance sampling of the law at T from the population at 1, so it is sharp near ``T = 1``
    and only indicative where few particles carry the weight.

    Args:
        data_energies: ``E`` at held-out data, shape (data,).
        model_energies: ``E(x_i)`` at particles of ``exp(-E)``, shape (batch,).
        model_log_weights: ``A_i``, shape (batch,); default all zero.

    Raises:
        ValueError: on empty, mismatched or non-finite energies, or if no T > 0 solves it: the data
            lie below every particle (T = 0), or above the average at T = ∞.
    """
    equal = torch.zeros_like(model_energies)
    log_weights = (equal if model_log_weights is None else model_log_weights).double()
    _check_energies(data_energies, model_energies, log_weights)
    goal = data_energies.double().mean()
    gap = model_energies.double() - goal

    def excess(log_beta: float) -> float:
        weights = torch.softmax(log_weights - math.expm1(log_beta) * gap, 0)
        return float(weights @ gap)

    return math.exp(-root_scalar(excess, bracket=_bracket(excess, goal), xtol=1e-12).root)


def grid_temperature(energy: Energy, points: Tensor, grid: Grid) -> float:
    """The T that maximises the likelihood of held-out points under ``exp(-E/T)/Z(T)``, by grid.

    The nodes are the population, with weights ``exp(-E)``.

    Args:
        energy: ``E``.
        points: held-out data, shape (batch, d).
        grid: a box that holds the model at T.

    Raises:
        ValueError: as `best_temperature`.
    """
    nodes = tabulate(energy, grid.nodes, grid.chunk)
    nodes = nodes[nodes < math.inf]
    return best_temperature(tabulate(energy, points, grid.chunk), nodes, -nodes)


def _bracket(excess: Callable[[float], float], goal: Tensor) -> tuple[float, float]:
    limit = math.log(LIMIT)
    if excess(-limit) <= 0 or excess(limit) >= 0:
        at = "above the average at T = ∞" if excess(-limit) <= 0 else "below every particle"
        raise ValueError(
            "A temperature must match the energy of the data: expected a mean between those at "
            f"T = 0 and T = ∞, got {float(goal)}, which is {at}."
        )
    width = 0.5
    while width < limit and not excess(-width) > 0 > excess(width):
        width *= 2
    return -min(width, limit), min(width, limit)


def _check_energies(data: Tensor, model: Tensor, log_weights: Tensor) -> None:
    if data.ndim != 1 or model.ndim != 1 or not len(data) or not len(model):
        raise ValueError(
            "A temperature needs energies of data and of the model: expected shapes (data,) and "
            f"(batch,), got {tuple(data.shape)} and {tuple(model.shape)}."
        )
    if log_weights.shape != model.shape:
        raise ValueError(
            "A population needs one log-weight per particle: "
            f"expected {tuple(model.shape)}, got {tuple(log_weights.shape)}."
        )
    if not (data.isfinite().all() and model.isfinite().all() and (log_weights < math.inf).all()):
        raise ValueError(
            "A temperature needs finite energies and log-weights below infinity: "
            "expected finite values, got NaN or infinity."
        )
