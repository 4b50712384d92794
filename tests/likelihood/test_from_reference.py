"""Samples and log Z from a reference, against quadrature."""

import math

import pytest
import torch
from tilts import seeded, tilted

from wgflow.likelihood import from_reference
from wgflow.likelihood.from_reference import draw, drawn, log_z_from_reference, work

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
    found = log_z_from_reference(energy.relative(), LIKE, generator=seeded())
    assert abs(found.value - truth) < 4 * found.error
    assert found.error < 0.05
    assert found.upper - found.lower < 0.2


@pytest.mark.parametrize("others", [False, True])
def test_works_are_unbiased_for_any_path(others):
    energy = tilted(1, size=1.5, others=others)
    start = drawn(energy.relative(), LIKE, 20_000, seeded())
    ratio = work(energy.relative(), *start, [0.0, 0.4, 1.0], seeded(1)).exp()
    z = quadrature(energy)
    assert abs(float(ratio.mean()) - z) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


@pytest.mark.parametrize("others", [False, True])
def test_draws_have_the_moments_of_the_model(others):
    energy = tilted(1, size=1.0, others=others)
    x = draw(energy.relative(), LIKE, 10_000, generator=seeded(5))[:, 0]
    z = quadrature(energy)
    for f in (lambda x: x, lambda x: x**2, torch.cos, lambda x: (x > 1).double()):
        truth = quadrature(energy, f) / z
        assert abs(float(f(x).mean()) - truth) < 4 * float(f(x).std()) / 100


def test_counts_are_respected(monkeypatch):
    monkeypatch.setattr(from_reference, "CHUNK", 100)
    assert draw(tilted(1).relative(), LIKE, 250, rounds=1, generator=seeded()).shape == (250, 1)
    with pytest.raises(ValueError, match="`count` must be"):
        draw(tilted(1).relative(), LIKE, 0)
