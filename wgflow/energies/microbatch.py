"""Energies of large batches: evaluated in microbatches, in the memory of one.

Derivatives in the parameters need the graph of an evaluation, whose memory grows with the batch.
A loss may be any function of energies and gradients of a batch: an optimal coupling, the logarithm
of a mean. So not the loss is split, but the evaluations that it is made of. Every microbatch is
evaluated without a graph; when the derivative of the loss in its values and gradients is known,
it is evaluated once more, with a graph that is freed before the next. The result is that of the
full batch up to rounding, for about one more evaluation of the energy.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Evaluation = Callable[[Any, Tensor], tuple[Tensor, ...]]
"""(energy, x) -> tensors with a row per point, made of evaluations of the energy."""


class MicroBatched:
    """``E(x)`` by microbatches: the same values and derivatives, with the memory of one.

    Args:
        energy: E.
        count: number of microbatches, of equal sizes up to rounding.
        parameters: those that values have derivatives in.
    """

    def __init__(
        self, energy: Callable[[Tensor], Tensor], count: int, parameters: Iterable[Tensor]
    ) -> None:
        self.energy = energy
        self.count = count
        self.parameters = tuple(p for p in parameters if p.requires_grad)

    def __call__(self, x: Tensor) -> Tensor:
        """``E(x)``, (batch,)."""
        (value,) = self.evaluate(_value, x, differentiable=torch.is_grad_enabled())
        return value

    def evaluate(
        self, evaluation: Evaluation, x: Tensor, *, differentiable: bool
    ) -> tuple[Tensor, ...]:
        """An evaluation of every microbatch, their rows together.

        Derivatives of the first order in x and in the parameters, if asked for.
        """
        found = [
            _Recomputed.apply(evaluation, self.energy, part, *self.parameters)
            if differentiable
            else evaluation(self.energy, part)
            for part in x.split(-(-len(x) // self.count))
        ]
        return tuple(torch.cat(rows) for rows in zip(*found, strict=True))


class _Recomputed(torch.autograd.Function):
    """An evaluation without a graph, and once more with one when its derivative is asked for."""

    @staticmethod
    def forward(
        ctx: Any, evaluation: Evaluation, energy: Any, x: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.evaluation, ctx.energy = evaluation, energy
        ctx.save_for_backward(x, *parameters)
        return tuple(row.detach() for row in evaluation(energy, x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:  # pyright: ignore
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_(ctx.needs_input_grad[2])
            found = ctx.evaluation(ctx.energy, x)
        pairs = [(f, c) for f, c in zip(found, cotangents, strict=True) if f.requires_grad]
        wanted = (x, *parameters) if x.requires_grad else parameters
        values, rows = zip(*pairs, strict=True) if pairs else ((), ())
        grads = torch.autograd.grad(values, wanted, rows, allow_unused=True)
        return None, None, *(() if x.requires_grad else (None,)), *grads


def microbatched(energy: nn.Module, count: int) -> Any:
    """A module that takes batches in ``count`` microbatches: itself for one."""
    return energy if count == 1 else MicroBatched(energy, count, energy.parameters())


def full_batch(energy: Any) -> Any:
    """The energy that takes batches as they are, of one that may be microbatched."""
    return energy.energy if isinstance(energy, MicroBatched) else energy


def microbatched_like(energy: Any, function: Callable[[Tensor], Tensor], *, learned: bool) -> Any:
    """A function in as many microbatches as an energy, of the same parameters if ``learned``."""
    if not isinstance(energy, MicroBatched):
        return function
    return MicroBatched(function, energy.count, energy.parameters if learned else ())


def _value(energy: Any, x: Tensor) -> tuple[Tensor]:
    return (energy(x),)
