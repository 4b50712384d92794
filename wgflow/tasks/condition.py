"""Conditioning on a class by rejection: ``p(x|c) ∝ p(x) p(c|x)``, for energies without classes.

The classifier is any callable ``(batch, *event) -> (batch, classes)`` of log-probabilities. The
acceptance probability ``p(c|x) ≤ 1`` needs no bound, so that `reject` is exact whatever the
distribution of its draws is. `wgflow.energies.conditional.Conditional` is the same distribution
as an energy.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.energies.conditional import LogProb, check_labels

SLACK = 20.0
"""Factor by which a classifier may underestimate a draw on the way before it is dropped."""

AHEAD = 10.0
"""Draws at a time for each missing point; suits ten classes."""

PATIENCE = 1000
"""Draws for each point of a class after which the class counts as too rare."""


class Chosen(NamedTuple):
    """Points of each requested class, and the number of draws.

    Attributes:
        x: (classes, count, *event), in the order of the requested classes.
        draws: points drawn.
        ended: draws that were not dropped on the way.
    """

    x: Tensor
    draws: int
    ended: int


def reject(
    begin: Callable[[int], Tensor],
    log_prob: LogProb,
    labels: Sequence[int],
    count: int,
    *,
    legs: Sequence[Callable[[Tensor], Tensor]] = (),
    guidance: float = 1.0,
    slack: float = SLACK,
    ahead: float = AHEAD,
    chunk: int = 256,
    generator: Rng = None,
) -> Chosen:
    """``count`` points of each class, of ``p(x) p(c|x)^g``, by rejection of draws of p.

    A draw x is accepted for class c if ``U_c < p(c|x)^g``, with uniform ``U_c``. That is exact and
    takes ``1/E[p(c|x)^g]`` draws per point. Every draw is offered to all classes and may be
    accepted for more than one.

    Draws made in legs are dropped between them if ``U_c ≥ κ p(c|x_t)`` for every class that still
    misses points. The acceptance becomes ``min(p(c|x)^g, κ p(c|x_1), κ p(c|x_2) ...)``: unchanged
    unless a classification on the way underestimates the end by more than the factor κ.

    Args:
        begin: n -> n independent points, (n, *event), before the legs.
        log_prob: ``log p(c|x)`` of all classes; with legs, also of points on the way.
        labels: the requested classes.
        count: points of each.
        legs: maps of points; p is the distribution after the last.
        guidance: g ≥ 1; 1 is Bayes' rule.
        slack: κ.
        ahead: draws at a time for each point that is missing.
        chunk: at most so many draws at a time.
        generator: source of the uniforms.

    Raises:
        ValueError: when a number or a label is out of its range, or a class is so rare among the
            draws that `PATIENCE` draws for each of its points were not enough.
    """
    numbers = {"labels": len(labels), "count": count, "chunk": chunk}
    check_positive(slack=slack, ahead=ahead, **numbers)
    if not guidance >= 1:
        raise ValueError(f"`guidance` must be ≥ 1 for rejection: got {guidance}.")
    found: dict[int, list[Tensor]] = {label: [] for label in labels}
    missing = dict.fromkeys(labels, count)
    draws = ended = 0
    while wanted := [label for label in labels if missing[label]]:
        _check_patience(missing, count, draws)
        x = begin(min(chunk, math.ceil(ahead * max(missing.values()))))
        draws += len(x)
        log_u = torch.rand(len(x), len(wanted), generator=generator, dtype=torch.float64).log()
        for leg in legs:
            hope = (log_u < math.log(slack) + _columns(log_prob, x, wanted)).any(1)
            x, log_u = x[hope.to(x.device)], log_u[hope]
            if not len(x):
                break
            x = leg(x)
        ended += len(x)
        taken = log_u < guidance * _columns(log_prob, x, wanted) if len(x) else log_u > 0
        for label, mine in zip(wanted, taken.T, strict=True):
            # The first so many of independent points: which are left out says nothing about them.
            kept = x[mine.to(x.device)][: missing[label]]
            found[label].append(kept)
            missing[label] -= len(kept)
    return Chosen(torch.stack([torch.cat(found[label]) for label in labels]), draws, ended)


@torch.no_grad()
def _columns(log_prob: LogProb, x: Points, labels: Sequence[int]) -> Tensor:
    """``log p(c|x)`` of the wanted classes, (batch, labels), in double precision on the CPU."""
    p = log_prob(x)
    check_labels(labels, p.shape[1])
    return p[:, list(labels)].double().cpu()


def _check_patience(missing: dict[int, int], count: int, draws: int) -> None:
    if draws >= PATIENCE * count:
        rare = max(missing, key=lambda label: missing[label])
        raise ValueError(
            f"Rejection waits until a class comes: expected class {rare} at least {count} times "
            f"in {PATIENCE * count} draws, got it {count - missing[rare]} times."
        )
