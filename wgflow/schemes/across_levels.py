"""A scheme with particles, on the joint space of points and noise levels."""

from dataclasses import dataclass, field

from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow.energies.base import Energy
from wgflow.energies.joint_space import JointSpace
from wgflow.energies.microbatch import full_batch, microbatched_like
from wgflow.samplers.levels import joint_space
from wgflow.schemes.base import Loss, Populations, Scheme
from wgflow.schemes.dynamics import Carry, ParticleScheme
from wgflow.schemes.fresh import FromReference
from wgflow.schemes.proximal import NearProximal


def _default() -> NearProximal:
    return NearProximal(dynamics=FromReference(), h=1e-3)


@dataclass(frozen=True)
class AcrossLevels(Scheme[Carry]):
    """The scheme on ``F = E_π KL(p_λ‖p_θ(·|λ)) + KL`` of the levels' masses: one global entropy.

    Data x_0 with noise of levels λ ~ π are the data of the joint space; the particles are points
    with a level each, and travel between levels. The loss is that of the scheme word for word,
    with the level as one more coordinate of the point.

    Args:
        scheme: near-proximal by default, with particles from the reference; a population whose
            sampler is `wgflow.samplers.levels.Travel` is another.
        power: p of `wgflow.energies.joint_space.JointSpace`; larger for more of the lowest levels.
        inner_steps: optimiser steps per learning step, in place of those of the scheme.

    Raises:
        ValueError: when a setting is not positive.
    """

    scheme: ParticleScheme = field(default_factory=_default)
    power: float = 2.0
    inner_steps: int = 2

    def __post_init__(self) -> None:
        check_positive(power=self.power, inner_steps=self.inner_steps)

    @property
    def carry_types(self) -> tuple[type, ...]:
        """Those of the scheme."""
        return self.scheme.carry_types

    @property
    def adds_noise(self) -> bool:
        """It does."""
        return True

    @property
    def learns_levels(self) -> bool:
        """It does."""
        return True

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """The first particles, of all levels."""
        space = self.space(energy, batch)
        noisy = joint_space(space).noisy(batch, generator=generator)
        return self.scheme.init(space, noisy, generator=generator)._replace(origins=batch)

    def loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """That of the scheme."""
        return self.scheme.loss(self.space(energy, carry.origins), carry, generator=generator)

    def first_loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """That of the scheme."""
        space = self.space(energy, carry.origins)
        return self.scheme.first_loss(space, carry, generator=generator)

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
        """The carry of the next learning step."""
        space = self.space(energy, batch)
        noisy = joint_space(space).noisy(batch, generator=generator)
        after = self.scheme.advance(space, noisy, carry, generator=generator)
        return after._replace(origins=batch)

    def trusted(self, loss: Loss) -> bool:
        """Whether the scheme trusts it."""
        return self.scheme.trusted(loss)

    def populations(self, carry: Carry) -> Populations:
        """None: those of the joint space are no points of the data."""
        return None, None

    def space(self, energy: Energy, x: Tensor | None) -> Energy:
        """The energy on the joint space of points like those of x."""
        assert x is not None, "the carry of a joint space has its data"
        space = JointSpace(full_batch(energy), tuple(x.shape[1:]), self.power)
        return microbatched_like(energy, space, learned=True)
