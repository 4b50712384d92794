"""The noise-conditional perceptron: where it starts, and what is relative to its reference."""

import math

import pytest
import torch
from tilts import SPEC, families, seeded, tilted

from wgflow.config.recipes import configure
from wgflow.data.mixtures import Gaussians
from wgflow.data.moments import DataMoments, bandwidth
from wgflow.energies.base import HasReference, Tilted, energy_and_grad
from wgflow.energies.noise_levels import At, derivatives
from wgflow.energies.noise_mlp import NoiseMLPSpec


def moments(dim, found=()):
    covariance = torch.eye(dim, dtype=torch.float64) + 0.3
    return DataMoments((dim,), covariance, None, tuple(found))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 4.0])
def test_it_starts_as_the_gaussian_of_the_moments_at_every_level(sigma):
    energy = NoiseMLPSpec(lowest=0.1, highest=4.0, start="gaussian").build(moments(3)).double()
    x = torch.randn(20, 3, generator=seeded(), dtype=torch.float64)
    noisy = moments(3).covariance + sigma**2 * torch.eye(3, dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(x.new_zeros(3), noisy)
    torch.testing.assert_close(At(energy, sigma)(x), -law.log_prob(x), atol=1e-5, rtol=1e-5)


def test_stacked_it_starts_as_the_mixture():
    energy = SPEC.build(moments(2, families(2))).double()
    x = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    level = x.new_full((20,), -1.0)
    torch.testing.assert_close(energy(x, level), energy.mixture(x, level))


def test_without_a_level_it_is_the_lowest():
    energy = tilted(2)
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    assert torch.equal(energy(x), energy(x, x.new_full((5,), 2 * math.log(0.1))))


def test_relative_energy_is_the_energy_less_that_of_the_reference():
    energy = tilted(2)
    assert isinstance(energy, Tilted)
    assert isinstance(energy.relative(), HasReference)
    x, log_q = energy.reference(torch.empty(1, 2, dtype=torch.float64), 9, generator=seeded())
    again, zero = energy.relative().reference(x[:1], 9, generator=seeded())
    assert torch.equal(x, again)
    assert not zero.any()
    torch.testing.assert_close(energy.relative()(x), energy(x) + log_q)
    assert float(energy.relative()(x).detach().std()) > 0.1  # there is a tilt to speak of


def test_draws_of_other_gaussians_come_with_their_own_density():
    energy = tilted(2, others=True)
    x, log_q = energy.reference(torch.empty(1, 2, dtype=torch.float64), 9, generator=seeded())
    again, ratio = energy.relative().reference(x[:1], 9, generator=seeded())
    assert torch.equal(x, again)
    torch.testing.assert_close(energy.relative()(x) + ratio, energy(x) + log_q)
    law = At(energy.draws, 0.1)
    torch.testing.assert_close(log_q, -law(x))
    y = torch.randn(9, 2, generator=seeded(3), dtype=torch.float64)
    found = energy.relative()(y) + energy.relative().log_reference(y) - energy(y)
    torch.testing.assert_close(found, -law(y))


def test_the_rate_of_its_level_is_the_derivative():
    energy, h = tilted(2), 1e-5
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    level = x.new_full((5,), -0.7)
    value, grad, rate = derivatives(energy, x, level)
    there, slope = energy_and_grad(At(energy, math.exp(-0.35)), x)
    torch.testing.assert_close((value, grad), (there, slope))
    torch.testing.assert_close(rate, (energy(x, level + h) - energy(x, level - h)) / (2 * h))


def test_too_many_coordinates_are_refused():
    from wgflow.data.dataset import Dataset

    x = torch.zeros(2, 2000)
    dataset = Dataset("wide", x, x, x[0], x[0] + 1)
    with pytest.raises(ValueError, match="at most 1024 coordinates: got 2000"):
        SPEC.check_data(dataset)


def test_too_many_columns_are_refused_by_the_header_before_they_are_read(tmp_path, monkeypatch):
    from wgflow.training import learner

    file = tmp_path / "wide.csv"
    file.write_text(",".join(f"c{i}" for i in range(3000)) + "\n")
    monkeypatch.setattr(learner, "load_data", None)
    with pytest.raises(ValueError, match="at most 1024 coordinates: got 3000; leave columns"):
        learner.Learner.build(configure(str(file), "tables"))


def test_gaussians_are_records():
    assert Gaussians._fields == ("weights", "means", "covariances")


def test_features_are_of_single_columns_at_first_and_as_many_of_each():
    spec = NoiseMLPSpec(lowest=1e-3, start="gaussian", features=4000)
    energy = spec.build(moments(3)._replace(points=5000), generator=seeded()).double()
    # What a phase gains where one coordinate of x does, and noise is none.
    s = energy.residual
    slopes = s.axes / s.variances.sqrt() @ s.frequencies.detach()
    assert slopes.shape == (3, 4002)
    seen = slopes.abs() > 1e-5
    assert torch.equal(seen.sum(0), torch.ones(4002, dtype=torch.int64))
    assert torch.equal(seen.sum(1), torch.full((3,), 1334))
    squares = slopes[seen] ** 2 / (0.7 / bandwidth(5000, 1)) ** 2
    assert abs(float(squares.mean() - 1)) < 4 * math.sqrt(2 / len(squares))


def test_more_columns_than_features_have_one_each():
    spec = NoiseMLPSpec(start="gaussian", features=4, width=8)
    energy = spec.build(DataMoments((7,), torch.eye(7, dtype=torch.float64)))
    assert energy.residual.frequencies.shape == (7, 7)
    weights = [p.numel() for p in energy.parameters() if p.ndim > 1]
    assert sum(weights) == spec.weights(7)


@pytest.mark.parametrize("others", [False, True])
def test_a_density_is_cut_at_a_multiple_of_the_reference_and_nowhere_else(others):
    energy = tilted(1, size=8.0, others=others)
    x = torch.linspace(-6, 6, 500, dtype=torch.float64)[:, None]
    tilt = energy.relative()
    with torch.no_grad():
        before, log_q = energy(x), -energy.source(x, energy.at(x, None))
        ratio = -before - log_q
        ceiling = float(ratio.quantile(0.7))
        tilt.bound(ceiling)
        after = energy(x)
        assert torch.allclose(-after - log_q, ratio.clamp(max=ceiling))
        assert torch.allclose(-tilt(x) - tilt.log_reference(x), ratio.clamp(max=ceiling))
        tilt.bound(math.inf)
        assert torch.equal(energy(x), before)
