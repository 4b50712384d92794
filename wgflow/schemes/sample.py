"""The weighted points that stand for the model in a loss: particles, and draws of the reference.

N particles of p see no mass below 1/N. A model can have as much where no data are, and no loss
says so. M draws of the reference r see it: for any density c and ``α = p/(p + c)``,

    E_p[f] = E_p[α f] + E_r[(1-α) f p/r].

With ``c = r M/N`` it is the balance heuristic of Veach and Guibas (1995). Here r is replaced by
its geometric mean over its draws, so that c is a constant and r need not be known elsewhere.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from wgflow._tensor import Points, Values
from wgflow.samplers.particles import Particles

ITERATIONS = 6
"""Of Newton's method."""

FEWEST = 2.0
"""Particles at least that weigh as much as what both parts see together, for it to tell log Z."""


class Draws(NamedTuple):
    """Draws of the reference r of an energy, fresh at every learning step.

    Attributes:
        x: (draws, *event).
        energy: ``E_k`` there, (draws,).
        log_density: ``log r`` there, (draws,).
    """

    x: Points
    energy: Values
    log_density: Values


class Sample(NamedTuple):
    """Weighted points of the model.

    Attributes:
        x: (points, *event).
        energy: ``E_k`` there, (points,).
        log_weight: unnormalised, (points,).
    """

    x: Points
    energy: Values
    log_weight: Values

    @property
    def weights(self) -> Values:
        """Summing to one, (points,)."""
        return self.log_weight.softmax(0)


def anchored(p: Particles, draws: Draws | None) -> Particles:
    """The particles with the ``log Z`` at which the weights of both parts sum to one.

    That is Bennett's ratio (1976) of particles and draws, but for the constant c. Particles that
    train know the changes of log Z and drift from it, as the energy is pushed up where they are.
    Where hardly a particle is where both see something, log Z stays what it was.
    """
    if draws is None:
        return p
    n, log_z, log_c = len(p.x), p.log_z, level(p, draws)
    weights, ratio = p.weights, -draws.energy - draws.log_density - math.log(len(draws.x))
    energy = torch.cat([p.state.energy, draws.energy])
    for _ in range(ITERATIONS):
        excess = energy + (log_c + log_z)  # log c/p
        ours, theirs = excess.sigmoid().split([n, len(ratio)])
        hidden, seen = weights * ours, (ratio - log_z + logsigmoid(excess[n:])).exp()
        slope = hidden @ (1 - ours) + seen @ theirs
        change = ((seen.sum() - hidden.sum()) / slope).clamp(-1, 1)
        log_z = torch.where(slope * n < FEWEST, log_z, log_z + change)
    return p._replace(banked=p.banked + (log_z - p.log_z))


def sample_of(p: Particles, draws: Draws | None) -> Sample:
    """Weighted particles and draws of the reference as one sample of the model."""
    if draws is None:
        return Sample(p.x, p.state.energy, p.log_weight)
    log_weight = torch.cat(parts(p, draws, level(p, draws), p.log_z))
    energy = torch.cat([p.state.energy, draws.energy])
    return Sample(torch.cat([p.x, draws.x]), energy, log_weight)


def level(p: Particles, draws: Draws) -> Tensor:
    """``log c``."""
    return draws.log_density.mean() + math.log(len(draws.x) / len(p.x))


def parts(p: Particles, draws: Draws, log_c: Tensor, log_z: Tensor) -> tuple[Tensor, Tensor]:
    """``log w α`` of the particles and ``log (1-α) p/(M r)`` of draws."""
    inside, outside = -p.state.energy - log_z, -draws.energy - log_z
    own = p.log_weight.log_softmax(0) + logsigmoid(inside - log_c)
    ratio = outside - draws.log_density - math.log(len(draws.x))
    return own, ratio + logsigmoid(log_c - outside)
