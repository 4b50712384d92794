"""R-hat and effective sizes of chains of known autocorrelation."""

import math

import pytest
import torch
from problems import F64, seeded

from wgflow.montecarlo.diagnostics import effective_size, split_rhat


def autoregressive(rho, kept, chains, seed=0):
    """Stationary chains ``x' = ρx + √(1-ρ²) ξ``, (kept, chains, 2)."""
    noise = torch.randn(kept, chains, 2, dtype=F64, generator=seeded(seed))
    rows = [noise[0]]
    for row in noise[1:]:
        rows.append(rho * rows[-1] + math.sqrt(1 - rho**2) * row)
    return torch.stack(rows)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_effective_size_is_the_number_over_the_autocorrelation_time(rho):
    found = effective_size(autoregressive(rho, 400, 20))
    assert found == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.2)


def test_short_chains_count_once_and_none_more_than_their_positions():
    assert effective_size(autoregressive(0.9, 3, 20)) == 20
    assert effective_size(autoregressive(-0.5, 100, 10)) == 1000


def test_chains_that_agree_have_an_r_hat_of_one():
    found = split_rhat(autoregressive(0.5, 500, 10))
    assert found.shape == (2,)
    assert float((found - 1).abs().max()) < 0.02


def test_r_hat_sees_a_shift_a_drift_and_a_scale_of_one_coordinate():
    for change in ("shift", "drift", "scale"):
        x = autoregressive(0.0, 200, 10)
        if change == "shift":
            x[:, 0, 1] += 5
        elif change == "drift":
            x[:, :, 1] += torch.linspace(0, 4, 200)[:, None]
        else:
            x[:, :3, 1] *= 6
        found = split_rhat(x)
        assert float(found[0]) < 1.02, change
        assert float(found[1]) > 1.05, change


def test_refusals():
    with pytest.raises(ValueError, match=r"4 positions or more of 2 chains.* \(3, 5, 2\)"):
        split_rhat(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="must be finite"):
        split_rhat(torch.full((5, 5, 2), math.nan))
