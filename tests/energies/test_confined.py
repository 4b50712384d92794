"""The confinement alone is a law with a known normaliser and exact draws, far from no data."""

import itertools
import math

import pytest
import torch
from problems import F64, double, seeded
from scipy import integrate, special, stats
from torch.autograd import gradcheck

from wgflow.data.moments import Extent
from wgflow.energies.base import energy_and_grad
from wgflow.energies.confined import Confined
from wgflow.energies.mlp import MLP, MLPSpec
from wgflow.likelihood.quadrature import Grid, log_z

NEAR = Extent(1.5, 0.4)


def flat(x):
    return x.flatten(1).sum(1) * 0


def covariance(d):
    a = torch.randn(d, d, generator=seeded(d), dtype=F64)
    return a @ a.T + 0.1 * torch.eye(d, dtype=F64)


def wall(r, scale, extent):
    """``V(r)``, by itself."""
    return r**2 / (2 * scale**2) + max(r - extent.radius, 0) ** 2 / (2 * extent.width**2)


def radial(dim, scale, extent):
    """Unnormalised density of the radius, and points that part the range of its integral."""
    breaks = [0, extent.radius, extent.radius + 40 * extent.width]
    return (lambda r: r ** (dim - 1) * math.exp(-wall(r, scale, extent))), breaks


def integral(f, breaks):
    parts = itertools.pairwise(breaks)
    return sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-11, limit=200)[0] for a, b in parts)


def log_normaliser(dim, scale, extent):
    area = math.log(2) + dim / 2 * math.log(math.pi) - special.gammaln(dim / 2)
    return math.log(integral(*radial(dim, scale, extent))) + area


@pytest.mark.parametrize("d", [1, 3])
def test_a_correlated_confinement_is_its_quadratic_form(d):
    center, scale, c = torch.arange(float(d), dtype=F64), 1.5, covariance(d)
    energy = Confined(flat, scale, center, c)
    law = torch.distributions.MultivariateNormal(center, scale**2 * c)
    x = torch.randn(5, d, generator=seeded(1), dtype=F64)
    log_norm = d / 2 * math.log(2 * math.pi * scale**2) + float(c.logdet()) / 2
    torch.testing.assert_close(-energy(x) - log_norm, law.log_prob(x))


@pytest.mark.parametrize("correlated", [False, True])
def test_without_an_extent_the_reference_is_the_gaussian(correlated):
    count, c = 40_000, covariance(4) if correlated else torch.eye(4, dtype=F64)
    energy = Confined(flat, 0.7, 2.0, c if correlated else None)
    like = torch.zeros(1, 1, 2, 2, dtype=F64)
    x, log_q = energy.reference(like, count, generator=seeded(0))
    law = torch.distributions.MultivariateNormal(torch.full((4,), 2.0).double(), 0.49 * c)
    assert x.shape == (count, 1, 2, 2)
    torch.testing.assert_close(log_q, law.log_prob(x.flatten(1)))
    u = torch.linalg.solve_triangular(
        torch.linalg.cholesky(0.49 * c), (x.flatten(1) - 2).T, upper=False
    )
    assert (u.mean(1).abs() * math.sqrt(count)).max() < 4
    second = u @ u.T / count - torch.eye(4)
    assert (second.abs() * math.sqrt(count / 2)).max() < 4


