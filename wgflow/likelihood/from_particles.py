"""``log Z`` of an energy from the particles that learned it and those that were held out."""

import math

from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.likelihood.annealing import LogZ, log_z, moment_match
from wgflow.samplers.langevin import MALA
from wgflow.samplers.particles import Particles
from wgflow.samplers.population import draw

ROUNDS = 50
"""Moves of a fresh sample that starts at a particle."""

CHAINS = 1000
"""Annealed chains, each way."""


def temperatures(dim: int) -> int:
    """Intermediate distributions: works spread with the dimension, up to a budget."""
    return min(max(200, 16 * dim), 2000)


def log_z_from_particles(
    energy: Energy, trained: Particles, held_out: Particles, *, generator: Rng = None
) -> LogZ:
    """Annealed both ways between the model and a Gaussian of the training particles' moments.

    Samples of the model start at the held-out particles, which never entered a gradient.

    Args:
        energy: E, in the units of the particles.
        trained: the population that trained it.
        held_out: another one.
        generator: source of randomness.
    """
    step = MALA(trained.langevin_step)
    draws = draw(energy, held_out, CHAINS, step, rounds=ROUNDS, generator=generator)
    return log_z(
        energy,
        draws,
        moment_match(trained.x, trained.weights),
        temperatures=temperatures(math.prod(trained.x.shape[1:])),
        sampler=step,
        generator=generator,
    )
