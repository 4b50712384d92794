"""Densities of particles: what the library learns, and a Gaussian of their moments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import wgflow
from wgflow.data.mixtures import Gaussians, stacked
from wgflow.data.targets import Gaussian
from wgflow.energies.mixture import NoisyMixture
from wgflow.storage.folder import free

KEPT = 5
"""One of so many particles is kept for choices."""

SETTINGS = ("data.test_fraction=0.01", "data.validation_fraction=0.2", "data.transform=none")


@dataclass(frozen=True)
class Density:
    """A normalised density.

    Attributes:
        log_prob: (n, d) -> (n,).
        sample: so many draws by a seed, (n, d).
        told: what else its row tells.
    """

    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int, int], Tensor]
    told: Mapping[str, float] = field(default_factory=dict)


def gaussian(x: Tensor, seed: int, folder: Path) -> Density:
    """The Gaussian of the moments of all particles: the floor, measured."""
    law = Gaussian(x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1]))

    def sample(count: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        return law.sample(count, dtype=torch.float64, generator=generator)

    return Density(law.log_prob, sample)


def stack(x: Tensor, seed: int, folder: Path) -> Density:
    """The stack of Gaussian mixtures and kernels alone, in units of standard deviations.

    It is mapped so that it has the mean and the covariance of all particles.
    """
    mean, scale = x.mean(0), x.std(0)
    u = (x - mean) / scale
    kept = len(u) // KEPT
    families = with_moments(
        stacked(u[kept:], u[:kept], seed=seed), torch.cov(u.T).view(u.shape[1], -1)
    )
    energy = NoisyMixture(families)
    sizes = {f"parts {len(f.weights)}": float(f.weights.sum()) for f in families}

    def at_zero(points: Tensor) -> Tensor:
        return torch.full((len(points),), -torch.inf, dtype=torch.float64)

    @torch.no_grad()
    def log_prob(points: Tensor) -> Tensor:
        return -energy((points - mean) / scale, at_zero(points)) - scale.log().sum()

    @torch.no_grad()
    def sample(count: int, number: int) -> Tensor:
        like = torch.empty(count, x.shape[1], dtype=torch.float64)
        generator = torch.Generator().manual_seed(number)
        return mean + scale * energy.sample(like, at_zero(like), generator=generator)

    return Density(log_prob, sample, {"gaussian": sizes.get("parts 1", 0.0)})


def with_moments(families: Sequence[Gaussians], covariance: Tensor) -> list[Gaussians]:
    """The mixture, mapped linearly to the mean 0 and that covariance.

    Kernels widen what they estimate, and are so put right (Jones 1991).
    """
    center = torch.stack([f.weights @ f.means for f in families]).sum(0)
    spread = torch.stack([_second(f, center) for f in families]).sum(0)
    roots = torch.linalg.cholesky(covariance), torch.linalg.cholesky(spread)
    to = torch.linalg.solve_triangular(roots[1].T, roots[0].T, upper=True).T
    return [
        f._replace(means=(f.means - center) @ to.T, covariances=to @ f.covariances @ to.T)
        for f in families
    ]


def _second(family: Gaussians, center: Tensor) -> Tensor:
    """The family's share of the second moment around a center, (d, d)."""
    off, w = family.means - center, family.weights
    within = (w[:, None, None] * family.covariances).sum(0)
    return within + (w[:, None] * off).T @ off


def residual(x: Tensor, seed: int, folder: Path) -> Density:
    """The same and on it a residual network, by the near-proximal flow: the recipe of tables."""
    folder.mkdir(parents=True, exist_ok=True)
    file = free(folder / f"particles-{x.shape[1]}-{seed}").with_suffix(".npy")
    np.save(file, x.numpy())
    config = wgflow.configure(str(file), "tables", f"seed={seed}", *SETTINGS)
    run = wgflow.fit(config, free(folder / file.stem))

    def sample(count: int, number: int) -> Tensor:
        return run.sample(count, generator=torch.Generator().manual_seed(number)).double()

    def log_prob(points: Tensor) -> Tensor:
        return run.log_prob(points.float()).double()

    z = run.normaliser
    told = {"steps": float(run.steps), "log_z": float(z.value), "log_z_error": float(z.error)}
    return Density(log_prob, sample, told)


LEARNERS: Mapping[str, Callable[[Tensor, int, Path], Density]] = {
    "gaussian": gaussian,
    "stack": stack,
    "residual": residual,
}
