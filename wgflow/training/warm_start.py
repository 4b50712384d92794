"""Energies that begin with what another run learned."""

import torch
from torch import nn

from wgflow.energies.base import Rescaled
from wgflow.energies.principal import principal_of
from wgflow.energies.trunk import Trunk
from wgflow.training.learner import Learner, load_state

OF_MOMENTS = ("principal", "overview")
"""Parts of a network that are about the moments of its data."""


def initialise(learner: Learner, energy: Rescaled) -> None:
    """Begin with an energy that another run learned; ValueError unless it fits this one."""
    shift, scale = learner.dataset.shift, learner.dataset.scale
    same = torch.equal(energy.shift, shift.double()) and torch.equal(energy.scale, scale.double())
    if not same:
        raise ValueError(
            "A run begins with an energy in its own units: expected one of data of the same mean "
            "and deviation as its own, got others."
        )
    for module in (learner.energy, learner.average.module):
        inherit(module, energy.energy)


def inherit(module: nn.Module, learned: nn.Module) -> None:
    """Begin with what was learned: all of it, or what U-Nets for different ends have in common.

    Principal moments are of data: where those differ, a U-Net keeps its own, and learns anew what
    coordinates along their axes say.

    Raises:
        ValueError: the networks differ otherwise, or would be other functions at the same weights.
    """
    own, other = trunk_of(module), trunk_of(learned)
    if own is not None and other is not None and own.multiple != other.multiple:
        raise ValueError(
            "U-Nets that pad images otherwise are other functions at the same weights: expected "
            f"energy.multiple {other.multiple}, as learned, got {own.multiple}."
        )
    if own is None or other is None or (type(own) is type(other) and same_moments(own, other)):
        load_state(module, learned.state_dict())
        return
    state, found = own.state_dict(), other.state_dict()
    if not same_moments(own, other):
        found = {name: w for name, w in found.items() if name.split(".")[0] not in OF_MOMENTS}
    load_state(own, state | {name: w for name, w in found.items() if name in state})


def same_moments(own: Trunk, other: Trunk) -> bool:
    """Whether both know moments of the same data, though of other parts, or not both know some.

    Means within a twentieth of the range of pixels, and variances within a fifth.
    """
    first, second = principal_of(own), principal_of(other)
    if first is None or second is None or first.variances.shape != second.variances.shape:
        return True
    mean, variances = second.center.to(first.center), second.variances.to(first.variances)
    near = torch.allclose(first.center, mean, rtol=0.0, atol=0.1)
    return near and torch.allclose(first.variances, variances, rtol=0.2, atol=0.0)


def trunk_of(module: nn.Module) -> Trunk | None:
    """The U-Net in an energy, if there is one."""
    return next((part for part in module.modules() if isinstance(part, Trunk)), None)