LAWS = {
    "line": (1, 2.4, NEAR),
    "plane": (2, 2.0, NEAR),
    "many coordinates": (40, 1.2, Extent(6.5, 0.5)),
    "narrow": (3, 50.0, Extent(0.5, 0.01)),
    "wide": (3, 1.0, Extent(100.0, 90.0)),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_normaliser_is_that_of_adaptive_quadrature(name):
    d, scale, extent = LAWS[name]
    energy = Confined(flat, scale, extent=extent)
    x, log_q = energy.reference(torch.zeros(1, d, dtype=F64), 100, generator=seeded(0))
    expected = torch.full((100,), log_normaliser(d, scale, extent), dtype=F64)
    torch.testing.assert_close(-energy(x) - log_q, expected, rtol=0, atol=1e-6)


def test_in_the_plane_it_is_that_of_a_grid():
    energy = Confined(flat, 2.0, double([1.0, -0.5]), covariance(2), NEAR)
    x, log_q = energy.reference(torch.zeros(1, 2, dtype=F64), 1, generator=seeded(0))
    exact = log_z(energy, Grid.box([-9.0, -9.0], [9.0, 9.0], 900))
    assert float(-energy(x) - log_q) == pytest.approx(float(exact), abs=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_draws_have_the_law_of_their_density(name):
    d, scale, extent = LAWS[name]
    count = 20_000
    energy = Confined(flat, scale, extent=extent)
    x, _ = energy.reference(torch.zeros(1, d, dtype=F64), count, generator=seeded(1))
    r = torch.linalg.vector_norm(x, dim=1)
    density, breaks = radial(d, scale, extent)
    levels = torch.linspace(0.05, 0.95, 7, dtype=F64)
    total, places = integral(density, breaks), torch.quantile(r, levels)
    for place in places.tolist():
        expected = integral(density, sorted([*(b for b in breaks if b < place), place])) / total
        error = math.sqrt(expected * (1 - expected) / count)
        assert abs(float((r <= place).double().mean()) - expected) < 4.5 * error
    directions = x / r[:, None]
    assert (directions.mean(0).abs() * math.sqrt(count * d)).max() < 4.5


def test_draws_are_whitened_by_the_covariance():
    c, center, count = covariance(2), double([1.0, -0.5]), 20_000
    energy = Confined(flat, 2.0, center, c, NEAR)
    x, _ = energy.reference(torch.zeros(1, 2, dtype=F64), count, generator=seeded(2))
    plain = Confined(flat, 2.0, extent=NEAR)
    u, _ = plain.reference(torch.zeros(1, 2, dtype=F64), count, generator=seeded(3))
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(c), (x - center).T, upper=False)
    for a, b in zip(white, u.T, strict=True):
        assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_draws_keep_shape_and_dtype(dtype):
    energy = Confined(flat, 2.0, 0.0, covariance(4), NEAR)
    x, log_q = energy.reference(torch.zeros(1, 1, 2, 2, dtype=dtype), 5, generator=seeded(0))
    assert (x.shape, x.dtype, log_q.shape, log_q.dtype) == ((5, 1, 2, 2), dtype, (5,), dtype)
    torch.testing.assert_close(energy(x) + log_q, (energy(x) + log_q)[:1].expand(5))


@pytest.mark.parametrize("extent", [None, NEAR], ids=["gaussian", "wall"])
@pytest.mark.parametrize("center", [0.5, double([0.5, -1.0])], ids=["number", "vector"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_energy_and_gradient_keep_the_dtype(center, extent, dtype):
    mlp = MLP((2,), MLPSpec(width=8, features=0), generator=seeded(0)).to(dtype)
    energy = Confined(mlp, 2.0, center, extent=extent)  # whose center is double
    x = torch.randn(5, 2, generator=seeded(0), dtype=dtype)
    for value, grad in (energy_and_grad(energy, x), energy_and_grad(lambda x: energy(x), x)):
        assert (value.dtype, grad.dtype) == (dtype, dtype)


def test_inside_the_radius_it_is_the_gaussian_and_beyond_it_is_heavier():
    gaussian, energy = Confined(flat, 2.0), Confined(flat, 2.0, extent=NEAR)
    inside, beyond = double([[1.4, 0.0], [0.3, -0.9]]), double([[2.3, 0.0], [0.0, -1.9]])
    assert torch.equal(energy(inside), gaussian(inside))
    torch.testing.assert_close(energy(beyond) - gaussian(beyond), double([2.0, 0.5]))


def test_hardly_any_mass_is_far_beyond_the_radius():
    """Five widths beyond: less than e^{-12.5} of that of the Gaussian, by its density."""
    count, far = 200_000, NEAR.radius + 5 * NEAR.width
    like = torch.zeros(1, 2, dtype=F64)
    x, _ = Confined(flat, 2.0, extent=NEAR).reference(like, count, generator=seeded(4))
    wide, _ = Confined(flat, 2.0).reference(like, count, generator=seeded(4))
    assert (torch.linalg.vector_norm(wide, dim=1) > far).double().mean() > 0.1
    assert (torch.linalg.vector_norm(x, dim=1) > far).sum() <= 2


def test_the_gradient_is_that_of_differences_and_zero_at_the_center():
    energy = Confined(flat, 2.0, double([1.0, -0.5]), covariance(2), NEAR)
    x = torch.randn(20, 2, generator=seeded(5), dtype=F64) * 4
    assert gradcheck(energy, x.requires_grad_())
    _, grad = energy_and_grad(energy, energy.center[None])
    assert torch.equal(grad, torch.zeros_like(grad))


def test_the_gradient_has_no_jump_at_the_radius():
    energy = Confined(flat, 2.0, extent=NEAR)
    places = double([[NEAR.radius - 1e-6, 0.0], [NEAR.radius + 1e-6, 0.0]])
    _, grad = energy_and_grad(energy, places)
    torch.testing.assert_close(grad[0], grad[1], rtol=0, atol=1e-4)


REFUSED = {
    "`covariance` must be a positive definite matrix": {"covariance": -torch.eye(2)},
    "`radius` must be > 0 and finite: got 0": {"extent": Extent(0.0, 1.0)},
    "`width` must be > 0 and finite: got inf": {"extent": Extent(1.0, math.inf)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_refuses_what_is_no_covariance_or_extent(message):
    with pytest.raises(ValueError, match=message):
        Confined(flat, 1.0, 0.0, **REFUSED[message])
