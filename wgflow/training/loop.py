"""The one training loop, a generator: it yields, the caller logs, evaluates, saves and stops."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from wgflow._random import Rng
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.energies.microbatch import microbatched
from wgflow.schemes.base import Scheme


class Step(NamedTuple):
    """One learning step, done.

    Attributes:
        carry: the scheme's carry after the step; with the energy, the optimiser and the
            generators it is all that the next step depends on.
        metrics: detached scalars by name: of the first inner step, so that they describe the
            energy before the step, then of the transport after it.
    """

    carry: Any
    metrics: dict[str, Tensor]


def train(
    energy: nn.Module,
    scheme: Scheme[Any],
    batches: Iterator[Tensor],
    optimizer: Optimizer,
    *,
    carry: Any = None,
    scheduler: LRScheduler | None = None,
    average: AveragedModel | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    generator: Rng = None,
    ranks: Ranks = ALONE,
) -> Iterator[Step]:
    """Learn ``energy`` by ``scheme`` for as long as the caller asks for steps.

    Args:
        energy: the module that learns.
        scheme: how.
        batches: endless data, in the units of the energy.
        optimizer: over the energy's parameters.
        carry: where to go on from; None begins anew with the first batch.
        scheduler: stepped once per learning step.
        average: running average of the parameters, updated once per learning step.
        clip: greatest norm of the gradient.
        accumulate: parts that batches and particles are evaluated in, so that memory is that of
            one; the steps are the same up to rounding. See `wgflow.energies.microbatch`.
        generator: source of every random number of the scheme.
        ranks: the processes that learn together, each on its own data and particles; all take
            the same optimiser steps, and as many inner steps as every one of them trusts.

    Raises:
        FloatingPointError: when the loss is not finite, on all ranks if it is so on any; the
            parameters are those before it.
    """
    seen = microbatched(energy, accumulate)
    if carry is None:
        carry = scheme.init(seen, next(batches), generator=generator)
    while True:
        shown: dict[str, Tensor] = {}
        taken = 0
        while taken < scheme.inner_steps:
            objective = scheme.loss if taken else scheme.first_loss
            loss = objective(seen, carry, generator=generator)
            trusted = not taken or scheme.trusted(loss)
            if not descend(loss.value, energy, optimizer, clip, ranks, trusted=trusted):
                break
            shown = shown or loss.metrics
            taken += 1
        shown["inner_steps"] = torch.tensor(float(taken))
        if scheduler is not None:
            scheduler.step()
        if average is not None:
            average.update_parameters(energy)
        carry = scheme.advance(seen, next(batches), carry, generator=generator)
        yield Step(carry, shown | carry.metrics)


def descend(
    loss: Tensor,
    energy: nn.Module,
    optimizer: Optimizer,
    clip: float | None,
    ranks: Ranks = ALONE,
    *,
    trusted: bool = True,
) -> bool:
    """One optimiser step if every rank trusts its loss, and whether it was taken.

    Loss and trust travel with the gradient: small messages take as long as large ones.

    Raises:
        FloatingPointError: when loss or gradient is not finite on any rank, before the step.
    """
    if ranks.alone and not trusted:
        return False
    parameters = list(energy.parameters())  # modules are searched for them at every call
    optimizer.zero_grad()
    loss.backward()
    told = torch.stack([loss.detach(), loss.new_tensor(float(not trusted))])
    ranks.average_([told, *(p.grad for p in parameters if p.grad is not None)])
    value, doubt = told.tolist()
    if doubt > 0:
        return False
    if not math.isfinite(value):
        raise FloatingPointError(f"The loss must be finite: got {value}.")
    norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
    if not norm.isfinite():
        raise FloatingPointError(f"The gradient must be finite: got norm {norm.item()}.")
    optimizer.step()
    return True
