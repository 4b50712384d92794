"""Mixtures along the heat flow: densities, draws, and states of unknown size."""

import math

import pytest
import torch
from tilts import families, seeded
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from wgflow.data.mixtures import Gaussians
from wgflow.energies import mixture
from wgflow.energies.mixture import NoisyMixture, mixture_of


def heat_flow(dim, sigma):
    """The same by torch."""
    noise = sigma**2 * torch.eye(dim, dtype=torch.float64)
    parts = [
        (f.weights, f.means, f.covariances.expand(len(f.means), -1, -1)) for f in families(dim)
    ]
    weights, means, covariances = (torch.cat(values) for values in zip(*parts, strict=True))
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariances + noise))


def levels(x, sigma):
    return torch.full((len(x),), 2 * math.log(sigma), dtype=x.dtype)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 5.0])
def test_density_is_that_of_the_data_with_noise(sigma):
    x = 2 * torch.randn(50, 3, generator=seeded(), dtype=torch.float64)
    found = -NoisyMixture(families(3))(x, levels(x, sigma))
    torch.testing.assert_close(found, heat_flow(3, sigma).log_prob(x))


@pytest.mark.parametrize("sigma", [1e-3, 2.0])
def test_draws_have_the_moments_of_their_level(sigma):
    like = torch.empty(40_000, 3, dtype=torch.float64)
    x = NoisyMixture(families(3)).sample(like, levels(like, sigma), generator=seeded(3))
    law = heat_flow(3, sigma)
    first = (x.mean(0) - law.mean) / (x.std(0) / 200)
    squares = (x - law.mean) ** 2
    second = (squares.mean(0) - law.variance) / (squares.std(0) / 200)
    assert float(torch.stack([first, second]).abs().max()) < 4


def test_each_point_has_its_own_level():
    x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    sigmas = torch.tensor([0.01, 0.1, 0.5, 1, 2, 7], dtype=torch.float64)
    both = NoisyMixture(families(2))(x, 2 * sigmas.log())
    alone = [heat_flow(2, float(s)).log_prob(p) for s, p in zip(sigmas, x, strict=True)]
    torch.testing.assert_close(-both, torch.stack(alone))


def test_a_state_says_how_many_gaussians_there_are():
    known, other = NoisyMixture(families(2)), NoisyMixture(families(2)[:1])
    other.load_state_dict(known.state_dict())
    x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    assert torch.equal(known(x, levels(x, 0.2)), other(x, levels(x, 0.2)))


def test_it_is_found_in_an_energy():
    mixture = NoisyMixture(families(1))
    assert mixture_of(torch.nn.Sequential(mixture)) is mixture
    assert mixture_of(lambda x: x) is None


def test_shared_axes_move_points_as_their_copies_do():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    means = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    shared = Gaussians(torch.full((4,), 0.25).double(), means, (root @ root.T)[None])
    family = mixture.Family(shared)
    noise = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    index, variance = torch.arange(6) % 4, torch.linspace(0, 1, 6).double()
    copies = mixture.Family(shared._replace(covariances=shared.covariances.expand(4, 3, 3)))
    copied = copies.draw(index, noise, variance)
    torch.testing.assert_close(family.draw(index, noise, variance), copied)


def test_draws_are_turned_by_the_axes_of_their_own_component():
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(3, 2, 2, dtype=torch.float64, generator=generator)
    own = Gaussians(torch.full((3,), 1 / 3).double(), torch.zeros(3, 2).double(), roots @ roots.mT)
    family = mixture.Family(own)
    index, variance = torch.tensor([2, 0, 2, 1, 0]), torch.linspace(0, 1, 5).double()
    noise = torch.randn(5, 2, dtype=torch.float64, generator=generator)
    spread = (family.variances[index] + variance[:, None]).sqrt()
    expected = torch.einsum("bij,bj->bi", family.axes[index], spread * noise)
    torch.testing.assert_close(family.draw(index, noise, variance), expected)
