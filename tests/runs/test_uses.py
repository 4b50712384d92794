"""Units, step sizes and initialisations of the uses of a run."""

import pytest
import torch
from problems import seeded

from wgflow.runs.uses import highest_temperature, initialisation, langevin_step
from wgflow.tasks.inpaint import side


def test_units_there_and_back(runs):
    digits = runs["digits"]
    x = digits.dataset.test[:5]
    u = digits.standardise(x)
    assert torch.allclose(u, digits.dataset.standardise(x))
    assert torch.allclose(digits.unstandardise(u), x, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) after the first axis: got \(3, 2"):
        digits.standardise(torch.zeros(3, 2))


def test_steps_and_temperatures_follow_the_scheme(runs):
    """Wells of variance ε(1-t*) = 0.0125 · 0.2, an eighth of which is a step."""
    assert langevin_step(runs["digits"]) == pytest.approx(0.0025 / 8)
    assert highest_temperature(runs["digits"]) == pytest.approx(400.0)
    assert langevin_step(runs["moons"]) == float(runs["moons"].particles.state.step_size)
    assert highest_temperature(runs["moons"]) == 10.0


def test_beginnings_of_chains(runs):
    digits = runs["digits"]
    known = digits.standardise(digits.dataset.test[:3])
    mask = side("top", (1, 8, 8))
    begun = initialisation(digits, None, 3, known, mask, generator=seeded(0))["start"]
    assert torch.equal(begun[:, ~mask], known[:, ~mask])
    cooled = initialisation(digits, "noise", 3, known, mask, generator=seeded(0))["temperatures"]
    assert cooled == pytest.approx([400.0, 20.0, 1.0])
