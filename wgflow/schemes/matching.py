"""Energy matching: the transport phase, free of simulation (after Balcerak et al. 2025).

Far from the data the Wasserstein gradient flow of the relative entropy is optimal transport. Its
straight paths from noise to data are known without simulating anything, so the potential V = εE
is regressed on them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import per_point, sum_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.flows.path import StraightPaths
from wgflow.schemes.base import Loss, Scheme


class Paths(NamedTuple):
    """What energy matching carries: the data at which its paths end, (batch, *event)."""

    batch: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class EnergyMatching(Scheme[Paths]):
    """``L(θ) = E|ε∇E_θ(x_t) - c(t)(x_0 - x_1)|²`` along ``x_t = (1-t) x_0 + t x_1``.

    Noise ``x_0 ~ N(0, s²I)`` is coupled to the data ``x_1`` of the batch by optimal transport, and
    t is uniform. The speed is ``c(t) = min(1, (1-t)/(1-t*))``. With the cutoff ``t* = 1`` it is
    constant, and V goes on falling beyond the data: not a density. With ``t* < 1`` the data are
    where the paths end: near one of them V is ``|x - x_1|²/(2(1-t*))``, in which Langevin
    dynamics at temperature ε spreads to ``σ = √(ε(1-t*))`` per coordinate.

    Args:
        temperature: ε of the energy, in squared units of x.
        cutoff: t* in (0, 1].
        noise: s, in units of x.
        coupled: whether noise and data are coupled by optimal transport, or independent.
        inner_steps: optimiser steps per learning step, each with fresh noise and times.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    temperature: float = 0.0125
    cutoff: float = 0.8
    noise: float = 1.0
    coupled: bool = True
    inner_steps: int = 1

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, cutoff=self.cutoff, noise=self.noise)
        check_positive(inner_steps=self.inner_steps)
        check_fraction(cutoff=self.cutoff)

    @property
    def path(self) -> StraightPaths:
        """Its own."""
        return StraightPaths(self.temperature, self.cutoff, self.noise)

    @property
    def carry_types(self) -> tuple[type, ...]:
        """The data of a step."""
        return (Paths,)

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Paths:
        """The first batch."""
        return Paths(batch, {})

    def loss(self, energy: Energy, carry: Paths, *, generator: Rng = None) -> Loss:
        """The regression, a mean over paths of squared lengths."""
        x1 = carry.batch
        x0 = self.noise * noise_like(x1, generator=generator)
        if self.coupled:
            x0 = x0[coupling(x1, x0)]
        t = torch.rand(len(x1), generator=generator, device=x1.device, dtype=x1.dtype)
        t = per_point(t, x1)
        _, grad = energy_and_grad(energy, x0.lerp(x1, t), create_graph=True)
        error = sum_event((self.temperature * grad - self.speed(t) * (x0 - x1)) ** 2)
        value = error.mean()
        return Loss(value, {"matching": value.detach() / x1[0].numel()})

    def advance(
        self, energy: Energy, batch: Tensor, carry: Paths, *, generator: Rng = None
    ) -> Paths:
        """The next batch."""
        return Paths(batch, {})

    def speed(self, t: Tensor) -> Tensor:
        """``c(t)``, 1 until the cutoff, then down to 0 at t = 1."""
        if self.cutoff == 1:
            return torch.ones_like(t)
        return ((1 - t) / (1 - self.cutoff)).clamp(max=1)


def coupling(x: Tensor, y: Tensor) -> Tensor:
    """The permutation π that minimises ``Σ_i |x_i - y_π(i)|²``, exactly."""
    import ot  # a second, which other schemes need not wait for

    cost = torch.cdist(x.flatten(1).double(), y.flatten(1).double()).square()
    plan = ot.emd([], [], cost.cpu().numpy())
    return torch.as_tensor(plan).argmax(1).to(x.device)
