"""Conditioning on a class by Bayes' rule, for an energy that has not seen any classes.

``p(x|c) ∝ p(x) p(c|x)``: all that is needed besides the energy is a classifier, any callable
``(batch, *event) -> (batch, classes)`` of log-probabilities.

The acceptance ``p(c|x) ≤ 1`` needs no bound, so `reject` is exact for whatever law its draws
have; `Conditional` is the same law as an energy, for chains and descents.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._tensor import Points
from wgflow.energies.conditional import LogProb, check_labels

SLACK = 20.0
"""By what factor a classifier may be mistaken on the way before a draw is lost for it."""

AHEAD = 10.0
"""Draws at a time for each point that is missing, which suits ten classes."""

PATIENCE = 1000
"""Draws for each point of a class, after which it is too rare."""


class Chosen(NamedTuple):
    """Points of every class asked for, and how many draws it took.

    Attributes:
        x: (classes, count, *event), in the order of the classes asked for.
        draws: points begun.
        ended: those of them that were followed to their end.
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
    generator: torch.Generator | None = None,
) -> Chosen:
    """``count`` points of each class, of ``p(x) p(c|x)^g`` for draws of law p: by rejection.

    A draw x is of class c if ``U_c < p(c|x)^g``, with uniform ``U_c``. That is exact, without a
    gradient or a bound, and takes ``1/E[p(c|x)^g]`` draws per point, of which all classes share
    each. An ambiguous draw may serve two.

    Where draws are made in legs, those without hope are dropped between them, namely if
    ``U_c ≥ κ p(c|x_t)`` for every class that is still wanted. So the acceptance becomes
    ``min(p(c|x)^g, κ p(c|x_1), κ p(c|x_2) ...)``: unchanged unless what was seen on the way
    underestimates the end by more than the factor κ.

    Args:
        begin: makes that many independent points, (n, *event), as they are before the legs.
        log_prob: ``log p(c|x)`` of all classes; with legs, also of points on the way.
        labels: the classes wanted.
        count: points of each.
        legs: each moves points on; the law is that after the last.
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
        raise ValueError(f"Rejection sharpens a class: expected guidance >= 1, got {guidance}.")
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
