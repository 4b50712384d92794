"""``log Z`` of a noise-conditional energy, annealed along its heat flow both ways."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points, Values, sum_event
from wgflow.energies.noise_levels import At, NoiseLevels
from wgflow.flows.heat import MixtureStart, Start, ancestral_posterior, chains_at, start
from wgflow.likelihood.annealing import STEP, LogZ, joined
from wgflow.samplers import MALA
from wgflow.samplers.langevin import LangevinState


def log_z(
    energy: Any,
    levels: NoiseLevels,
    model: Points,
    *,
    steps: int = 500,
    moves: int = 1,
    generator: Rng = None,
) -> LogZ:
    """``log Z`` of the lowest level, by annealing along the heat flow both ways.

    Down, chains take the step of Gaussians ``x - (a²-b²)∇E_a(x) + b√(1-b²/a²) ξ`` from each level
    a to the next b, then ``moves`` exact MALA steps of ``b²/8``. Up, as many of the model take
    those in reverse order, and the noise ``x + √(a²-b²) ξ``, which the first step would undo if E
    were exact. The works

        W = Σ [E_a(x) - E_b(y) + log N(x; y, a²-b²) - log q(y|x)] - E(x_0) - log p_0(x_0)

    with p_0 of `wgflow.flows.heat.start`, obey ``E[e^W] = Z`` down and ``E[e^{-W}] = 1/Z`` up
    whatever E is (Del Moral et al. 2006), so there is a sandwich as in
    `wgflow.likelihood.annealing.log_z`, about as wide as E is wrong.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        model: points of ``exp(-E)/Z`` of the lowest level; as many chains come from noise.
        steps: between the levels, in equal ratios.
        moves: exact steps at each level.
        generator: source of randomness.

    Raises:
        ValueError: for fewer than two points, no steps, or when a work is not finite.
    """
    check_positive(steps=steps)
    if len(model) < 2:
        raise ValueError(f"An error bar needs points: expected at least 2, got {len(model)}.")
    sigmas = levels.ladder(steps)
    first = start(energy, levels, model)
    x = first.sample(len(model), generator=generator)
    forward = works_down(energy, x, first, sigmas, moves, generator)
    backward = works_up(energy, model, first, sigmas, moves, generator)
    return joined(forward, backward)


WIDE = 4.0
"""Level at which `drift` looks at chains, in units of the lowest."""


def drift(
    energy: Any, levels: NoiseLevels, start: Points, end: Points, *, generator: Rng = None
) -> tuple[float, float]:
    """Mean of ``E(x_end + τξ, log σ²) - E(x_start + τξ, log σ²)`` and its error, ``σ = 4 σ_min``.

    With noise added, ``σ² = σ_min² + τ²``, chains distributed as the lowest level are distributed
    as the wider one, and the mean change is zero. Where chains leave for a spurious minimum of the
    lowest level, E rises at the wider one by far more than it falls at the lowest.

    Args:
        energy: E of x and the level.
        levels: of the noise.
        start, end: the same chains before and after, (batch, *event).
        generator: source of ξ, one for both.
    """
    sigma = min(WIDE * levels.lowest, levels.highest)
    tau = math.sqrt(sigma**2 - levels.lowest**2)
    noise = noise_like(start, generator=generator)
    level = At(energy, sigma)
    with torch.no_grad():
        change = (level(end + tau * noise) - level(start + tau * noise)).double()
    return float(change.mean()), float(change.std()) / math.sqrt(len(change))


def works_down(
    energy: Any,
    x: Points,
    first: Start | MixtureStart,
    sigmas: list[float],
    moves: int,
    generator: Rng,
) -> Values:
    """W of chains that begin with `wgflow.flows.heat.start`, float64."""
    state = chains_at(energy, x, sigmas[0])
    total = -state.energy.double() - first.log_prob(x)
    for a, b in itertools.pairwise(sigmas):
        mean, variance = ancestral_posterior(state, a, b)
        noise = noise_like(x, generator=generator)
        new = chains_at(energy, mean + math.sqrt(variance) * noise, b)
        total += exchange(state, new, mean, variance, a, b)
        state = moved(energy, new, b, moves, generator)
    return total


def works_up(
    energy: Any,
    x: Points,
    first: Start | MixtureStart,
    sigmas: list[float],
    moves: int,
    generator: Rng,
) -> Values:
    """W of chains that begin with the model, counted as if they went down, float64."""
    state = chains_at(energy, x, sigmas[-1])
    total = x.new_zeros(len(x), dtype=torch.float64)
    for b, a in itertools.pairwise(sigmas[::-1]):
        state = moved(energy, state, b, moves, generator)
        noise = noise_like(x, generator=generator)
        new = chains_at(energy, state.x + math.sqrt(a**2 - b**2) * noise, a)
        total += exchange(new, state, *ancestral_posterior(new, a, b), a, b)
        state = new
    return total - state.energy.double() - first.log_prob(state.x)


def moved(
    energy: Any, state: LangevinState, sigma: float, moves: int, generator: Rng
) -> LangevinState:
    """The chains after exact steps at a level."""
    kernel, level = MALA(STEP * sigma**2, adaptation=0.0), At(energy, sigma)
    for _ in range(moves):
        state, _ = kernel.step(level, state, generator=generator)
    return state


def exchange(
    above: LangevinState, below: LangevinState, mean: Points, variance: float, a: float, b: float
) -> Values:
    """``E_a(x) - E_b(y) + log N(x; y, a²-b²) - log N(y; mean, variance)``, float64."""
    gained = above.energy.double() - below.energy.double()
    back = log_normal(above.x - below.x, a**2 - b**2)
    return gained + back - log_normal(below.x - mean, variance)


def log_normal(r: Tensor, variance: float) -> Values:
    """``log N(r; 0, variance I)`` of events, float64."""
    d = r[0].numel()
    square = sum_event(r.double() ** 2)
    return -square / (2 * variance) - d / 2 * math.log(2 * math.pi * variance)
