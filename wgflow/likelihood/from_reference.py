"""Samples and ``log Z`` of an energy that is a tilt of a distribution with exact draws.

Along ``p_β ∝ q e^{-βv}`` from the reference q (β = 0, log Z = 0) to the model (β = 1), with
``v = E + log q``. Moves are independence steps from q, accepted with
``min(1, e^{-β(v(x') - v(x))})``: exact, and between modes. Where chains are is a draw of q, whose
``log q`` relative to what s is relative to comes with it.
"""

import itertools

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._progress import watched
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.energies.base import Relative
from wgflow.likelihood.annealing import LogZ, joined
from wgflow.samplers.base import log_uniform_like
from wgflow.samplers.particles import systematic_indices

CHAINS = 4096
"""Annealed chains, each way."""

TEMPERATURES = 30
"""Values of β after 0."""

POOL = 4
"""Draws of the reference for every sample, from which samples are resampled."""

ROUNDS = 50
"""Independence steps of a sample after that."""

CHUNK = 8192
"""Points at a time."""


def draw(
    tilt: Relative, like: Tensor, count: int, *, rounds: int = ROUNDS, generator: Rng = None
) -> Points:
    """``count`` points of ``e^{-E}/Z``: draws of q, resampled by their weights, and moved.

    Args:
        tilt: s, with the draws of q.
        like: a tensor of the shape, dtype and device of one point, (1, *event).
        count: number of points.
        rounds: independence steps of each.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range.
    """
    return _draw(tilt, like, count, rounds, generator)[0]


def _draw(
    tilt: Relative, like: Tensor, count: int, rounds: int, generator: Rng
) -> tuple[Points, Values]:
    """Points and their v."""
    check_positive(count=count)
    check_nonnegative(rounds=rounds)
    parts = []
    for start in watched(range(0, count, CHUNK), "Sampling"):
        size = min(CHUNK, count - start)
        pool, v = drawn(tilt, like, POOL * max(size, 256), generator)
        index = systematic_indices(-v, max(size, 256), generator=generator)
        order = torch.randperm(len(index), generator=generator, device=index.device)[:size]
        kept = index[order.to(index.device)]
        x, v = pool[kept], v[kept]
        for _ in range(rounds):
            x, v = jumped(tilt, x, v, 1.0, generator)
        parts.append((x, v))
    points, values = zip(*parts, strict=True)
    return torch.cat(points), torch.cat(values)


def log_z_from_reference(
    tilt: Relative,
    like: Tensor,
    *,
    chains: int = CHAINS,
    temperatures: int = TEMPERATURES,
    generator: Rng = None,
) -> LogZ:
    """``log Z``, annealed both ways between the reference and the model, with its sandwich.

    Args:
        tilt: s, with the draws of q.
        like: a tensor of the shape, dtype and device of one point, (1, *event).
        chains: each way.
        temperatures: equal steps of β.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range, or a work is not finite.
    """
    check_positive(chains=chains, temperatures=temperatures)
    betas = torch.linspace(0, 1, temperatures + 1).tolist()
    forward = work(tilt, *drawn(tilt, like, chains, generator), betas, generator)
    model = _draw(tilt, like, chains, ROUNDS, generator)
    return joined(forward, -work(tilt, *model, betas[::-1], generator))


def work(tilt: Relative, x: Points, v: Values, betas: list[float], generator: Rng) -> Values:
    """``-Σ (β' - β) v(x_β)`` of chains that follow β, (chains,), float64."""
    total = torch.zeros_like(v, dtype=torch.float64)
    for here, there in watched(list(itertools.pairwise(betas)), "Annealing for log Z"):
        total -= (there - here) * v.double()
        x, v = jumped(tilt, x, v, there, generator)
    return total


def jumped(
    tilt: Relative, x: Points, v: Values, beta: float, generator: Rng
) -> tuple[Points, Values]:
    """One independence step of each chain from q, under ``q e^{-βv}``: x and v there."""
    y, there = drawn(tilt, x[:1], len(x), generator)
    accepted = log_uniform_like(v, generator=generator) < beta * (v - there)
    mask = accepted.reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(mask, y, x), torch.where(accepted, there, v)


def drawn(tilt: Relative, like: Tensor, count: int, generator: Rng) -> tuple[Points, Values]:
    """``count`` draws of q, and v there."""
    x, log_q = tilt.reference(like, count, generator=generator)
    return x, values(tilt, x) + log_q


@torch.no_grad()
def values(tilt: Relative, x: Points) -> Tensor:
    """``s(x)``, in chunks."""
    return torch.cat([tilt(part) for part in x.split(CHUNK)])
