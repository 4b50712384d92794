"""Distributions of the catalogue: log Z by quadrature, Stein's identities, closed forms."""

import math

import pytest
import torch
from problems import F64, seeded, z_score
from scipy.stats import chi2
from torch.distributions import MultivariateNormal

from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import energy_and_grad
from wgflow.likelihood.quadrature import Grid, log_z
from wgflow.targets.catalogue import ENTRIES, named
from wgflow.targets.distributions import IsotropicMixture, Mustache, random_gaussian

CORRELATED = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
KNOWN = [
    *("gaussian", "funnel", "rings", "mustache", "gmm", "25-gaussians", "two-modes"),
    *("many-well", "eight-schools", "spike-and-slab"),
]


@pytest.mark.parametrize(
    ("name", "dim", "low", "high", "points"),
    [
        ("mustache", 2, [-4.9, -5.0], [4.9, 535.0], 1400),
        ("rings", 2, [-4.0, -4.0], [4.0, 4.0], 300),
        ("25-gaussians", 2, [-3.0, -3.0], [3.0, 3.0], 300),
        ("gmm", 1, [-2.0], [2.0], 400),
        ("gmm", 2, [-2.0, -2.0], [2.0, 2.0], 400),
        ("spike-and-slab", 1, [-8.0], [8.0], 20_000),
        ("gaussian", 2, [-30.0, -30.0], [30.0, 30.0], 500),
    ],
)
def test_log_z_is_that_of_quadrature(name, dim, low, high, points):
    target = named(name, dim)
    found = log_z(target.energy, Grid.box(low, high, points))
    assert found.item() == pytest.approx(target.known.log_z, abs=1e-5)


@pytest.mark.parametrize("name", KNOWN)
def test_draws_obey_the_identities_of_stein(name):
    """``E ∂_i V = 0`` and ``E x_i ∂_i V = 1``, of exact draws."""
    known = named(name).known
    x = known.sample(20_000, dtype=F64, generator=seeded(5))
    _, grad = energy_and_grad(known, x)
    assert z_score(grad, 0.0).abs().max() < 4.5
    assert z_score((x - x.mean(0)) * grad, 1.0).abs().max() < 4.5


def test_only_the_known_have_exact_draws():
    unknown = [name for name, e in ENTRIES.items() if not e.file and named(name).known is None]
    assert sorted([*unknown, *KNOWN]) == sorted(name for name, e in ENTRIES.items() if not e.file)


@pytest.mark.parametrize("name", ["gmm", "25-gaussians", "two-modes"])
def test_draws_fall_on_modes_as_their_masses_say(name):
    target = named(name)
    x = target.known.sample(20_000, dtype=F64, generator=seeded(6))
    counts = torch.bincount(
        torch.cdist(x, target.modes.centers).argmin(1), minlength=len(target.modes.masses)
    )
    expected = target.modes.masses * len(x)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < chi2.ppf(1 - 1e-4, len(expected) - 1)


def test_the_mustache_is_a_gaussian_bent_by_a_quartic():
    x = Mustache().sample(20_000, dtype=F64, generator=seeded(7))
    z = torch.stack([x[:, 0], x[:, 1] - (x[:, 0] ** 2 - 1) ** 2], 1)
    straight = MultivariateNormal(torch.zeros(2, dtype=F64), CORRELATED)
    torch.testing.assert_close(Mustache().log_prob(x), straight.log_prob(z))
    assert z_score(z, 0.0).abs().max() < 4
    assert z_score(z**2, 1.0).abs().max() < 4
    assert z_score(z[:, 0] * z[:, 1], 0.9).abs() < 4


def test_the_isotropic_mixture_is_the_general_one():
    means = 2 * torch.rand(10, 7, dtype=F64, generator=seeded(8)) - 1
    fast, general = IsotropicMixture(means, 0.1), GaussianMixture(means, 0.1)
    x = torch.cat([general.sample(50, dtype=F64), 3 * torch.randn(50, 7, dtype=F64)])
    for a, b in zip(energy_and_grad(fast, x), energy_and_grad(general, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


def test_draws_of_the_isotropic_mixture_have_its_deviation():
    target = IsotropicMixture([[-9.0, 0.0], [9.0, 0.0]], 0.5)
    x = target.sample(5000, dtype=F64, generator=seeded(11))
    offset = x - target.means[(x[:, 0] > 0).long()]
    assert z_score(offset.square(), 0.25).abs().max() < 4


def test_single_precision_keeps_two_digits_after_the_point_at_a_hundred_dimensions():
    target = named("gmm", 100)
    for x in (target.known.sample(2000, generator=seeded(9)), target.start.sample(2000)):
        value = target.energy(x)
        assert value.dtype == torch.float32
        assert (value - target.energy(x.double())).abs().max() < 0.01


def test_random_gaussians_have_their_condition():
    target = random_gaussian(6, 100.0, generator=seeded(10))
    variances = torch.linalg.eigvalsh(target.factor @ target.factor.T)
    torch.testing.assert_close(variances[[0, -1]], torch.tensor([0.1, 10.0], dtype=F64))
    assert target.log_z == pytest.approx(3 * math.log(2 * math.pi))  # det C = 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mustache(1.0), "`correlation` must be between -1 and 1: got 1.0"),
        (lambda: IsotropicMixture([[0.0]], 0.0), "`std` must be > 0"),
        (lambda: IsotropicMixture([0.0], 1.0), "`means` must have 2 axes"),
        (lambda: random_gaussian(2, 0.0), "`condition` must be > 0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
