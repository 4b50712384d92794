"""Samples and ``log Z`` of an energy that is a tilt of a distribution with exact draws.

With ``v = E + log q`` of draws of the reference q, independent of each other, ``mean e^{-v}`` is Z
without bias, and draws resampled by their weights ``e^{-v}`` are points of the model but for a
share of ``w/n``, with n draws and the largest weight w of mean one (sampling importance
resampling, Rubin 1988). A draw of weight w is taken more than once where a sample has fewer
draws to be chosen from than w. ``log q`` is relative to what s is relative to, so that q need not
be evaluated where it is that.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._progress import watched
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.energies.base import Relative
from wgflow.likelihood.annealing import LogZ
from wgflow.samplers.particles import systematic_indices

LEAST = 64
"""Samples that a pool of draws is for, at least."""

ROUNDS = 50
"""Draws for each sample, at least."""

MOST = 8 * ROUNDS
"""And at most: learned energies are cut so that no weight is beyond it."""

COPIES = 0.02
"""Share of copies among samples from which draws are too few."""

KNOWN = 4096 * ROUNDS
"""Draws that tell it, and log Z."""

CHUNK = 8192
"""Points at a time."""

SETTLED = 1e-6
"""Nats between the last two cuts."""

NUMBERS = 2**24
"""Coordinates in a pool, about."""


def draw(
    tilt: Relative, like: Tensor, count: int, *, rounds: int = ROUNDS, generator: Rng = None
) -> Points:
    """``count`` points of ``e^{-E}/Z``: draws of q, resampled by their weights.

    Args:
        tilt: s, with the draws of q.
        like: a tensor of the shape, dtype and device of one point, (1, *event).
        count: number of points.
        rounds: draws for each.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range.
    """
    check_positive(count=count, rounds=rounds)
    most = max(LEAST, NUMBERS // (rounds * like[0].numel()))
    parts = []
    for start in watched(range(0, count, most), "Sampling"):
        size = min(most, count - start)
        pool, v = drawn(tilt, like, rounds * max(size, LEAST), generator)
        index = systematic_indices(-v, max(size, LEAST), generator=generator)
        order = torch.randperm(len(index), generator=generator, device=index.device)[:size]
        parts.append(pool[index[order]])
    return torch.cat(parts)


class Reach(NamedTuple):
    """How far a reference q is from the model.

    Attributes:
        rounds: draws of q for each sample that leave hardly a copy.
        log_z: from the weights of draws of q.
    """

    rounds: int
    log_z: LogZ


def reach(tilt: Relative, like: Tensor, *, generator: Rng = None) -> Reach:
    """How many draws of q a sample needs, and what they say of ``log Z``.

    `ROUNDS`, or as many doublings of it as are needed, `MOST` at most. With weights w of mean one
    a draw is expected ``w/R`` times among samples from R draws each, so that ``E[max(w - R, 0)]``
    is the share of copies.
    """
    _, v = drawn(tilt, like, KNOWN, generator)
    w = (-v).double().softmax(0) * len(v)
    rounds = ROUNDS
    while rounds < MOST and float((w - rounds).clamp(min=0).mean()) > COPIES:
        rounds *= 2
    return Reach(rounds, log_z_from_reference(v, generator=generator))


def log_z_from_reference(v: Values, *, generator: Rng = None) -> LogZ:
    """``log Z``: the logarithm of ``mean e^{-v}`` over draws of q, and its standard error.

    Below it in the mean is that of one half of the draws, and above ``-log mean e^v`` of as many
    points of the model, resampled from the other half.

    Args:
        v: of independent draws of q, (draws,).
        generator: source of randomness.

    Raises:
        ValueError: there are fewer than 4 draws, or a v is not finite.
    """
    draws = len(v)
    if draws < 4:
        raise ValueError(f"`v` must be of 4 draws or more: got {draws}.")
    if not v.isfinite().all():
        raise ValueError("Energies of draws of the reference must be finite: got others.")
    log_w, half = -v.double(), draws // 2
    value = float(log_w.logsumexp(0)) - math.log(draws)
    error = float((log_w - value).exp().std()) / math.sqrt(draws)
    lower = float(log_w[:half].logsumexp(0)) - math.log(half)
    model = log_w[half:][systematic_indices(log_w[half:], draws - half, generator=generator)]
    upper = math.log(len(model)) - float((-model).logsumexp(0))
    return LogZ(value, error, lower, upper)


def ceiling_of(log_w: Values, most: float) -> float:
    """Where to cut log-weights of draws, so that none is ``most`` times the mean of what is left.

    The largest c with ``e^c ≤ most · mean min(w, e^c)``: each cut lowers the mean, and so the next
    cut, until there is none.

    Args:
        log_w: logarithms of weights, (draws,); NaN is found where one is NaN.
        most: above 1.
    """
    log_w = log_w.double()
    gap, top = math.log(most) - math.log(len(log_w)), math.inf
    while True:
        lower = gap + float(log_w.clamp(max=top).logsumexp(0))
        if not lower < top - SETTLED:  # or not a number
            return lower
        top = lower


def drawn(tilt: Relative, like: Tensor, count: int, generator: Rng) -> tuple[Points, Values]:
    """``count`` draws of q, and v there, in chunks."""
    parts = []
    for start in watched(range(0, count, CHUNK), "Drawing from the reference"):
        x, log_q = tilt.reference(like, min(CHUNK, count - start), generator=generator)
        parts.append((x, values(tilt, x) + log_q))
    x, v = zip(*parts, strict=True)
    return torch.cat(x), torch.cat(v)


@torch.no_grad()
def values(tilt: Relative, x: Points) -> Tensor:
    """``s(x)``, in chunks."""
    return torch.cat([tilt(part) for part in x.split(CHUNK)])
