"""Conditional energies: given some coordinates, a noisy observation, or a class."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._tensor import Points, Values, per_point, sum_event
from wgflow.energies.base import Energy

LogProb = Callable[[Tensor], Tensor]
"""Points (batch, *event) to ``log p(c|x)``, (batch, classes)."""


class Conditioned(nn.Module):
    """Conditioning: ``E(v | x) = E(x with its hidden coordinates replaced by v)``.

    ``exp(-E(v | x))`` is the conditional law of the hidden coordinates up to a constant, exactly.
    It is bound to its points: row i of v belongs to row i of x.

    Args:
        energy: E.
        x: points whose other coordinates are known, (batch, *event).
        mask: True where a coordinate is hidden, (*event,), bool.

    Raises:
        ValueError: unless the mask is of bools, of the shape of a point, and hides something.
    """

    known: Tensor
    index: Tensor

    def __init__(self, energy: Energy, x: Points, mask: Tensor):
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
        return self.known.flatten(1).index_copy(1, self.index, v).reshape(self.known.shape)

    def hidden(self, x: Points) -> Tensor:
        """The coordinates of x that are hidden, (batch, hidden)."""
        return x.flatten(1)[:, self.index]


class Observed(nn.Module):
    """Bayes: ``E(x | y) = E(x) + |y - x|²/(2σ²)``, for y = x plus noise N(0, σ²I).

    It is bound to its observations: row i of x belongs to row i of y.

    Args:
        energy: E, of the prior.
        y: what was observed, (batch, *event).
        sigma: σ > 0, in the units of y; a tensor broadcasts over events.

    Raises:
        ValueError: unless σ is positive.
    """

    y: Tensor
    sigma: Tensor

    def __init__(self, energy: Energy, y: Points, sigma: float | Tensor):
        super().__init__()
        self.energy = energy
        self.register_buffer("y", y.detach())
        self.register_buffer("sigma", torch.as_tensor(sigma, dtype=y.dtype, device=y.device))
        if not (self.sigma > 0).all():
            smallest = float(self.sigma.min())
            raise ValueError(f"Noise must have a scale: expected sigma > 0, got {smallest}.")

    def forward(self, x: Points) -> Values:
        """``E(x) + |y - x|²/(2σ²)``."""
        return self.energy(x) + sum_event(((self.y - x) / self.sigma) ** 2) / 2


class Conditional(nn.Module):
    """Bayes' rule: ``E_c(x) = E(x) - g log p(c|x)``, that is ``p(x|c) ∝ p(x) p(c|x)^g``.

    Exact with g = 1. With g > 1 it is another law, sharper: further from the other classes and
    less varied.

    A sampler at temperature one draws from it as it stands. Along paths from noise it is not
    enough: there ``dx/dt = -ε∇E`` moves by order one, beside which ``ε∇log p(c|x)`` is nothing.
    For paths ``x_t = (1-t) s ξ + t x_1``, with ξ independent of ``x_1`` and p of the law of
    ``x_t``, the velocity is ``x/t + s²(1-t)/t ∇log p(x)``, so that of class c has the extra term
    ``s²(1-t)/t ∇log p(c|x)``. In E_c it is a guidance that falls along the path,

        ``g(t) = s²(1-t)/(εt)``,

    80 half-way when ε = 0.0125, with a classifier that knows the noise of time t. Paths coupled
    by optimal transport are not independent of their noise, which then decides part of the class,
    and this g(t) is too small for them. Of an energy of levels of noise g = 1 is exact at every
    level, with a classifier that knows the noise of paths, which sees ``x/(1+σ)``.

    Args:
        energy: E.
        log_prob: ``log p(c|x)`` of all classes.
        label: c.
        guidance: g > 0.

    Raises:
        ValueError: when the guidance is not positive.
    """

    def __init__(self, energy: Energy, log_prob: LogProb, label: int, guidance: float = 1.0):
        super().__init__()
        check_positive(guidance=guidance)
        self.energy = energy
        self.log_prob = log_prob
        self.label, self.guidance = label, guidance

    def forward(self, x: Points, *level: Values) -> Values:
        """``E(x) - g log p(c|x)``; ValueError when there is no such class."""
        seen = x
        for each in level:
            seen = x / (1 + per_point((each / 2).exp(), x))
        p = self.log_prob(seen)
        check_labels([self.label], p.shape[1])
        return self.energy(x, *level) - self.guidance * p[:, self.label]


def check_mask(mask: Tensor, x: Points) -> None:
    """Raise ValueError unless it is of bools, of the shape of a point, and hides something."""
    if mask.dtype != torch.bool or mask.shape != x.shape[1:]:
        raise ValueError(
            "A mask says of each coordinate whether it is hidden: expected bools of shape "
            f"{tuple(x.shape[1:])}, got {mask.dtype} of shape {tuple(mask.shape)}."
        )
    if not mask.any():
        raise ValueError("A mask hides something: expected at least one True, got none.")


def check_labels(labels: Sequence[int], classes: int) -> None:
    """Raise ValueError unless the labels are some of ``classes`` classes, each once."""
    known = set(range(classes))
    if not known.issuperset(labels) or len(set(labels)) < len(labels):
        raise ValueError(
            f"Classes are counted from 0, and each is asked for once: expected some of 0 to "
            f"{classes - 1}, got {', '.join(map(str, labels))}."
        )
