"""The Langevin diffusion at a given time: the Wasserstein gradient flow itself, by particles.

``dX = -∇V dt + √2 dW`` has the law ρ_t of the flow of ``KL(ρ‖e^{-V}/Z)``. A Metropolis test keeps
the end of the flow exact and loses its clock; here there is none, and the clock is kept.
"""

import math

from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points
from wgflow.energies.base import Energy, energy_and_grad


def diffuse(
    energy: Energy, x: Points, time: float, step: float = 0.02, *, generator: Rng = None
) -> Points:
    """Particles a time t after x, by steps of `heun`, of equal size and at most ``step``.

    Means over particles are within O(step²) of those of the flow. A step is stable where
    ``step · λ < 2`` for the eigenvalues λ of the Hessian of V.

    Args:
        energy: V, (batch, d) -> (batch,).
        x: where the particles are now, (batch, d).
        time: t ≥ 0, in squared units of x.
        step: > 0, in the same units.

    Raises:
        ValueError: when a number is out of its range.
    """
    check_nonnegative(time=time)
    check_positive(step=step)
    steps = math.ceil(time / step * (1 - 1e-12))  # 1/.1 steps of .1 are 10 in spite of rounding
    for _ in range(steps):
        x = heun(energy, x, noise_like(x, generator=generator), time / steps)
    return x


def heun(energy: Energy, x: Points, noise: Tensor, step: float) -> Points:
    """One step of the stochastic Heun scheme, of weak order 2 for noise that is additive.

    ``y = x - ε∇V(x) + √(2ε) ξ`` and ``x' = x - ε(∇V(x) + ∇V(y))/2 + √(2ε) ξ``, with the same ξ
    (Kloeden and Platen 1992, section 15.1). It takes two gradients; Euler's one is of order 1.

    Args:
        energy: V, (batch, d) -> (batch,).
        x: particles, (batch, d).
        noise: ξ, standard Gaussian, of the shape of x.
        step: ε > 0.
    """
    kick = math.sqrt(2 * step) * noise
    _, before = energy_and_grad(energy, x)
    _, after = energy_and_grad(energy, x - step * before + kick)
    return x - step / 2 * (before + after) + kick
