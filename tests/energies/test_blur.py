"""The lowest level of noise: by what noise costs the data."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tilts import SPEC, families

import wgflow
from wgflow.data.mixtures import Gaussians
from wgflow.data.moments import DataMoments
from wgflow.energies.blur import COST, HALVES, USUAL_LEVEL, lowest_of
from wgflow.energies.mixture import NoisyMixture
from wgflow.energies.noise_mlp import NoiseMLPSpec
from wgflow.training.learner import Prepared

LEVELS = [USUAL_LEVEL / 2**k for k in range(HALVES + 1)]


def cost(level, deviation):
    """``KL(N(0, s²) ‖ N(0, s² + σ²))``."""
    r = level**2 / deviation**2
    return (math.log1p(r) + 1 / (1 + r) - 1) / 2


def gaussians(*deviations, weights=(1.0,), turn=0.5):
    """Gaussians around one point, each with its deviations along turned axes."""
    axes = torch.linalg.matrix_exp(torch.tensor([[0, turn], [-turn, 0]], dtype=torch.float64))
    squares = torch.tensor(deviations, dtype=torch.float64).square()
    covariances = axes @ torch.diag_embed(squares) @ axes.T
    return Gaussians(axes.new_tensor(weights), axes.new_zeros(len(weights), 2), covariances)


@pytest.mark.parametrize("deviation", [1.0, 0.05, 0.013, 0.007, 0.0035, 0.0009, 1e-5])
def test_it_is_the_greatest_level_that_costs_a_gaussian_little(deviation):
    allowed = [level for level in LEVELS if cost(level, deviation) <= COST]
    found = lowest_of(NoisyMixture([gaussians((1.0, deviation))]))
    assert found == (allowed[0] if allowed else LEVELS[-1])


def test_directions_add_up_and_rare_narrow_parts_count_little():
    thin = 0.021  # costs .0045 of the .01
    assert cost(USUAL_LEVEL, thin) < COST < 2 * cost(USUAL_LEVEL, thin)
    assert lowest_of(NoisyMixture([gaussians((1.0, thin))])) == USUAL_LEVEL
    assert lowest_of(NoisyMixture([gaussians((thin, thin))])) == USUAL_LEVEL / 2
    rare = gaussians((1.0, 1.0), (1.0, 0.005), weights=(0.995, 0.005))
    assert lowest_of(NoisyMixture([rare])) == USUAL_LEVEL


def test_no_width_at_all_has_the_least_level():
    assert lowest_of(NoisyMixture([gaussians((1.0, 0.0), turn=0.0)])) == LEVELS[-1]


def test_it_is_left_to_the_data_unless_it_is_given():
    narrow = DataMoments((2,), families=(gaussians((1.0, 0.005)),))
    assert NoiseMLPSpec().settled(narrow).lowest == USUAL_LEVEL / 8
    assert NoiseMLPSpec(lowest=0.02).settled(narrow).lowest == 0.02
    assert NoiseMLPSpec().settled(narrow._replace(families=())).lowest is None
    assert NoiseMLPSpec().noise_levels.lowest == USUAL_LEVEL
    wide = DataMoments((2,), families=tuple(families(2)))
    assert NoiseMLPSpec().settled(wide).lowest == USUAL_LEVEL


def test_settings_lead_to_a_network_of_any_level_that_the_data_chose():
    known = NoiseMLPSpec(lowest=0.005, start="coarse")
    assert NoiseMLPSpec(start="trial").leads_to(known)
    assert NoiseMLPSpec(lowest=0.005, start="trial").leads_to(known)
    assert not NoiseMLPSpec(lowest=0.01, start="trial").leads_to(known)
    assert not NoiseMLPSpec(start="trial", width=8).leads_to(known)
    assert SPEC.leads_to(SPEC)


@pytest.fixture(scope="module")
def nearly_twice(tmp_path_factory):
    """A file whose third column is the first but for .003 deviations."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 3))
    x[:, 2] = x[:, 0] + 0.003 * x[:, 2]
    file = tmp_path_factory.mktemp("table") / "x.npy"
    np.save(file, x)
    return str(file)


def test_a_run_is_settled_before_it_learns_and_no_worse_than_the_law(nearly_twice, tmp_path):
    small = ("training.steps=8", "training.batch_size=64", "energy.width=16", "energy.features=6")
    few = [f"scheme.scheme.dynamics.{name}=256" for name in ("size", "held_out")]
    config = wgflow.configure(nearly_twice, None, *small, *few)
    assert config.energy.lowest is None
    run = wgflow.fit(config, tmp_path / "run")
    assert run.config.energy.lowest == USUAL_LEVEL / 16  # .00213 deviations are the narrowest
    x = run.dataset.test
    exact = torch.distributions.Normal(0.0, 0.003).log_prob(x[:, 2] - x[:, 0])
    exact = exact + torch.distributions.Normal(0.0, 1.0).log_prob(x[:, :2]).sum(1)
    assert float((exact - run.log_prob(x)).mean()) < 0.05
    again = replace(config, init=str(tmp_path / "run"))
    assert wgflow.fit(again, tmp_path / "again").config.energy == run.config.energy


def test_smoothing_is_the_lowest_level_and_stays(nearly_twice):
    config = wgflow.configure(nearly_twice, None, "data.smoothing=0.01")
    assert Prepared.of(config).config.energy.lowest is None
    with pytest.raises(ValueError, match=r"must be the lowest noise level, .* = 0.01: got 0.1"):
        Prepared.of(wgflow.configure(nearly_twice, None, "data.smoothing=0.1"))
