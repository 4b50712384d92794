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

SHARE = 1e-3
"""Least share of the weights, where neither part is alone, that is thought to tell log Z."""


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


def sample_of(p: Particles, draws: Draws | None) -> Sample:
    """Weighted particles and draws of the reference as one sample of the model."""
    if draws is None:
        return Sample(p.x, p.state.energy, p.log_weight)
    level = draws.log_density.mean() + math.log(len(draws.x) / len(p.x))
    own, seen = parts(p, draws, level, log_normaliser(p, draws, level))
    return Sample(
        torch.cat([p.x, draws.x]),
        torch.cat([p.state.energy, draws.energy]),
        torch.cat([own, seen]).to(p.log_weight),
    )


def log_normaliser(p: Particles, draws: Draws, level: Tensor) -> Tensor:
    """The ``log Z`` at which the weights of both parts sum to one, a float64 scalar.

    That is Bennett's ratio (1976) of particles and draws, but for the constant c. Particles that
    train know the changes of log Z, and drift from it, as the energy is pushed up where they are.
    """
    log_z = p.log_z
    for _ in range(ITERATIONS):
        own, seen = (part.exp() for part in parts(p, draws, level, log_z))
        inside = torch.sigmoid(-p.state.energy - log_z - level)
        outside = torch.sigmoid(-draws.energy - log_z - level)
        slope = own @ (1 - inside) + seen @ (1 - outside)
        excess = own.sum() + seen.sum() - 1
        log_z = log_z + (excess / slope.clamp(min=SHARE)).clamp(-1, 1)
    return log_z


def parts(p: Particles, draws: Draws, level: Tensor, log_z: Tensor) -> tuple[Tensor, Tensor]:
    """``log w α`` of the particles and ``log (1-α) p/(M r)`` of draws, with ``c = e^level``."""
    inside, outside = -p.state.energy - log_z, -draws.energy - log_z
    own = p.log_weight.log_softmax(0) + logsigmoid(inside - level)
    ratio = outside - draws.log_density - math.log(len(draws.x))
    return own, ratio + logsigmoid(level - outside)
