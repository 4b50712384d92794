"""Learned densities: normalised, with draws whose components have their shares in both halves."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.mixtures import Gaussians
from wgflow.data.targets import GaussianMixture
from wgflow.likelihood.quadrature import Grid
from wgflow.montecarlo.density import Block, LearnedDensity

WEIGHTS = double([0.12, 0.2, 0.18, 0.25, 0.25])
MEANS = double([[-9.0, 0.0], [0.0, 0.0], [9.0, 4.0], [0.0, 9.0], [-9.0, 9.0]])
OWN = double([[[1.0, 0.3], [0.3, 0.5]], [[0.2, 0.0], [0.0, 0.4]], [[0.6, -0.2], [-0.2, 0.3]]])
SHARED = double([[[0.25, 0.1], [0.1, 0.3]]])
FAMILIES = [Gaussians(WEIGHTS[:3], MEANS[:3], OWN), Gaussians(WEIGHTS[3:], MEANS[3:], SHARED)]
DENSITY = LearnedDensity([Block(torch.arange(2), FAMILIES)])
EXACT = GaussianMixture(
    MEANS, covariances=torch.cat([OWN, SHARED.expand(2, 2, 2)]), weights=WEIGHTS
)


def line(weights):
    """Of the given weights on unit Gaussians far from each other, in one dimension."""
    means = 20.0 * torch.arange(len(weights), dtype=F64)[:, None]
    gaussians = Gaussians(double(weights), means, torch.ones(1, 1, 1, dtype=F64))
    return LearnedDensity([Block(torch.arange(1), [gaussians])])


def test_it_is_the_density_of_the_mixture():
    x = EXACT.sample(200, dtype=F64, generator=seeded(0))
    torch.testing.assert_close(DENSITY.log_prob(x), EXACT.log_prob(x))
    assert (DENSITY.log_z, DENSITY.dim) == (0.0, 2)
    assert DENSITY(x.float()).dtype == torch.float32


def test_its_integral_is_one():
    grid = Grid.box([-16.0, -7.0], [16.0, 16.0], 400)
    assert float((-DENSITY(grid.nodes)).exp().sum() * grid.volume) == pytest.approx(1, abs=1e-6)
    x = torch.linspace(-9, 49, 5001, dtype=F64)
    density = (-line([0.3, 0.1, 0.6])(x[:, None])).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-9)


def counts(x, components):
    return torch.bincount((x[:, 0] / 20).round().long(), minlength=components).double()


@pytest.mark.parametrize("n", [1000, 37])
@pytest.mark.parametrize("seed", range(4))
def test_components_have_their_share_of_all_draws_and_of_either_half(n, seed):
    shares = [0.5, 0.123, 0.377]
    x = line(shares).sample(n, dtype=F64, generator=seeded(seed))
    for part in (x, x[: (n + 1) // 2], x[(n + 1) // 2 :]):
        assert (counts(part, 3) - len(part) * double(shares)).abs().max() < 1


def test_counts_are_shares_in_the_mean():
    """Three draws of a component of weight .1: the only whole numbers are none and one."""
    density, g = line([0.1, 0.9]), seeded(0)
    found = torch.stack([counts(density.sample(3, dtype=F64, generator=g), 2) for _ in range(400)])
    assert set(found[:, 0].tolist()) == {0.0, 1.0}
    assert abs(float(z_score(found[:, 0], 0.3))) < 4


def test_draws_have_the_moments_of_the_mixture():
    """In blocks, since draws of one block are not independent."""
    g = seeded(1)
    blocks = [DENSITY.sample(200, dtype=F64, generator=g) for _ in range(60)]
    exact = EXACT.means, EXACT.factors @ EXACT.factors.mT
    mean = WEIGHTS @ exact[0]
    second = (WEIGHTS[:, None, None] * (exact[1] + exact[0][:, :, None] * exact[0][:, None])).sum(
        0
    )
    assert z_score(torch.stack([x.mean(0) for x in blocks]), mean).abs().max() < 4
    found = torch.stack([x.T @ x / 200 for x in blocks])
    assert z_score(found, second).abs().max() < 4


def test_draws_of_each_component_are_its_gaussian():
    x = DENSITY.sample(5000, dtype=F64, generator=seeded(2))
    nearest = torch.cdist(x, MEANS).argmin(1)
    for k in range(5):
        u = (x[nearest == k] - MEANS[k]) @ EXACT.whiten[k].T
        assert z_score(torch.cat([u, u**2 - 1, u[:, :1] * u[:, 1:]], 1), 0).abs().max() < 4


def test_means_vary_less_than_those_of_independent_draws():
    g = seeded(3)
    ours = torch.stack([DENSITY.sample(100, dtype=F64, generator=g).mean(0) for _ in range(60)])
    plain = torch.stack([EXACT.sample(100, dtype=F64, generator=g).mean(0) for _ in range(60)])
    assert (ours.var(0) < 0.2 * plain.var(0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_draws_have_the_type_and_number_that_were_asked_for(dtype):
    x = DENSITY.sample(7, dtype=dtype, generator=seeded(0))
    assert (x.shape, x.dtype) == ((7, 2), dtype)
    assert math.isfinite(float(DENSITY(x).sum()))
