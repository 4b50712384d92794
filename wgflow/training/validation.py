"""Validation while learning: one cheap number on data that were never trained on.

In one and two dimensions, with a known target, the exact KL by quadrature, ``kl``; otherwise the
mean energy of the validation points plus the held-out estimate of log Z, ``nll``. Both in nats, in
original units.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wgflow.data.dataset import Dataset
from wgflow.energies.base import Rescaled
from wgflow.likelihood import quadrature
from wgflow.samplers.particles import Particles, react
from wgflow.schemes import Scheme
from wgflow.training.checks import is_known

CELLS = 144  # along each axis: about 0.1 s per validation of the default network in 2-D
MARGIN = 0.25  # of the data's range, on both sides; with it cells end where a checkerboard's do
POINTS = 2000  # at most, of those validated on

Validator = Callable[[nn.Module, nn.Module, Particles | None], dict[str, float]]
"""(energy, its running average, held-out particles) -> metrics; draws no random numbers."""


def validator(dataset: Dataset, scheme: Scheme, device: torch.device) -> Validator:
    """What can be validated on a data set, with particles as ``scheme`` keeps them."""
    if is_known(dataset):
        return exact(dataset, device)
    return held_out(dataset, device) if scheme.is_weighted else _nothing


def exact(dataset: Dataset, device: torch.device) -> Validator:
    """``KL(p_d‖p)`` of the running average, by quadrature on a box around the data.

    The target too is normalised on the grid, whose cells may straddle the edges of its support.
    """
    target = dataset.target
    assert target is not None
    box = box_around(dataset.train[:])
    log_target = quadrature.log_density(lambda x: -target.log_prob(x), box)
    there = replace(box, nodes=box.nodes.to(device))

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        kept = Rescaled(average, dataset.shift.to(device), dataset.scale.to(device))
        log_model = quadrature.log_density(kept, there).cpu()
        return {"kl": float(quadrature.kl(log_target, log_model, box))}

    return validate


def held_out(dataset: Dataset, device: torch.device) -> Validator:
    """``mean E + log Z`` of the energy itself, which the held-out particles follow.

    The mean is over the validation points, or over the test points of data without any.
    """
    unseen = dataset.test if dataset.validation is None else dataset.validation
    points = dataset.standardise(unseen[:POINTS]).to(device)
    jacobian = float(dataset.scale.double().log().expand(dataset.event_shape).sum())
    if dataset.transform is not None:
        jacobian -= float(dataset.transform.log_derivative(unseen[:POINTS]).sum(1).mean())

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        if particles is None:
            return {}
        # They move every few steps only; the reaction updates their log Z.
        log_z = react(particles, energy).log_z
        mean = quadrature.tabulate(energy, points).mean()
        return {"nll": float(mean + log_z.cpu()) + jacobian}

    return validate


def box_around(x: Tensor, cells: int = CELLS) -> quadrature.Grid:
    """A grid over the range of points and a margin, in their dtype."""
    low, high = x.amin(0), x.amax(0)
    margin = MARGIN * (high - low)
    corners = (low - margin).tolist(), (high + margin).tolist()
    return quadrature.Grid.box(*corners, cells, dtype=x.dtype)


def _nothing(
    energy: nn.Module, average: nn.Module, particles: Particles | None
) -> dict[str, float]:
    return {}
