"""Energies that start from what another run learned."""

import math

import torch

from wgflow.energies.base import Rescaled, Tilted
from wgflow.energies.inherit import inherit
from wgflow.training.learner import Learner


def initialise(learner: Learner, energy: Rescaled) -> None:
    """Start from an energy that another run learned; ValueError unless it fits this one."""
    shift, scale = learner.dataset.shift, learner.dataset.scale
    same = torch.equal(energy.shift, shift.double()) and torch.equal(energy.scale, scale.double())
    if not same or energy.transform != learner.dataset.transform:
        raise ValueError(
            "`init` must be a run on data of the same mean and deviation: got another mean, "
            "deviation or transform."
        )
    for module in (learner.energy, learner.average.module):
        inherit(module, energy.energy)
        if isinstance(module, Tilted):
            module.relative().bound(math.inf)  # until it is validated
