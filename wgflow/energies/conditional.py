"""Conditional distributions of an energy, as energies: by known coordinates, by noisy
observations, and by a class.

An energy that was trained without any conditioning gives all three by Bayes' rule, up to a
constant in what is known.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._tensor import Points, Values, per_point, sum_event
from wgflow.energies.base import Energy, energy_at

LogProb = Callable[[Tensor], Tensor]
"""Points (batch, *event) to ``log p(c|x)``, (batch, classes)."""


class Conditioned(nn.Module):
    """Known coordinates: ``E(v | x) = E(x with its hidden coordinates replaced by v)``.

    Exact up to a constant. Row i of v belongs to row i of x, and any row to an only one.

    Args:
        energy: E.
        x: points whose other coordinates are known, (batch, *event), or one, (1, *event).
        mask: True where a coordinate is hidden, (*event,), bool.

    Raises:
        ValueError: unless the mask is of bools, of the shape of a point, and hides something.
    """

    known: Tensor
    index: Tensor

    def __init__(self, energy: Energy, x: Points, mask: Tensor) -> None:
        super().__init__()
        check_mask(mask, x)
        self.energy = energy
        self.register_buffer("known", x.detach())
        self.register_buffer("index", mask.flatten().nonzero().squeeze(1).to(x.device))

    def forward(self, v: Tensor) -> Values:
        """``E(v | x)`` of hidden coordinates v, (batch, hidden) -> (batch,)."""
        return self.energy(self.complete(v))

    def complete(self, v: Tensor) -> Points:
        """The points with v in their hidden coordinates, (batch, *event)."""
        known = self.known.expand(len(v), *self.known.shape[1:])
        return known.flatten(1).index_copy(1, self.index, v).reshape(known.shape)

    def hidden(self, x: Points) -> Tensor:
        """The coordinates of x that are hidden, (batch, hidden)."""
        return x.flatten(1)[:, self.index]


class Observed(nn.Module):
    """Noisy observations: ``E(x | y) = E(x) + |y - x|²/(2σ²)``, for y = x plus noise N(0, σ²I).

    Row i of x belongs to row i of y.

    Args:
        energy: E, of the prior.
        y: what was observed, (batch, *event).
        sigma: σ > 0, in the units of y; a tensor broadcasts over events.

    Raises:
        ValueError: unless σ is positive.
    """

    y: Tensor
    sigma: Tensor

    def __init__(self, energy: Energy, y: Points, sigma: float | Tensor) -> None:
        super().__init__()
        self.energy = energy
        self.register_buffer("y", y.detach())
        self.register_buffer("sigma", torch.as_tensor(sigma, dtype=y.dtype, device=y.device))
        check_positive(sigma=float(self.sigma.min()))

    def forward(self, x: Points) -> Values:
        """``E(x) + |y - x|²/(2σ²)``."""
        return self.energy(x) + sum_event(((self.y - x) / self.sigma) ** 2) / 2


class Conditional(nn.Module):
    """A class: ``E_c(x) = E(x) - g log p(c|x)``, that is ``p(x|c) ∝ p(x) p(c|x)^g``.

    Bayes' rule with guidance scale g = 1. With g > 1 the distribution is sharper: further from
    the other classes and less varied.

    A sampler at temperature one draws from it as it stands. Along paths from noise it is not
    enough: there ``dx/dt = -ε∇E`` moves by order one, and ``ε∇log p(c|x)`` is negligible.
    For paths ``x_t = (1-t) s ξ + t x_1``, with ξ independent of ``x_1`` and p the density of
    ``x_t``, the velocity is ``x/t + s²(1-t)/t ∇log p(x)``, so that of class c has the extra term
    ``s²(1-t)/t ∇log p(c|x)``. In E_c it is a guidance scale that falls along the path,

        ``g(t) = s²(1-t)/(εt)``,

    80 half-way when ε = 0.0125, with a classifier that knows the noise of time t. Paths coupled
    by optimal transport are not independent of their noise, which then decides part of the class,
    and this g(t) is too small for them. For a noise-conditional energy g = 1 is exact at every
    level, with a classifier of noisy points, which is given ``x/(1+σ)``.

    Args:
        energy: E, noise-conditional if a level is to be given.
        log_prob: ``log p(c|x)`` of all classes.
        label: c.
        guidance: g > 0.

    Raises:
        ValueError: when the guidance is not positive.
    """

    def __init__(
        self, energy: Energy, log_prob: LogProb, label: int, guidance: float = 1.0
    ) -> None:
        super().__init__()
        check_positive(guidance=guidance)
        self.energy, self.log_prob = energy, log_prob
        self.label, self.guidance = label, guidance

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x) - g log p(c|x)``; ValueError when there is no such class."""
        scaled = x if level is None else x / (1 + per_point((level / 2).exp(), x))
        log_p = self.log_prob(scaled)
        check_labels([self.label], log_p.shape[1])
        return energy_at(self.energy, x, level) - self.guidance * log_p[:, self.label]


def check_mask(mask: Tensor, x: Points) -> None:
    """Raise ValueError unless it is of bools, of the shape of a point, and hides something."""
    if mask.dtype != torch.bool or mask.shape != x.shape[1:]:
        raise ValueError(
            f"`mask` must be of bools of shape {tuple(x.shape[1:])}, True where a coordinate is "
            f"hidden: got {mask.dtype} of shape {tuple(mask.shape)}."
        )
    if not mask.any():
        raise ValueError("`mask` must hide at least one coordinate: got none that is True.")


def check_labels(labels: Sequence[int], classes: int) -> None:
    """Raise ValueError unless the labels are some of ``classes`` classes, each once."""
    if not set(range(classes)).issuperset(labels) or len(set(labels)) < len(labels):
        raise ValueError(
            f"`labels` must be different classes from 0 to {classes - 1}: "
            f"got {', '.join(map(str, labels))}."
        )
