"""The joint space of points and noise levels: the level is one more coordinate of the point."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Values, per_point
from wgflow.energies.microbatch import full_batch
from wgflow.energies.noise_levels import levels_of


class JointSpace(nn.Module):
    """``E(z) = E(x, λ(t))`` of ``z = (x, t)``, x flattened, and t uniform on [0, 1].

    ``λ(t) = λ_min + (λ_max - λ_min) t^p`` is the level; it has the density π, ``dt/dλ``, so that
    the distribution of z is ``π(λ) p_λ(x)`` if E is normalised at every level. Its normaliser is
    one for all levels. Outside of [0, 1] E is infinite. With p > 1 low levels are more probable.

    Args:
        energy: noise-conditional, with the `reference` of `wgflow.energies.noise_mlp.NoiseMLP`.
        event_shape: of x.
        power: p > 0.
    """

    def __init__(self, energy: Any, event_shape: tuple[int, ...], power: float = 2.0) -> None:
        super().__init__()
        check_positive(power=power)
        self.energy, self.levels = energy, levels_of(energy)
        self.event_shape, self.power = event_shape, power

    def forward(self, z: Tensor) -> Values:
        """``E(z)``, (batch,)."""
        t = z[:, -1]
        inside = (t >= 0) & (t <= 1)
        value = self.energy(self.point(z), self.level(t.clamp(0, 1)))
        return torch.where(inside, value, torch.inf)

    def relative(self) -> "JointSpace":
        """The same with the energy relative to its start."""
        return JointSpace(self.energy.relative(), self.event_shape, self.power)

    def log_reference(self, z: Tensor) -> Values:
        """That of the energy, in z."""
        return full_batch(self.energy).log_reference(self.point(z), self.level(z[:, -1]))

    def point(self, z: Tensor) -> Tensor:
        """x, (batch, *event)."""
        return z[:, :-1].reshape(-1, *self.event_shape)

    def level(self, t: Values) -> Values:
        """``λ(t)``, (batch,)."""
        low, high = (2 * math.log(s) for s in (self.levels.lowest, self.levels.highest))
        return low + (high - low) * t**self.power

    def noisy(self, x: Tensor, *, generator: Rng = None) -> Tensor:
        """``(x + σξ, t)``: the data of the joint space, with t in equal strata, (batch, d+1)."""
        order = torch.randperm(len(x), generator=generator, device=x.device)
        jitter = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        t = (order + jitter) / len(x)
        sigma = (self.level(t) / 2).exp()
        y = x + per_point(sigma, x) * noise_like(x, generator=generator)
        return torch.cat([y.flatten(1), t[:, None]], 1)

    def redrawn(self, t: Values, *, generator: Rng = None) -> tuple[Tensor, Values]:
        """``(x, t)`` with x of the reference at the level of t, and the log-density of x."""
        like = t.new_empty(1, *self.event_shape)
        source = full_batch(self.energy)
        x, log_q = source.reference(like, len(t), self.level(t), generator=generator)
        return torch.cat([x.flatten(1), t[:, None]], 1), log_q

    def reference(
        self, like: Tensor, count: int, *, generator: Rng = None
    ) -> tuple[Tensor, Values]:
        """``count`` draws of the reference, in equal strata of t, and their log-density."""
        jitter = torch.rand(count, generator=generator, device=like.device, dtype=like.dtype)
        t = (torch.arange(count, device=like.device) + jitter) / count
        return self.redrawn(t, generator=generator)
