"""Flows whose law is known: Ornstein-Uhlenbeck at every time, a mixture at the end."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.flow_learners import Density
from wgflow.data.targets import Gaussian, GaussianMixture, Target
from wgflow.likelihood.gaussian import GaussianLaw, gaussian_kl, heun_law, ou_law

MASSES = 50_000
"""Draws for the divergence of masses; its weights are bounded."""

SPREAD = 2.0
"""Standard deviations of the Gaussian are between its inverse and this."""


def density(target: Target) -> Density:
    """A known distribution as the score wants it."""

    def sample(count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return target.sample(count, dtype=torch.float64, generator=generator)

    return Density(target.log_prob, sample)


@dataclass(frozen=True, eq=False)
class Problem(ABC):
    """From where the flow starts, and where it goes.

    Args:
        start: of the particles.
        target: its energy is V.
    """

    dims: ClassVar[tuple[int, ...]]
    times: ClassVar[tuple[float, ...]]

    start: Gaussian
    target: Target

    @abstractmethod
    def law(self, t: float) -> Density:
        """What the learned density at a time is compared with."""

    @abstractmethod
    def beside(self, x: Tensor, t: float, step: float) -> dict[str, float]:
        """What is printed beside the score, of the particles (n, d) at a time."""


class OrnsteinUhlenbeck(Problem):
    """``N(0, I)`` to ``N(b, QDQᵀ)``: b standard Gaussian, Q uniform, log D uniform."""

    dims = (1, 2, 4, 6, 8, 10, 12, 32)
    times = (0.1, 0.5, 1.0)

    def __init__(self, d: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        axes, _ = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))
        uniform = torch.rand(d, generator=g, dtype=torch.float64)
        covariance = (axes * torch.exp((4 * uniform - 2) * math.log(SPREAD))) @ axes.T
        mean = torch.randn(d, generator=g, dtype=torch.float64)
        target = Gaussian(mean, (covariance + covariance.T) / 2)
        super().__init__(Gaussian(torch.zeros(d), torch.eye(d)), target)

    def law(self, t: float) -> Density:
        """See the base class."""
        law = ou_law(*self._laws(), t)
        return density(Gaussian(law.mean, law.covariance))

    def beside(self, x: Tensor, t: float, step: float) -> dict[str, float]:
        """The floor of a Gaussian fitted to as many exact draws, and the error of the step."""
        n, d = x.shape
        exact = ou_law(*self._laws(), t)
        steps = math.ceil(t / step * (1 - 1e-12))
        moved = heun_law(*self._laws(), t / steps, steps)
        bias = gaussian_kl(moved, exact) + gaussian_kl(exact, moved)
        return {"floor": d * (d + 3) / (2 * n), "bias": float(bias)}

    def _laws(self) -> tuple[GaussianLaw, GaussianLaw]:
        parts = (p for p in (self.start, self.target) if isinstance(p, Gaussian))
        start, target = (GaussianLaw(p.mean, p.factor @ p.factor.T) for p in parts)
        return start, target


class Mixture(Problem):
    """``N(0, 16 I)`` to equal Gaussians of unit covariance."""

    dims = (2, 4, 6, 8, 10, 12)
    times = (4.0,)

    def __init__(self, d: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        count = 5 if d < 8 else 10
        means = 10 * torch.rand(count, d, generator=g, dtype=torch.float64) - 5
        super().__init__(
            Gaussian(torch.zeros(d), 16 * torch.eye(d)), GaussianMixture(means, std=1.0)
        )

    def law(self, t: float) -> Density:
        """The mixture, whatever the time."""
        return density(self.target)

    def beside(self, x: Tensor, t: float, step: float) -> dict[str, float]:
        """Symmetric KL of the same Gaussians with the masses that the particles have."""
        target = self.target
        assert isinstance(target, GaussianMixture)
        log_parts = -torch.cdist(x, target.means).square() / 2
        shares = log_parts.softmax(1).mean(0)
        # Both mixtures are means over parts, so that draws of one serve for the other.
        draws = density(target).sample(MASSES, 3)
        parts = (-torch.cdist(draws, target.means).square() / 2).log_softmax(1)
        ratio = (parts.exp() @ shares) * len(shares)  # q/p, below len(shares)
        return {
            "masses": float(((ratio - 1) * ratio.log()).mean()),
            "least": float(shares.min()),
            "most": float(shares.max()),
        }


PROBLEMS: dict[str, type[OrnsteinUhlenbeck] | type[Mixture]] = {
    "ou": OrnsteinUhlenbeck,
    "mixture": Mixture,
}
