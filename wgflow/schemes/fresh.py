"""Particles made anew at every learning step, from the reference of the energy."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.energies.base import Energy, Tilted
from wgflow.energies.microbatch import full_batch, microbatched_like
from wgflow.samplers.base import take
from wgflow.samplers.particles import Particles, systematic_indices
from wgflow.schemes.base import divided
from wgflow.schemes.dynamics import Carry, Dynamics, starting_points, values_at
from wgflow.schemes.population import new_seed, own_stream


class Drawn(NamedTuple):
    """Particles that do not move: they need no gradient.

    Attributes:
        x: (batch, *event).
        energy: ``E_k`` there, (batch,).
    """

    x: Points
    energy: Values


@dataclass(frozen=True)
class FromReference(Dynamics):
    """Draws of the reference q, resampled by their weights ``A = -E(x) - log q(x)``.

    For energies that start from a distribution near the data, as of
    `wgflow.energies.noise_mlp.NoiseMLP`: weights stay even while ``E + log q`` is small, and where
    they do not, what a draw costs is an energy, while a particle costs gradients (sampling
    importance resampling, Rubin 1988). As many particles as data have as much noise as these.
    Particles that never trained cannot be told from those that did, so the energy is not pushed up
    where they are, their modes have no history to drift, and ``log mean e^A`` is an unbiased Z at
    every step.

    Args:
        size: number of particles that train.
        draws: of q, of which they are resampled; where these are not more than ``size``, particles
            are ``size`` draws themselves, with their weights.
        held_out: number of particles that never enter a gradient, 0 for none.
        held_out_every: learning steps between two draws of those.

    Raises:
        ValueError: when a count is out of its range.
    """

    size: int = divided(1024)
    draws: int = divided(16_384)
    held_out: int = divided(4096)
    held_out_every: int = 10

    def __post_init__(self) -> None:
        check_positive(size=self.size, held_out_every=self.held_out_every)
        check_nonnegative(draws=self.draws, held_out=self.held_out)

    @property
    def state_types(self) -> tuple[type, ...]:
        """Points and energies."""
        return (Drawn,)

    @property
    def is_weighted(self) -> bool:
        """They are."""
        return True

    @property
    def keeps_population(self) -> bool:
        """They are made anew."""
        return False

    def measured(self, energy: Energy) -> Energy:
        """``E + log q``, of an energy with a reference q."""
        source = full_batch(energy)
        if not isinstance(source, Tilted):
            raise ValueError(
                "`energy` must have a reference for particles drawn from it, as energy.kind "
                f"noise-mlp: got {type(source).__name__}."
            )
        return microbatched_like(energy, source.relative(), learned=True)

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The first draws."""
        energy = self.measured(energy)
        seed, done = new_seed(generator), torch.zeros((), dtype=torch.int64)
        train, metrics = self.trained(energy, batch, generator)
        own = own_stream(seed, done, batch.device)
        held_out = self.draw(energy, batch, self.held_out, own)[0] if self.held_out else None
        return Carry(batch, values_at(energy, batch), train, held_out, done, seed, {}, metrics)

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """Other draws, with weights of the new energy."""
        energy = self.measured(energy)
        done = carry.done + 1
        train, metrics = self.trained(energy, batch, generator)
        held_out = carry.held_out
        if held_out is not None and int(done) % self.held_out_every == 0:
            own = own_stream(carry.seed, done, batch.device)
            held_out, shown = self.draw(energy, batch, self.held_out, own)
            shown["log_z"] = held_out.log_z
            metrics |= {f"held_out_{name}": value for name, value in shown.items()}
        values = values_at(energy, batch)
        return Carry(batch, values, train, held_out, done, carry.seed, {}, metrics)

    def time(self, carry: Carry) -> float:
        """0: they stay where they are drawn."""
        return 0.0

    def trained(
        self, energy: Energy, like: Tensor, generator: Rng
    ) -> tuple[Particles, dict[str, Tensor]]:
        """Particles that train, and what became of the draws."""
        p, metrics = self.draw(energy, like, max(self.size, self.draws), generator)
        if self.draws <= self.size:
            return p, metrics
        index = systematic_indices(p.log_weight, self.size, generator=generator)
        log_weight = p.log_z.to(p.log_weight).repeat(self.size)
        return Particles(take(p.state, index), log_weight, torch.zeros_like(p.banked)), metrics

    def draw(
        self, energy: Energy, like: Tensor, count: int, generator: Rng
    ) -> tuple[Particles, dict[str, Tensor]]:
        """``count`` particles, and what became of them."""
        x, log_q = starting_points(energy, like, count, 1.0, generator=generator)
        state = Drawn(x, values_at(energy, x))
        p = Particles(state, -state.energy - log_q, log_q.new_zeros((), dtype=torch.float64))
        return p, {"reference_ess": p.effective_fraction}
