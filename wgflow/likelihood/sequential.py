"""Annealed sequential Monte Carlo: weighted points of an energy, from a reference to it.

Along ``E_β = (1-β) E_0 + β E`` chains are weighed at each change of β, resampled where their
weights have become uneven, and moved by exact steps (Del Moral et al. 2006). So a mode gets its
share of the points even where no chain crosses to it any more. How far β rises at a time is up to
the weights, and the step size up to the moves; `log_z` then anneals other chains both ways by the
same values, so that works down and up are of one process and its reverse.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.data.targets import Target
from wgflow.energies.base import Energy, Sum
from wgflow.likelihood.annealing import LogZ, changed, joined, work
from wgflow.samplers.langevin import MALA, LangevinState
from wgflow.samplers.particles import Particles, populate, resample, transport

ENOUGH = 0.5
"""Effective fraction of the chains below which they are resampled."""

LENGTH = 0.045
"""Standard deviation of what one change of β adds to log-weights, about: equal steps of length
along the path, which makes the least of the variance of works (Gelman and Meng 1998)."""

LONGEST = 1000
"""Changes of β from which on they are equal ones."""


class Annealed(NamedTuple):
    """Chains that arrived, and how they went.

    Attributes:
        particles: weighted points of ``exp(-E)/Z``, with an estimate of ``log Z``.
        betas: values of β, from 0 to 1.
        steps: the step size at each.
    """

    particles: Particles
    betas: list[float]
    steps: list[float]


def annealed(
    energy: Energy, reference: Target, like: Tensor, sampler: MALA, *, generator: Rng = None
) -> Annealed:
    """Chains brought from a reference to an energy, one step of MALA at each β.

    Args:
        energy: E of points (batch, d).
        reference: a distribution with an exact sampler, E_0 with its ``log_z``.
        like: an empty tensor of the shape, dtype and device of the chains, (count, d).
        sampler: with the first step size, which adapts.
        generator: source of randomness.
    """
    check_positive(chains=len(like))
    x = reference.sample(len(like), dtype=like.dtype, generator=generator).to(like.device)
    log_density = -reference(x) - reference.log_z
    p = populate(sampler, reference, x, log_density, generator=generator)
    betas, steps = [0.0], [p.langevin_step]
    while betas[-1] < 1:
        old = betas[-1]
        new = _next(_slopes(energy, reference, p.state, old), p.log_weight, old, len(betas))
        bridge = Sum([reference, energy], [1 - new, new])
        state = changed(reference, bridge, p.state, old, new)
        gained = p.state.energy - state.energy
        p = p._replace(state=state, log_weight=p.log_weight + gained)
        if p.effective_fraction < ENOUGH:
            p = resample(p, generator=generator)
        betas, steps = [*betas, new], [*steps, p.langevin_step]
        p, _ = transport(p, sampler, bridge, generator=generator)
    return Annealed(p, betas, steps)


def log_z(
    energy: Energy, reference: Target, model: Tensor, way: Annealed, *, generator: Rng = None
) -> LogZ:
    """``log Z`` of E, annealed both ways at the values of β and by the steps of other chains.

    Args:
        energy: E of points (batch, d).
        reference: where ``way`` began.
        model: points of ``exp(-E)/Z``; as many chains start from the reference.
        way: of `annealed`.
        generator: source of randomness.

    Raises:
        ValueError: for fewer than two points, or when a work is not finite.
    """
    first = reference.sample(len(model), dtype=model.dtype, generator=generator).to(model.device)
    kernel, betas, steps = MALA(adaptation=0.0), way.betas, way.steps
    options = {"sampler": kernel, "generator": generator}
    down = work(reference, energy, first, betas, step_sizes=steps, **options)
    up = -work(reference, energy, model, betas[::-1], step_sizes=steps[::-1], **options)
    return joined(down, up, reference.log_z)


@torch.no_grad()
def _slopes(energy: Energy, reference: Target, state: LangevinState, beta: float) -> Tensor:
    """``E_0 - E`` where chains of E_β stand, by which a change of β multiplies, float64."""
    there = reference(state.x)
    if beta == 0:
        return (there - energy(state.x)).double()
    return (there - state.energy).double() / beta


def _next(slopes: Tensor, log_weight: Tensor, beta: float, changes: int) -> float:
    """The next β: further by `LENGTH` over the standard deviation of the slopes, up to 1."""
    if changes >= LONGEST:
        return min(1.0, beta + 1 / LONGEST)
    w = log_weight.double().softmax(0)
    variance = float(w @ (slopes - w @ slopes) ** 2)
    return min(1.0, beta + LENGTH / math.sqrt(variance)) if variance > 0 else 1.0
