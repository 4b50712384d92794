"""Detailed balance along the heat flow: wide levels correct the lowest where long chains go."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from wgflow._check import check_positive
from wgflow._random import Rng, noise_like
from wgflow.energies.base import Energy
from wgflow.energies.noise_levels import NoiseLevels, at_level, levels_of
from wgflow.flows.heat import ancestral_posterior
from wgflow.flows.log_z import log_normal
from wgflow.samplers import ULA
from wgflow.schemes.base import Loss
from wgflow.schemes.dynamics import Carry, Dynamics, ParticleScheme
from wgflow.schemes.short_run import FromData


@dataclass(frozen=True)
class DetailedBalance(ParticleScheme):
    """``L(θ) = E huber_δ(r_θ(x_i) - r_θ(d_i))``, chains x_i and the data d_i that they left.

    Between neighbouring levels a < b the heat flow and its reversal are in balance,

        p_a(x) N(y; x, (b²-a²)I) = p_b(y) q(x|y),

    with q the step of `wgflow.flows.heat.ancestral_sampling` from b to a, nearly. So the residual

        r_θ(x) = E_θ(x, a) - [E(y, b) - log q(x|y) + log N(y; x, b²-a²)],     y = x + √(b²-a²) ξ,

    is the same for all x, up to the error of q, which is about the same for a chain as for a
    point of the data. Where score matching has seen no points, such as in a mode beside the data
    that long chains of the lowest level end in, E at narrow levels may be anything. At wide ones
    such points are among those of the data again, and E is known. The bracket is held constant,
    so that the energy of wide levels comes down, a ratio of levels after the other, and lifts the
    mode to its right height and no further.

    Args:
        dynamics: the chains, at the lowest level.
        highest: greatest a; each learning step has its own, uniform in log a from the lowest.
        ratio: greatest b/a > 1, likewise uniform in its logarithm, and at least a third of it.
        delta: δ in nats: a residual counts linearly beyond.
        inner_steps: optimiser steps per learning step.

    Raises:
        ValueError: when a hyper-parameter is out of its range, or the dynamics start without the
            noise of the lowest level.
    """

    dynamics: Dynamics = field(default_factory=lambda: FromData(life=100, noisy=True))
    highest: float = 0.4
    ratio: float = 1.3
    delta: float = 20.0
    inner_steps: int = 1

    def __post_init__(self) -> None:
        check_positive(highest=self.highest, delta=self.delta, inner_steps=self.inner_steps)
        if not 1 < self.ratio < math.inf:
            raise ValueError(f"`ratio` must be > 1 and finite: got {self.ratio}.")
        if not self.dynamics.adds_noise:
            raise ValueError(
                "`dynamics` must start at data and add the noise, such as from-data with noisy = "
                f"true: got {type(self.dynamics).__name__}."
            )

    def loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """The mean over pairs of a chain and the point it started from, at one pair of levels."""
        assert carry.origins is not None
        levels, count = levels_of(energy), len(carry.origins)
        a, b = self.draw(levels, carry.origins, generator)
        lifted = math.sqrt(a**2 - levels.lowest**2)
        x = torch.cat([noised(carry.origins, a, generator), carry.particles.x])
        x = torch.cat([x[:count], noised(x[count:], lifted, generator)])
        data, chains = residuals(energy, x, a, b, generator).split(count)
        difference = chains - data
        value = F.huber_loss(difference, torch.zeros_like(difference), delta=self.delta)
        metrics = {"imbalance": difference.detach().mean(), "imbalance_data": data.detach().mean()}
        return Loss(value, metrics)

    def draw(self, levels: NoiseLevels, like: Tensor, generator: Rng) -> tuple[float, float]:
        """a and b."""
        u, v = torch.rand(2, generator=generator, device=like.device, dtype=torch.float64).tolist()
        highest = max(self.highest, levels.lowest)
        a = levels.lowest * (highest / levels.lowest) ** u
        return a, a * self.ratio ** ((1 + 2 * v) / 3)


def residuals(energy: Energy, x: Tensor, a: float, b: float, generator: Rng = None) -> Tensor:
    """``r(x)`` of `DetailedBalance`, (batch,), in the graph of ``E(x, a)`` alone."""
    y = noised(x, math.sqrt(b**2 - a**2), generator)
    above = ULA().init(at_level(energy, b), y)
    mean, variance = ancestral_posterior(above, b, a)
    balance = above.energy.double() - log_normal(x - mean, variance)
    balance = balance + log_normal(y - x, b**2 - a**2)
    return at_level(energy, a)(x) - balance.to(x)


def noised(x: Tensor, sigma: float, generator: Rng) -> Tensor:
    """``x + σξ``."""
    return x + sigma * noise_like(x, generator=generator)
