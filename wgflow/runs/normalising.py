"""``log Z`` of what was learned: which annealing suits an energy, and from which chains."""

import math

import torch
from torch import Tensor

from wgflow.flows import heat
from wgflow.flows import log_z as heat_likelihood
from wgflow.energies.base import Confined
from wgflow.energies.noise_levels import Levels
from wgflow.likelihood.annealing import STEP, LogZ, moment_match
from wgflow.likelihood.annealing import log_z as annealed_log_z
from wgflow.samplers.particles import Particles, systematic_indices
from wgflow.samplers import MALA, CrankNicolson, sample
from wgflow.samplers.population import draw, follow
from wgflow.schemes import EnergyMatching
from wgflow.data.targets import GaussianMixture

ROUNDS = 50
"""Moves of a fresh sample, from the population that learned."""

CHAINS = 1000
"""Annealed chains, each way."""

COOLED = 16
"""The same of energies of images, each of whose steps is dear."""

SETTLING = 1000
"""Exact steps that chains take at images before they are annealed."""

SHARE = 1 / 4
"""Of the variance at the lowest level, their Crank-Nicolson steps."""

UNSETTLED = 3.0
"""Standard errors of a drift that is none by chance; one in a hundred with so many chains."""


def temperatures(dim: int) -> int:
    """Intermediate laws of the annealing: works spread with the dimension, up to a budget."""
    return min(max(200, 16 * dim), 2000)


def from_moments(
    energy,
    trained: Particles,
    held_out: Particles,
    step: MALA,
    *,
    generator: torch.Generator | None = None,
) -> LogZ:
    """Between a Gaussian of the moments of the particles that trained, and those held out."""
    draws = draw(energy, held_out, CHAINS, step, rounds=ROUNDS, generator=generator)
    return annealed_log_z(
        energy,
        draws,
        moment_match(trained.x, trained.weights),
        temperatures=temperatures(math.prod(trained.x.shape[1:])),
        sampler=step,
        generator=generator,
    )


def along_levels(
    energy, levels: Levels, like: Tensor, *, generator: torch.Generator | None = None
) -> LogZ:
    """Along the heat flow, from chains that came down it and settled at the lowest level.

    Chains that are still on their way to another well say nothing of its share of Z. Where they
    drift, by `wgflow.flows.log_z.drift`, there is no upper bound: it is infinite, the value
    NaN. The lower bound needs no chains of the model.
    """
    like = like.expand(COOLED, *like.shape[1:])
    x = heat.generate(energy, levels, like, langevin=1, generator=generator)
    kernel = CrankNicolson(levels.lowest, SHARE * levels.lowest**2, adaptation=0.0)
    settled = sample(kernel, energy, x, SETTLING, generator=generator)
    moved, error = heat_likelihood.drift(energy, levels, x, settled, generator=generator)
    found = heat_likelihood.log_z(energy, levels, settled, generator=generator)
    if abs(moved) > UNSETTLED * error:
        return found._replace(value=math.nan, error=math.inf, upper=math.inf)
    return found


def from_confinement(
    energy: Confined,
    paths: EnergyMatching,
    particles: Particles | None,
    like: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> LogZ:
    """By cooling from the confinement, white noise, to the wells at the images."""
    d = like[0].numel()
    variance = paths.temperature * (1 - paths.cutoff)
    stiffness = energy.scale**2 / variance
    if particles is None:
        x, _ = energy.reference(like, COOLED, generator=generator)
        x = follow(energy, x, temperature=paths.temperature)
    else:
        x = particles.x[systematic_indices(particles.log_weight, COOLED, generator=generator)]
    exact = MALA(STEP * variance, adaptation=0.0)
    return annealed_log_z(
        energy,
        sample(exact, energy, x, SETTLING, generator=generator),
        GaussianMixture(torch.zeros(1, d), energy.scale),
        temperatures=round(d * math.log1p(stiffness)),
        stiffness=stiffness,
        generator=generator,
    )
