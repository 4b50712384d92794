"""The lowest level of noise of an energy, by what it blurs."""

import math

import torch

from wgflow.energies.mixture import NoisyMixture

USUAL_LEVEL = 0.01
"""Level at most, in standardised units."""

HALVES = 5
"""Times that the level is halved at most, down to .0003: some hundred times the rounding of
single precision ten deviations out."""

COST = 0.01
"""Nats that noise of the lowest level may cost."""

DRAWS = 2048
"""Points of the estimate that tell the cost."""


@torch.no_grad()
def lowest_of(estimate: NoisyMixture) -> float:
    """The greatest of .01, .005, .0025, ... whose noise costs the data at most `COST` nats.

    Where columns nearly determine each other, as a sum and its parts, rows fill directions far
    narrower than .01 standard deviations, and a density with noise of that size is lower there.
    With p the estimate of the density, the cost of noise σ is ``KL(p ‖ p * N(0, σ²I))``, the mean
    of ``log p - log p * N`` over draws of p, which are no narrower than unseen rows allow.

    Args:
        estimate: p, of standardised points.
    """
    means = estimate.parts[0].means
    generator = torch.Generator(means.device).manual_seed(0)
    like = means.new_empty(DRAWS, means.shape[1], dtype=torch.float64)
    none = like.new_full((DRAWS,), -math.inf)
    x = estimate.sample(like, none, generator=generator)
    sharp, lowest = estimate(x, none), USUAL_LEVEL
    for _ in range(HALVES):
        noisy = estimate(x, torch.full_like(none, 2 * math.log(lowest)))
        if float((noisy - sharp).mean()) <= COST:
            break
        lowest /= 2
    return lowest
