"""Problems: targets of the plane with facts, for tables of problems × methods."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from wgflow.data.targets import Gaussian, GaussianMixture, Target
from wgflow.data.toys import Banana, Ring
from wgflow.likelihood.quadrature import Grid, log_density

F64 = torch.float64


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def double(values):
    return torch.tensor(values, dtype=F64)


def z_score(samples, expected):
    """How many standard errors the mean of independent rows is away from ``expected``."""
    return (samples.mean(0) - expected) / (samples.std(0) / math.sqrt(len(samples)))


@dataclass(frozen=True, eq=False)
class Problem:
    """A target with its mean and covariance by hand, and its mean energy by quadrature."""

    target: Target
    mean: Tensor
    covariance: Tensor

    def draw(self, n, seed=0):
        return self.target.sample(n, dtype=F64, generator=seeded(seed))

    def statistics(self, x):
        """``(x_1, x_2, x_1², x_1 x_2, x_2², E(x))`` of each point, (batch, 6)."""
        products = torch.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], 1)
        return torch.cat([x, products, self.target(x)[:, None]], 1).detach()

    @cached_property
    def expected(self):
        """The means of `statistics` under the target, (6,)."""
        second = self.covariance + self.mean.outer(self.mean)
        grid = Grid.box([-14.0, -14.0], [14.0, 14.0], 200)
        p = log_density(self.target, grid).exp() * grid.volume
        energy = (p * self.target(grid.nodes).detach()).sum()
        return torch.stack([*self.mean, second[0, 0], second[0, 1], second[1, 1], energy])


def gaussian():
    mean, covariance = double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]])
    return Problem(Gaussian(mean, covariance), mean, covariance)


def two_modes():
    means = double([[-1.2, 0.0], [1.2, 0.6]])
    a = double([0.25, 0.75])
    mean = a @ means
    covariance = 0.3 * torch.eye(2, dtype=F64) + (means.T * a) @ means - mean.outer(mean)
    return Problem(GaussianMixture(means, math.sqrt(0.3), weights=a), mean, covariance)


def ring():
    covariance = (1.5**2 / 2 + 0.5**2) * torch.eye(2, dtype=F64)
    return Problem(Ring(1.5, 0.5), torch.zeros(2, dtype=F64), covariance)


def banana():
    variances = double([1.0, 0.6**2 + 2 * 0.5**2])  # Var x_2 = w² + 2b²s⁴
    return Problem(Banana(1.0, 0.6, 0.5), torch.zeros(2, dtype=F64), variances.diag())


PROBLEMS = {p.__name__: p() for p in (gaussian, two_modes, ring, banana)}


# Images of classes

BATCH, CLASSES = 32, 4


def bars(seed, n=320, channels=1):
    """Noise with a bright bar whose row, a quarter of the height, is the label."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.rand(n, channels, 12, 10, generator=generator)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    images[torch.arange(n), :, 3 * labels] += 0.5
    return images, labels
