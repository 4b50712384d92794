"""Distributions with exact draws that tests of samplers use, and no data set does."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import LOG_2PI, Dtype, Gaussian, GaussianMixture, Target


class Mustache(Target):
    """``x = (z_1, z_2 + (z_1² - 1)²)`` of a correlated ``z ~ N(0, [[1, ρ], [ρ, 1]])``, normalised.

    The map preserves area, so ``p(x) = N((x_1, x_2 - (x_1² - 1)²); 0, [[1, ρ], [ρ, 1]])``.
    Reference: Hertrich and Gruhlke, Importance corrected neural JKO sampling, ICML 2025.

    Args:
        correlation: ``-1 < ρ < 1``.
    """

    def __init__(self, correlation: float = 0.9) -> None:
        super().__init__(2)
        if not -1 < correlation < 1:
            raise ValueError(f"`correlation` must be between -1 and 1: got {correlation}.")
        self.straight = Gaussian([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])

    def energy(self, x: Points) -> Values:
        """``½ zᵀ C⁻¹ z + log Z`` with ``z = (x_1, x_2 - (x_1² - 1)²)``."""
        return self.straight.energy(_lifted(x, -1.0)) + self.straight.log_z

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """The map of draws of z."""
        return _lifted(self.straight.sample(n, dtype=dtype, generator=generator), 1.0)


class IsotropicMixture(Target):
    """``E(x) = -log Σ_k N(x; m_k, σ²I)/K``, normalised, by one product of matrices.

    Up to a constant it is ``|y|²/2σ² - log Σ_k exp((y·n_k - |n_k|²/2)/σ²)`` with y and ``n_k``
    the point and the means relative to the mean of the means, so that single precision
    suffices. It takes memory for n K numbers and not, as `GaussianMixture`, for n K d.

    Args:
        means: ``m_k``, shape (K, d).
        std: ``σ``.
    """

    means: Tensor
    center: Tensor

    def __init__(self, means: Tensor | Sequence, std: float) -> None:
        general = GaussianMixture(means, std)
        super().__init__(general.dim)
        self.std = std
        self.register_buffer("means", general.means)
        self.register_buffer("center", general.means.mean(0))

    def energy(self, x: Points) -> Values:
        """``-log Σ_k N(x; m_k, σ²I)/K``."""
        variance = self.std**2
        means = self.means - self.center
        heights = (-means.square().sum(1) / (2 * variance)).to(x.dtype)
        y = x - self.center.to(x.dtype)
        near = torch.addmm(heights, y, (means / variance).to(x.dtype).T).logsumexp(1)
        log_norm = math.log(len(means)) + self.dim * (0.5 * LOG_2PI + math.log(self.std))
        return y.square().sum(1) / (2 * variance) - near + log_norm

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = m_k + σ z`` with k uniform."""
        device = self.origin.device
        k = torch.randint(len(self.means), (n,), device=device, generator=generator)
        z = self._noise(n, dtype, generator)
        return self.means.to(z.dtype)[k] + self.std * z


def random_gaussian(dim: int, condition: float = 100.0, *, generator: Rng = None) -> Gaussian:
    """A Gaussian with mean ``N(0, I)`` and axes in uniform directions.

    Args:
        dim: ``d``.
        condition: the largest over the smallest variance; their logarithms are equally spaced
            around zero.
        generator: source of randomness.
    """
    check_positive(dim=dim, condition=condition)
    mean, noise = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((dim,), (dim, dim))
    )
    axes = torch.linalg.qr(noise).Q
    half = 0.5 * math.log(condition)
    variances = torch.linspace(-half, half, dim, dtype=torch.float64).exp()
    covariance = axes * variances @ axes.T
    return Gaussian(mean, (covariance + covariance.T) / 2)


def _lifted(x: Points, sign: float) -> Points:
    """``x_2 ± (x_1² - 1)²`` in place of ``x_2``."""
    return torch.stack([x[:, 0], x[:, 1] + sign * (x[:, 0].square() - 1).square()], 1)
