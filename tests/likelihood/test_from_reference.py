"""Samples and log Z from a reference, against quadrature."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.data.targets import Gaussian
from wgflow.likelihood import from_reference
from wgflow.likelihood.from_reference import ceiling_of, draw, drawn, log_z_from_reference, reach

LIKE = torch.empty(1, 1, dtype=torch.float64)


def quadrature(energy, f=lambda x: torch.ones_like(x)):
    """``∫ f e^{-E} dx`` in one dimension."""
    x = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    with torch.no_grad():
        return float((f(x) * (-energy(x[:, None])).exp()).sum() * (x[1] - x[0]))


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("size", [0.3, 1.5])
def test_log_z_is_that_of_quadrature_and_lies_within_its_bounds(size, others):
    energy = tilted(1, size=size, others=others)
    truth = math.log(quadrature(energy))
    _, v = drawn(energy.relative(), LIKE, 100_000, seeded())
    found = log_z_from_reference(v, generator=seeded(1))
    assert abs(found.value - truth) < 4 * found.error
    assert found.error < 0.05
    assert found.upper - found.lower < 0.2


@pytest.mark.parametrize("others", [False, True])
def test_weights_of_draws_estimate_z_without_bias(others):
    energy = tilted(1, size=1.5, others=others)
    _, v = drawn(energy.relative(), LIKE, 20_000, seeded())
    ratio, z = (-v).exp(), quadrature(energy)
    assert abs(float(ratio.mean()) - z) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


def test_errors_of_log_z_are_its_scatter_and_bounds_hold_in_the_mean():
    energy = tilted(1, size=1.5)
    truth = math.log(quadrature(energy))
    found = [
        log_z_from_reference(v, generator=seeded())
        for v in drawn(energy.relative(), LIKE, 160_000, seeded(1))[1].split(4000)
    ]
    scores = torch.tensor([(each.value - truth) / each.error for each in found])
    assert abs(float(scores.square().mean()) - 1) < 4 * math.sqrt(2 / 40)
    lower, upper = (torch.tensor([each[k] for each in found]) for k in (2, 3))
    assert float(lower.mean()) < truth + 4 * float(lower.std()) / math.sqrt(40)
    assert float(upper.mean()) > truth - 4 * float(upper.std()) / math.sqrt(40)


@pytest.mark.parametrize("others", [False, True])
def test_draws_have_the_moments_of_the_model(others):
    energy = tilted(1, size=1.0, others=others)
    x = draw(energy.relative(), LIKE, 10_000, generator=seeded(5))[:, 0]
    z = quadrature(energy)
    for f in (lambda x: x, lambda x: x**2, torch.cos, lambda x: (x > 1).double()):
        truth = quadrature(energy, f) / z
        assert abs(float(f(x).mean()) - truth) < 4 * float(f(x).std()) / 100


def test_samples_come_in_pools_as_many_as_asked_for(monkeypatch):
    monkeypatch.setattr(from_reference, "CHUNK", 100)
    monkeypatch.setattr(from_reference, "NUMBERS", 600)
    tilt = tilted(1).relative()
    assert draw(tilt, LIKE, 600, rounds=2, generator=seeded()).shape == (600, 1)
    with pytest.raises(ValueError, match="`count` must be"):
        draw(tilt, LIKE, 0)
    with pytest.raises(ValueError, match="`rounds` must be"):
        draw(tilt, LIKE, 1, rounds=0)
    with pytest.raises(ValueError, match="`v` must be of 4 draws or more: got 3"):
        log_z_from_reference(torch.zeros(3))
    with pytest.raises(ValueError, match="must be finite"):
        log_z_from_reference(torch.full((4,), math.nan))


def test_a_sample_is_one_of_the_draws():
    """With as many draws of each, resampled by weights: none is moved, and none is left out."""
    tilt = tilted(1, size=1.0).relative()
    x = draw(tilt, LIKE, 256, rounds=4, generator=seeded(3))
    pool, v = drawn(tilt, LIKE, 1024, seeded(3))
    assert torch.isin(x[:, 0], pool[:, 0]).all()
    copies = torch.isin(pool[:, 0], x[:, 0])
    expected = 256 * (-v).softmax(0)
    assert copies[expected >= 1].all()


def test_weights_are_cut_at_a_multiple_of_the_mean_of_what_is_left():
    log_w = 3 * torch.randn(100_000, generator=seeded(), dtype=torch.float64)
    top = ceiling_of(log_w, 50.0)
    left = log_w.clamp(max=top).exp()
    assert float(left.max() / left.mean()) == pytest.approx(50, rel=1e-4)
    assert float(log_w.max()) > top


def test_weights_without_any_beyond_it_are_not_cut():
    log_w = torch.rand(1000, generator=seeded())
    assert ceiling_of(log_w, 50.0) > float(log_w.max())
    assert ceiling_of(log_w, 50.0) == pytest.approx(math.log(50 * float(log_w.exp().mean())))


def test_one_weight_that_is_almost_all_is_cut_to_its_share():
    log_w = torch.zeros(1000)
    log_w[7] = 80.0
    w = 50 * 999 / (1000 - 50)  # w = 50 (999 + w)/1000
    assert ceiling_of(log_w, 50.0) == pytest.approx(math.log(w), abs=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_of_an_energy_that_diverged_are_cut_nowhere(value):
    assert not math.isfinite(ceiling_of(torch.tensor([value, 0.0]), 50.0))


class Weighted:
    """Weights w on a share 1/w of ``q = N(0, 1)``, and hardly any elsewhere."""

    q = Gaussian(torch.zeros(1), torch.eye(1))

    def __init__(self, weight):
        self.limit = math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 / weight)).item()

    def __call__(self, x):
        return torch.where(x[:, 0] > self.limit, 0.0, 50.0).to(x)

    def reference(self, like, count, *, generator=None):
        x = self.q.sample(count, dtype=like.dtype, generator=generator)
        return x, self.log_reference(x)

    def log_reference(self, x):
        return torch.zeros_like(x[:, 0])

    def bound(self, ceiling):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("weight", "rounds"), [(20, 50), (60, 100), (150, 200), (390, 400), (3000, 400)]
)
def test_draws_are_as_many_as_weights_need(weight, rounds):
    """Each weight is w or 0: copies are a share of ``1 - R/w``."""
    tilt = Weighted(weight)
    known = reach(tilt, LIKE, generator=seeded(1))
    assert known.rounds == rounds
    x = draw(tilt, LIKE, 500, rounds=rounds, generator=seeded(0))
    copies = max(0.0, 1 - rounds / weight)
    assert abs(len(x.unique(dim=0)) / 500 - 1 + copies) < 0.1
    assert abs(known.log_z.value + math.log(weight)) < 4 * known.log_z.error
    assert known.log_z.error < 0.05 * max(1, (weight / 400) ** 0.5)
