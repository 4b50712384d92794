"""Noise-conditional energies: of the distribution of data at every level of Gaussian noise.

The heat flow ``p_σ = p * N(0, σ²I)`` is the Wasserstein gradient flow of the entropy: it leads any
distribution to a wide Gaussian. A noise-conditional energy ``E(x, λ)``, λ = log σ², is one
function of all distributions on the way. As a function of x alone it is that of the lowest level.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from wgflow._tensor import Points, Values, per_point
from wgflow.energies.base import energy_and_grad
from wgflow.energies.microbatch import full_batch, microbatched_like


@dataclass(frozen=True)
class NoiseLevels:
    """The noise levels σ at which an energy is known, in units of x.

    Args:
        lowest: that of the distribution that is learned; images have this noise.
        highest: where the distribution is a Gaussian for all purposes.

    Raises:
        ValueError: unless ``0 < lowest < highest``.
    """

    lowest: float = 0.05
    highest: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise ValueError(
                "`lowest` and `highest` must be 0 < lowest < highest and finite: "
                f"got {self.lowest} and {self.highest}."
            )

    def grid(self, steps: int, power: float = 7.0) -> list[float]:
        """``steps + 1`` levels from the highest to the lowest, ``σ^{1/power}`` in equal steps.

        Those of Karras et al. (2022), who put more of them where there is little noise.
        """
        a, b = self.highest ** (1 / power), self.lowest ** (1 / power)
        inner = [(a + (b - a) * k / steps) ** power for k in range(1, steps)]
        return [self.highest, *inner, self.lowest]

    def ladder(self, steps: int) -> list[float]:
        """``steps + 1`` levels from the highest to the lowest, in equal ratios."""
        ratio = self.lowest / self.highest
        inner = [self.highest * ratio ** (k / steps) for k in range(1, steps)]
        return [self.highest, *inner, self.lowest]


@runtime_checkable
class NoiseConditionalEnergy(Protocol):
    """``E(x, λ)`` of points and levels λ = log σ², (batch,); without a level, of the lowest."""

    levels: NoiseLevels

    def __call__(self, x: Points, level: Values | None = None) -> Values:
        """``E(x, λ)``, (batch,)."""
        ...


class At(nn.Module):
    """The energy of one level: ``x -> E(x, log σ²)``.

    Args:
        energy: E of x and the level.
        sigma: σ > 0; a tensor has one for each point.
    """

    def __init__(self, energy: Any, sigma: float | Tensor) -> None:
        super().__init__()
        self.energy = energy
        self.sigma = sigma

    def forward(self, x: Points) -> Values:
        """``E(x, log σ²)``."""
        sigma = torch.as_tensor(self.sigma, dtype=x.dtype, device=x.device)
        return self.energy(x, 2 * sigma.log().expand(len(x)))


def at_level(energy: Any, sigma: float | Tensor) -> Any:
    """The energy of one level, in as many microbatches as the energy of all."""
    return microbatched_like(energy, At(full_batch(energy), sigma), learned=True)


def derivatives(
    energy: Any, x: Points, level: Values, *, create_graph: bool = False
) -> tuple[Values, Points, Values]:
    """``E(x, λ)``, ``∇E`` of the shape of x, and ``∂E/∂λ``, (batch,), by one gradient.

    The level is one more coordinate of the point. With ``create_graph`` all stay in the graph of
    the parameters.
    """
    shape = x.shape[1:]

    def extended(z: Tensor) -> Tensor:
        return full_batch(energy)(z[:, :-1].reshape(-1, *shape), z[:, -1])

    function = microbatched_like(energy, extended, learned=True)
    z = torch.cat([x.flatten(1), level[:, None]], 1)
    value, grad = energy_and_grad(function, z, create_graph=create_graph)
    return value, grad[:, :-1].reshape(x.shape), grad[:, -1]


def denoised(energy: Any, x: Points, sigma: float | Tensor) -> Points:
    """``E[x_0 | x] = x - σ²∇E(x, log σ²)`` for ``x = x_0 + σξ`` (Miyasawa 1961).

    Args:
        energy: E of x and the level.
        x: points with noise, (batch, *event).
        sigma: σ; a tensor has one for each point.
    """
    _, grad = energy_and_grad(At(energy, sigma), x)
    variance = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).square()
    return x - per_point(variance, x) * grad


def levels_of(energy: Any) -> NoiseLevels:
    """The noise levels of a noise-conditional energy; ValueError for any other."""
    found = full_batch(energy)
    if not isinstance(found, NoiseConditionalEnergy):
        raise ValueError(
            "`energy` must be noise-conditional, with `levels`, such as energy.kind noisy-unet: "
            f"got {type(found).__name__}."
        )
    return found.levels
