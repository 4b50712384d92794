"""The Langevin diffusion: weak order of its integrator, and the identity of dissipation."""

import math

import numpy as np
import pytest
import torch
from problems import F64, seeded, z_score

from wgflow.data.targets import Gaussian
from wgflow.energies.base import energy_and_grad
from wgflow.likelihood.gaussian import (
    GaussianLaw,
    gaussian_fisher,
    gaussian_kl,
    heun_law,
    ou_law,
    ula_law,
)
from wgflow.samplers import ULA, diffuse, heun
from wgflow.samplers.diffusion import uncorrelated

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
TESTS = [torch.square, torch.sin, lambda x: x**3]
START = GaussianLaw(torch.tensor([1.0, -2.0, 0.5], dtype=F64), 0.3 * torch.eye(3, dtype=F64))
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.7, 0.0], [-0.4, 0.5, 0.9]], dtype=F64)
TARGET = GaussianLaw(torch.tensor([0.0, 1.0, -1.0], dtype=F64), ROOT @ ROOT.T)
T = 0.6


def double_well(x):
    return (x**4 / 8 - x**2 / 2 + x.sin()).sum(1)


def derivative(f, x):
    (found,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return found


def generator_of(f):
    """``L f = f'' - V' f'`` in one dimension."""

    def generated(x):
        def first(y):
            return derivative(f, y)

        slope = derivative(lambda y: double_well(y[:, None]), x)
        return derivative(first, x) - slope * first(x)

    return generated


def euler(energy, x, noise, step):
    _, grad = energy_and_grad(energy, x)
    return x - step * grad + math.sqrt(2 * step) * noise


def local_error(scheme, f, step):
    """``E f(x') - (f + εLf + ε²L²f/2)(x)`` at four points, the mean by quadrature."""
    x = torch.tensor([-1.7, -0.4, 0.3, 1.2], dtype=F64, requires_grad=True)
    once = generator_of(f)
    exact = f(x) + step * once(x) + step**2 / 2 * generator_of(once)(x)
    starts = x.detach().repeat_interleave(len(NODES))[:, None]
    moved = scheme(double_well, starts, NODES.repeat(len(x))[:, None], step)
    mean = f(moved[:, 0]).reshape(len(x), -1) @ WEIGHTS / WEIGHTS.sum()
    return (mean - exact.detach()).abs().max()


@pytest.mark.parametrize("f", TESTS)
@pytest.mark.parametrize(("scheme", "order"), [(heun, 2), (euler, 1)])
def test_weak_order_on_an_energy_that_is_not_quadratic(scheme, order, f):
    errors = [local_error(scheme, f, step) for step in (2e-3, 1e-3)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.05)


@pytest.mark.parametrize(("law", "order"), [(heun_law, 2), (ula_law, 1)])
def test_weak_order_at_a_fixed_time_on_gaussians(law, order):
    exact = ou_law(START, TARGET, T)
    found = [law(START, TARGET, T / n, n) for n in (40, 80)]
    for part in ("mean", "covariance"):
        gaps = [(getattr(f, part) - getattr(exact, part)).norm() for f in found]
        assert math.log2(gaps[0] / gaps[1]) == pytest.approx(order, abs=0.1)


def test_the_law_of_heun_on_gaussians_is_that_of_its_particles():
    n, steps = 40_000, 2  # so coarse that Euler and the exact law fail
    energy = Gaussian(TARGET.mean, TARGET.covariance)
    x = Gaussian(START.mean, START.covariance).sample(n, dtype=F64, generator=seeded(0))
    x = diffuse(energy, x, 0.2, 0.1, generator=seeded(1))
    law = heun_law(START, TARGET, 0.1, steps)
    centred = x - law.mean
    products = centred[:, :, None] * centred[:, None, :]
    assert z_score(x, law.mean).abs().max() < 4
    assert z_score(products, law.covariance).abs().max() < 4
    assert z_score(products, ula_law(START, TARGET, 0.1, steps).covariance).abs().max() > 6


def test_a_time_is_divided_into_equal_steps():
    x = torch.randn(5, 3, dtype=F64, generator=seeded(2))
    energy, twice = Gaussian(TARGET.mean, TARGET.covariance), seeded(3)
    expected = x
    for _ in range(2):
        noise = torch.randn(5, 3, dtype=F64, generator=twice)
        expected = heun(energy, expected, noise, 0.05)
    assert torch.equal(diffuse(energy, x, 0.1, 0.09, generator=seeded(3)), expected)
    assert torch.equal(diffuse(energy, x, 0.0), x)
    counted = []
    diffuse(lambda y: counted.append(1) or energy(y), x, 0.3, 0.1)  # 0.3/0.1 is below 3
    diffuse(lambda y: counted.append(1) or energy(y), x, 0.7, 0.1)  # 0.7/0.1 is below 7
    diffuse(lambda y: counted.append(1) or energy(y), x, 0.6, 0.2)  # 0.6/0.2 is below 3
    assert len(counted) == 2 * (3 + 7 + 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [((-0.1, 0.1), "`time` must be ≥ 0"), ((1.0, 0.0), "`step` must be > 0")],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        diffuse(double_well, torch.zeros(1, 1), *given)


def test_a_law_of_heun_needs_a_stable_step():
    with pytest.raises(ValueError, match="`step` must be between 0 and"):
        heun_law(START, TARGET, 10.0, 1)


@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
def test_dissipation_is_the_relative_fisher_information(t):
    """``dF/dt = -I(ρ_t|π)`` by closed forms on both sides."""
    h = 1e-4
    ahead, behind = (gaussian_kl(ou_law(START, TARGET, s), TARGET) for s in (t + h, t - h))
    fisher = gaussian_fisher(ou_law(START, TARGET, t), TARGET)
    assert float((ahead - behind) / (2 * h)) == pytest.approx(-float(fisher), rel=1e-6)


def log_ratio(t):
    """``ℓ_t = log ρ_t - log π`` of the exact flow."""
    law = ou_law(START, TARGET, t)
    here, there = Gaussian(law.mean, law.covariance), Gaussian(TARGET.mean, TARGET.covariance)
    return lambda x: here.log_prob(x) - there.log_prob(x)


def test_particles_dissipate_as_much_as_their_fisher_information_says():
    """``F(ρ_0) - F(ρ_T) = ∫ I(ρ_t|π) dt`` particle by particle, the integral by Simpson's rule."""
    n, steps = 10_000, 20
    h, noise = T / steps, seeded(4)
    energy = Gaussian(TARGET.mean, TARGET.covariance)
    x = Gaussian(START.mean, START.covariance).sample(n, dtype=F64, generator=seeded(5))
    before, fisher = log_ratio(0.0)(x), torch.zeros(n, dtype=F64)
    for k in range(steps + 1):
        x = x if k == 0 else diffuse(energy, x, h, h, generator=noise)
        squares = energy_and_grad(log_ratio(k * h), x)[1].square().sum(1)
        fisher += squares * h / 3 * (1 if k in (0, steps) else 4 if k % 2 else 2)
    lost = before - log_ratio(T)(x)
    exact = gaussian_kl(START, TARGET) - gaussian_kl(ou_law(START, TARGET, T), TARGET)
    assert abs(z_score(lost, exact)) < 4
    assert abs(z_score(fisher, exact)) < 4
    assert abs(z_score(lost - fisher, 0.0)) < 4
    assert abs(z_score(lost - fisher / 2, 0.0)) > 20  # what is lost is far from nothing


def test_euler_is_that_of_the_library():
    x = torch.randn(7, 2, dtype=F64, generator=seeded(6))
    state = ULA(0.1).init(double_well, x)
    moved, _ = ULA(0.1).step(double_well, state, generator=seeded(7))
    noise = torch.randn(7, 2, dtype=F64, generator=seeded(7))
    assert torch.allclose(moved.x, euler(double_well, x, noise, 0.1))


def test_matched_noise_has_exact_moments_and_the_law_of_noise():
    x = torch.randn(2000, 3, dtype=F64, generator=seeded(8)).exp()
    noise = uncorrelated(torch.randn(2000, 2, dtype=F64, generator=seeded(9)), x)
    joint = torch.cov(torch.cat([noise, x], 1).T, correction=0)
    torch.testing.assert_close(joint[:2, :2], torch.eye(2, dtype=F64), atol=1e-9, rtol=0)
    torch.testing.assert_close(joint[:2, 2:], torch.zeros(2, 3, dtype=F64), atol=1e-9, rtol=0)
    assert float(noise.mean(0).abs().max()) < 1e-9
    assert abs(float(z_score(noise[:, 0] ** 4, 3.0))) < 4
    with pytest.raises(ValueError, match="at least d \\+ k \\+ 2 particles: got 6"):
        uncorrelated(noise[:6], x[:6])


def test_matched_particles_follow_a_linear_flow_without_an_error_of_sampling():
    """Means and covariances of 500 particles are those of the law of the integrator."""
    noise = torch.randn(500, 3, dtype=F64, generator=seeded(10))
    root = torch.linalg.cholesky(START.covariance)
    x = START.mean + uncorrelated(noise, noise[:, :0]) @ root.T
    target = Gaussian(TARGET.mean, TARGET.covariance)
    x = diffuse(target, x, T, 0.05, matched=True, generator=seeded(11))
    law = heun_law(START, TARGET, 0.05, 12)
    torch.testing.assert_close(x.mean(0), law.mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cov(x.T, correction=0), law.covariance, atol=1e-6, rtol=0)
