"""The Langevin diffusion at a given time: the Wasserstein gradient flow itself, by particles.

``dX = -∇V dt + √2 dW`` has the law ρ_t of the flow of ``KL(ρ‖e^{-V}/Z)``. A Metropolis test keeps
the end of the flow exact and loses its clock; here there is none, and the clock is kept.
"""

import math

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Points
from wgflow.energies.base import Energy, energy_and_grad


def diffuse(
    energy: Energy,
    x: Points,
    time: float,
    step: float = 0.02,
    *,
    matched: bool = False,
    generator: Rng = None,
) -> Points:
    """Particles a time t after x, by steps of `heun`, of equal size and at most ``step``.

    Means over particles are within O(step²) of those of the flow. A step is stable where
    ``step · λ < 2`` for the eigenvalues λ of the Hessian of V.

    Args:
        energy: V, (batch, d) -> (batch,).
        x: where the particles are now, (batch, d).
        time: t ≥ 0, in squared units of x.
        step: > 0, in the same units.
        matched: whether noise is `uncorrelated` with the particles. Where ∇V is linear, their
            first two moments then follow the flow without an error of sampling.
        generator: source of randomness.

    Raises:
        ValueError: when a number is out of its range, or particles are too few to match.
    """
    check_nonnegative(time=time)
    check_positive(step=step)
    steps = math.ceil(time / step * (1 - 1e-12))  # 1/.1 steps of .1 are 10 in spite of rounding
    for _ in range(steps):
        noise = noise_like(x, generator=generator)
        x = heun(energy, x, uncorrelated(noise, x) if matched else noise, time / steps)
    return x


def uncorrelated(noise: Tensor, x: Points) -> Tensor:
    """Noise with the mean 0 and the covariance I, and none with x, exactly over the particles.

    It is the residual of a regression on x and a constant, whitened: moment matching (Barraquand
    1995). Each particle's noise is standard Gaussian up to O(1/n), and depends on the others by
    as much.

    Args:
        noise: independent standard Gaussian, (n, d).
        x: particles, (n, k), or (n, 0) for none.

    Raises:
        ValueError: for fewer particles than ``d + k + 2``.
    """
    n, d = noise.shape
    if n < d + x.shape[1] + 2:
        raise ValueError(f"`x` must have at least d + k + 2 particles: got {n} in {d} dimensions.")
    basis = torch.linalg.qr(torch.cat([x.new_ones(n, 1), x - x.mean(0)], 1)).Q
    rest = noise - basis @ (basis.T @ noise)
    root = torch.linalg.cholesky(rest.T @ rest / n)
    return torch.linalg.solve_triangular(root, rest.T, upper=False).T


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
