"""Denoising: mode, mean and deviation of Gaussian posteriors, and the end of a known path."""

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian
from wgflow.energies.conditional import Observed
from wgflow.samplers import MALA
from wgflow.tasks.denoise import denoise

MEAN, COVARIANCE = double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]])
TARGET = Gaussian(MEAN, COVARIANCE)
Y = double([2.0, 1.0])


def posterior(sigma):
    """Mean and covariance of x given Y, by hand."""
    noise = torch.as_tensor(sigma, dtype=F64).expand(2).square().diag()
    gain = COVARIANCE @ torch.linalg.inv(COVARIANCE + noise)
    return MEAN + gain @ (Y - MEAN), COVARIANCE - gain @ COVARIANCE


@pytest.mark.parametrize("sigma", [0.7, double([0.3, 2.0])], ids=["one", "two"])
def test_moments_of_a_gaussian_posterior(sigma):
    """Rows are independent chains of one observation, so their means have a standard error."""
    mean, covariance = posterior(sigma)
    y = Y.expand(3000, 2)
    sampler = MALA(0.05, adaptation=0.0)
    found = denoise(TARGET, y, sigma, sampler, 40, burn_in=120, generator=seeded(0))
    assert torch.allclose(found.mode, mean.expand_as(y), atol=1e-5)
    assert z_score(found.mean, mean).abs().max() < 4
    # Within one chain the squares about its own mean fall short by the spread of those means.
    second = found.deviation**2 + (found.mean - mean) ** 2
    assert z_score(second, covariance.diagonal()).abs().max() < 4


def test_many_draws_of_one_point_are_one_average():
    mean, covariance = posterior(0.7)
    y = torch.stack([Y, Y, Y])
    found = denoise(
        TARGET, y, 0.7, MALA(0.1), 50, draws=2000, chunk=4000, burn_in=100, generator=seeded(1)
    )
    assert torch.allclose(found.mean, mean.expand(3, 2), atol=0.01)
    assert torch.allclose(found.deviation, covariance.diagonal().sqrt().expand(3, 2), atol=0.01)


def test_an_observation_adds_its_quadratic():
    x = torch.randn(4, 1, 2, 3, generator=seeded(2), dtype=F64)
    y = torch.randn(4, 1, 2, 3, generator=seeded(3), dtype=F64)
    law = Observed(lambda x: x.flatten(1).sum(1), y, 0.5)
    expected = x.flatten(1).sum(1) + 2 * (x - y).square().flatten(1).sum(1)
    assert torch.allclose(law(x), expected)


def test_the_mode_is_the_one_below_the_start():
    """Two wells of width .1 at 0 and 2, seen at 1 with noise 1: pulled to 1 by a hundredth."""

    def energy(x):
        return -torch.logsumexp(-((x - double([0.0, 2.0])) ** 2) / 0.02, 1)

    y = double([[1.0]] * 3)
    start = double([[0.7], [1.6], [1.9]])
    found = denoise(energy, y, 1.0, MALA(1e-3), 1, start=start, chunk=2)
    expected = double([[0.01], [2.01], [2.01]]) / 1.01
    torch.testing.assert_close(found.mode, expected, atol=1e-4, rtol=0)


REFUSED = {
    "place to start: expected shape .1, 2., got .2, 2.": {"start": Y.expand(2, 2)},
    "`sigma` must be > 0 and finite: got 0": {"sigma": 0.0},
    "`sigma` must be > 0 and finite: got -1": {"sigma": double([1.0, -1.0])},
    "`steps` must be > 0 and finite: got 0": {"steps": 0},
    "`draws` must be > 0 and finite: got 0": {"draws": 0},
    "`burn_in` must be ≥ 0 and finite: got -1": {"burn_in": -1},
    "`chunk` must be > 0 and finite: got 0": {"chunk": 0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    given = {"sigma": 1.0, "sampler": MALA(), "steps": 1} | REFUSED[message]
    with pytest.raises(ValueError, match=message):
        denoise(TARGET, Y[None], **given)
