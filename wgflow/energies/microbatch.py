"""Energies of large batches: evaluated in parts, in memory for one.

Derivatives in the parameters need the graph of an evaluation, whose memory grows with the batch.
A loss may be any function of energies and gradients of a whole batch: an optimal coupling, the
logarithm of a mean. So it is not the loss that is cut, but what it is made of. Every part is
evaluated without a graph; when the derivative of the loss in its values and gradients is known,
it is evaluated once more, with one, which is let go before the next. The result is that of the
whole batch up to rounding, for about one more evaluation of the energy.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Evaluation = Callable[[Any, Tensor], tuple[Tensor, ...]]
"""(energy, x) -> tensors with a row per point; what it asks the energy for."""


class Parts:
    """``E(x)`` for x in parts: the same values and derivatives, with the memory of one part.

    Args:
        energy: E.
        count: number of parts, of equal sizes up to rounding.
        parameters: those that values have derivatives in.
    """

    def __init__(
        self, energy: Callable[[Tensor], Tensor], count: int, parameters: Iterable[Tensor]
    ):
        self.energy = energy
        self.count = count
        self.parameters = tuple(p for p in parameters if p.requires_grad)

    def __call__(self, x: Tensor) -> Tensor:
        """``E(x)``, (batch,)."""
        (value,) = self.each(_value, x, differentiable=torch.is_grad_enabled())
        return value

    def each(self, evaluate: Evaluation, x: Tensor, *, differentiable: bool) -> tuple[Tensor, ...]:
        """An evaluation of every part; the rows of the parts together.

        Derivatives of the first order in x and in the parameters, if asked for.
        """
        found = [
            _Again.apply(evaluate, self.energy, part, *self.parameters)
            if differentiable
            else evaluate(self.energy, part)
            for part in x.split(-(-len(x) // self.count))
        ]
        return tuple(torch.cat(rows) for rows in zip(*found, strict=True))


class _Again(torch.autograd.Function):
    """An evaluation without a graph, and once more with one when its derivative is asked for."""

    @staticmethod
    def forward(ctx, evaluate: Evaluation, energy: Any, x: Tensor, *parameters: Tensor):
        ctx.evaluate, ctx.energy = evaluate, energy
        ctx.save_for_backward(x, *parameters)
        return tuple(row.detach() for row in evaluate(energy, x))

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents: Tensor):  # pyright: ignore
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_(ctx.needs_input_grad[2])
            found = ctx.evaluate(ctx.energy, x)
        pairs = [(f, c) for f, c in zip(found, cotangents, strict=True) if f.requires_grad]
        wanted = (x, *parameters) if x.requires_grad else parameters
        values, rows = zip(*pairs, strict=True) if pairs else ((), ())
        grads = torch.autograd.grad(values, wanted, rows, allow_unused=True)
        return None, None, *(() if x.requires_grad else (None,)), *grads


def parted(energy: nn.Module, count: int) -> Any:
    """A module that takes batches in ``count`` parts: itself for one."""
    return energy if count == 1 else Parts(energy, count, energy.parameters())


def whole(energy: Any) -> Any:
    """The energy that may have been parted."""
    return energy.energy if isinstance(energy, Parts) else energy


def alike(function: Callable[[Tensor], Tensor], energy: Any) -> Callable[[Tensor], Tensor]:
    """A function without parameters in as many parts as an energy."""
    return Parts(function, energy.count, ()) if isinstance(energy, Parts) else function


def _value(energy: Any, x: Tensor) -> tuple[Tensor]:
    return (energy(x),)
