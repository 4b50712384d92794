"""The temperature at which an energy fits held-out data best, 1 for a calibrated one.

The likelihood of data under ``p_β ∝ exp(-βE)``, ``β = 1/T``, is concave in β with slope
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
    importance sampling at T from the population at 1, so it is sharp near ``T = 1`` and only
    indicative where few particles carry the weight.

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
            "The mean energy of the data must be between those at T = 0 and T = ∞: "
            f"got {float(goal)}, which is {at}."
        )
    width = 0.5
    while width < limit and not excess(-width) > 0 > excess(width):
        width *= 2
    return -min(width, limit), min(width, limit)


def _check_energies(data: Tensor, model: Tensor, log_weights: Tensor) -> None:
    if data.ndim != 1 or model.ndim != 1 or not len(data) or not len(model):
        got = f"{tuple(data.shape)} and {tuple(model.shape)}"
        raise ValueError(f"Energies must have shapes (data,) and (batch,), none empty: got {got}.")
    if log_weights.shape != model.shape:
        expected, got = tuple(model.shape), tuple(log_weights.shape)
        raise ValueError(f"`model_log_weights` must have shape {expected}: got {got}.")
    if not (data.isfinite().all() and model.isfinite().all() and (log_weights < math.inf).all()):
        raise ValueError("Energies must be finite, log-weights below infinity: got others.")
