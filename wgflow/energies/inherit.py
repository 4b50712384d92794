"""Parameters that an energy takes from another: all, or what two U-Nets share."""

import torch
from torch import Tensor, nn

from wgflow._check import shortened
from wgflow.energies.principal import principal_of
from wgflow.energies.trunk import Trunk

OF_MOMENTS = ("principal", "overview")
"""Parts of a network that depend on the moments of its data."""


def load_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """``load_state_dict``; ValueError when the state is of another network."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        said = shortened(" ".join(str(error).split()), 300)
        raise ValueError(
            f"`energy` must have the parameters that were saved: got another network. {said}"
        ) from error


def inherit(module: nn.Module, learned: nn.Module) -> None:
    """Take the parameters of a learned energy: all of them, or those that two U-Nets share.

    Principal moments belong to the data: where those differ, a U-Net keeps its own and the layers
    that embed them.

    Raises:
        ValueError: the networks differ otherwise, or would be other functions at the same weights.
    """
    own, other = trunk_of(module), trunk_of(learned)
    if own is not None and other is not None and own.multiple != other.multiple:
        raise ValueError(
            f"`energy.multiple` must be {other.multiple}, as learned, since another padding makes "
            f"another function of the same weights: got {own.multiple}."
        )
    if own is None or other is None or (type(own) is type(other) and same_moments(own, other)):
        load_state(module, learned.state_dict())
        return
    state, found = own.state_dict(), other.state_dict()
    if not same_moments(own, other):
        found = {name: w for name, w in found.items() if name.split(".")[0] not in OF_MOMENTS}
    load_state(own, state | {name: w for name, w in found.items() if name in state})


def same_moments(own: Trunk, other: Trunk) -> bool:
    """Whether both know moments of the same data, or at least one knows none.

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
