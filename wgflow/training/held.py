"""The points that learning is validated on, and what a validation is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wgflow.data.dataset import Dataset
from wgflow.samplers.particles import Particles

POINTS = 2000
"""How many there are at most, unless energies cost little."""

Validator = Callable[[nn.Module, nn.Module, Particles | None], dict[str, float]]
"""(energy, its running average, held-out particles) -> metrics; draws no random numbers."""


def held(dataset: Dataset) -> Tensor:
    """The validation points, or the test points of data without any; in original units."""
    return dataset.test if dataset.validation is None else dataset.validation


def held_points(
    dataset: Dataset, device: torch.device, most: int = POINTS
) -> tuple[Tensor, float]:
    """Points to validate on, standardised, and the mean log-volume of their units."""
    x = held(dataset)[:most]
    points = dataset.standardise(x).to(device)
    jacobian = float(dataset.scale.double().log().expand(dataset.event_shape).sum())
    if dataset.transform is not None:
        jacobian -= float(dataset.transform.log_derivative(x).sum(1).mean())
    return points, jacobian
