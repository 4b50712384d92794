"""Energies that know their gradient in x: the formulas that autograd follows, without a graph.

Chains evaluate ``E`` and ``∇E`` at every step and nothing else, so that building a graph, and
walking it, is a good part of what a step of a few chains costs. The functions called here are
those of PyTorch's own derivatives.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from wgflow._tensor import Points, Values

THIN = 8
"""Columns up to which the usual matrix product is several times slower than its transpose."""

NUMBERS = 2**17
"""Numbers of a layer at a time on CPUs, so that layers stay in a cache; elsewhere `MANY`."""

MANY = 2**26

silu_backward = torch.ops.aten.silu_backward.default
gelu_backward = torch.ops.aten.gelu_backward.default
softplus_backward = torch.ops.aten.softplus_backward.default
tanh_backward = torch.ops.aten.tanh_backward.default


class WithGradient(ABC):
    """An energy that knows its gradient; where ``forward`` is another, so must this be."""

    @abstractmethod
    def value_and_grad(self, x: Points) -> tuple[Values, Points] | None:
        """``E(x)`` and ``∇E(x)`` as `wgflow.energies.base.energy_and_grad` has them, or None.

        None where a part does not know its gradient. It is called where no graph is built.
        """


def own_gradient(energy: object, x: Points) -> tuple[Values, Points] | None:
    """``E(x)`` and ``∇E(x)`` of an energy that knows both; None for others.

    None in mixed precision too, in which derivatives have types of their own.
    """
    if not isinstance(energy, WithGradient) or torch.is_autocast_enabled(x.device.type):
        return None
    if not torch.is_grad_enabled():
        return energy.value_and_grad(x)
    with torch.no_grad():
        return energy.value_and_grad(x)


def in_blocks(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """A function of points with layers of so many units, block by block: in the memory of one."""
    rows = max(1, (NUMBERS if x.is_cpu else MANY) // width)
    if len(x) <= rows:
        return function(x)
    values, grads = zip(*map(function, x.split(rows)), strict=True)
    return torch.cat(values), torch.cat(grads)


def chain(layers: Iterable[nn.Module], h: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """``aᵀ φ_L(… φ_1(h))`` of linear layers and activations, and its gradient in h.

    Args:
        layers: φ_1 to φ_L, each an `nn.Linear` or one of SiLU, GELU, softplus and tanh.
        h: (batch, units).
        head: a.

    Returns:
        (batch,) and (batch, units).
    """
    passed: list[tuple[nn.Module, Tensor, Tensor]] = []
    for layer in layers:
        before, h = h, layer.forward(h)  # a call of few points takes longer than its forward
        passed.append((layer, before, h))
    value, grad = torch.mv(h, head), head.expand_as(h)
    del h
    while passed:  # what was used is freed, and taken again while it is in the cache
        grad = pulled_back(passed[-1][0], grad, *passed.pop()[1:])
    return value, grad


def pulled_back(layer: nn.Module, grad: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The gradient before a layer, of that after it and of what it took and gave.

    Raises:
        TypeError: for a layer whose derivative is not here.
    """
    match layer:
        case nn.Linear():
            return product(grad, layer.weight)
        case nn.SiLU():
            return silu_backward(grad, before)
        case nn.GELU():
            return gelu_backward(grad, before)
        case nn.Softplus():
            return softplus_backward(grad, before, layer.beta, layer.threshold)
        case nn.Tanh():
            return tanh_backward(grad, after)
        case _:
            raise TypeError(f"`layer` must have a known derivative: got {type(layer).__name__}.")


def product(h: Tensor, weight: Tensor) -> Tensor:
    """``h W``, of a thin W by way of ``Wᵀ``, (batch, m) and (m, n) -> (batch, n)."""
    if weight.shape[1] > THIN:
        return torch.mm(h, weight)
    return torch.mm(h, weight.T.contiguous().T)
