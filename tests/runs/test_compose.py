"""Products of runs, on runs of a few steps."""

from dataclasses import replace

import pytest
import torch
from command_line import refused
from problems import seeded

from wgflow.energies.base import Rescaled
from wgflow.runs.compose import compose, counted, standardised


def test_a_product_adds_energies_in_the_units_of_the_data(runs):
    moons, rings = runs["moons"], runs["rings"]
    x = rings.dataset.test[:50]
    product = compose([moons, rings], coefficients=[1.0, 0.5], temperature=2.0)
    expected = (moons.energy(x) + 0.5 * rings.energy(x)) / 2
    assert torch.allclose(product.energy(x), expected, rtol=1e-4, atol=1e-4)
    # Its inner energy is the same law in the units of the first run: less the log-Jacobian.
    inner = product.energy.energy(moons.standardise(x))
    jacobian = moons.energy.scale.log().sum().float()
    assert torch.allclose(inner, expected - jacobian, rtol=1e-4, atol=1e-4)
    assert product.path == moons.path
    assert product.event_shape == (2,)


def test_samples_of_a_product_are_of_the_product(runs):
    """Two Gaussians in the place of what two runs learned: N(0, 1) times N(2, 1) is N(1, 1/2)."""
    moons = runs["moons"]

    def gaussian(mean):
        energy = standardised(lambda x: (x - mean).square().sum(1) / 2, moons)
        return replace(moons, energy=energy)

    product = compose([gaussian(0.0), gaussian(2.0)])
    x = product.sample(4000, rounds=150, generator=seeded(0))
    assert x.mean(0).tolist() == pytest.approx([1.0, 1.0], abs=0.06)
    assert x.var(0).tolist() == pytest.approx([0.5, 0.5], abs=0.06)
    cold = compose([gaussian(0.0)], temperature=0.25)
    assert cold.sample(4000, rounds=150, generator=seeded(1)).var(0).tolist() == pytest.approx(
        [0.25, 0.25], abs=0.03
    )


def test_only_densities_of_the_same_points_are_multiplied(runs):
    with pytest.raises(ValueError, match=r"points of one shape: got \(2,\), \(1, 8, 8\)"):
        compose([runs["moons"], runs["digits"]])
    with pytest.raises(ValueError, match="got no runs"):
        compose([])
    assert "must have points of one shape" in refused(
        "sample", runs["moons"].path, "--times", runs["digits"].path
    )
    assert "`temperature` must be > 0" in refused("sample", runs["moons"].path, "--temperature", 0)


def test_counting(runs):
    moons, counter = counted(runs["moons"])
    x = moons.dataset.test[:7]
    assert torch.equal(moons.energy(x), runs["moons"].energy(x))
    assert counter.points == 7


def test_standardising_is_of_the_same_law(runs):
    moons = runs["moons"]
    energy = standardised(lambda x: x.square().sum(1), moons)
    assert isinstance(energy, Rescaled)
    x = moons.dataset.test[:5]
    assert torch.allclose(energy(x), x.square().sum(1), atol=1e-4)
