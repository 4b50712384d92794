"""Both flows keep one contract: what holds of every flow, on Gaussians."""

import math

import pytest
import torch
from problems import F64, double, seeded
from torch import nn

from wgflow.energies.noise_levels import NoiseLevels
from wgflow.flows import HeatFlow, MatchedPath, StraightPaths, flow_of
from wgflow.flows.base import TIMES

LEVELS = NoiseLevels(0.1, 5.0)
LIKE = torch.empty(7, 3, dtype=F64)


class White(nn.Module):
    """``N(0, (1/4 + σ²)I)`` at every level, of which the lowest is meant without one."""

    def forward(self, x, level=None):
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(LEVELS.lowest))
        return x.square().flatten(1).sum(1) / (2 * (0.25 + level.exp()))


FLOWS = {
    "heat": HeatFlow(White(), LEVELS, steps=5),
    "heat, stochastic": HeatFlow(White(), LEVELS, steps=5, stochastic=True),
    "path": MatchedPath(White(), StraightPaths(0.25, cutoff=0.5), steps=5),
}


@pytest.fixture(params=FLOWS)
def flow(request):
    return FLOWS[request.param]


def test_samples_are_like_what_is_asked_for_and_repeat(flow):
    x = flow.sample(LIKE, generator=seeded(1))
    assert x.shape == LIKE.shape
    assert x.dtype == F64
    assert torch.equal(x, flow.sample(LIKE, generator=seeded(1)))
    assert not torch.equal(x, flow.sample(LIKE, generator=seeded(2)))


@pytest.mark.parametrize("name", ["heat", "path"])
def test_a_trajectory_ends_at_the_sample(name):
    *_, last = FLOWS[name].trajectory(LIKE, generator=seeded(1))
    torch.testing.assert_close(last, FLOWS[name].sample(LIKE, generator=seeded(1)))


def test_a_bridge_keeps_what_is_known(flow):
    x, hidden = torch.ones(4, 3, dtype=F64), torch.tensor([True, False, True])
    y = flow.bridge(x, hidden, steps=10, generator=seeded(1))
    assert torch.equal(y[:, 1], x[:, 1])
    assert not (y[:, hidden] == x[:, hidden]).any()
    with pytest.raises(ValueError, match="mask"):
        flow.bridge(x, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="`steps` must be > 0"):
        flow.bridge(x, hidden, steps=0)


def test_denoising_moves_towards_the_mean(flow):
    y = torch.full((4, 3), 2.0, dtype=F64)
    x = flow.denoise(y, double([1.0]))
    assert (x < y).all()
    assert (x > 0).all()


def test_reconstruction_errors_are_larger_far_from_the_data(flow):
    near, far = torch.zeros(500, 3, dtype=F64), torch.full((500, 3), 6.0, dtype=F64)
    errors = [flow.reconstruction_error(x, generator=seeded(1)) for x in (near, far)]
    assert errors[0].shape == (500, len(TIMES))
    assert (errors[0].mean(0) < errors[1].mean(0)).all()


def test_options_change_and_others_are_refused(flow):
    assert flow.configured(steps=3, langevin=2).langevin == 2
    with pytest.raises(ValueError, match="`levels` must be an option of"):
        flow.configured(levels=LEVELS)
    with pytest.raises(ValueError, match="`langevin` must be ≥ 0 and finite: got -1"):
        flow.configured(langevin=-1)


def test_a_settled_step_is_taken_where_the_flow_knows_none_better():
    assert FLOWS["path"].langevin_step(0.3) == 0.3
    assert FLOWS["path"].langevin_step(None) == 0.25 * 0.5 / 8
    assert FLOWS["heat"].langevin_step(0.3) == LEVELS.lowest**2 / 8


def test_an_energy_has_the_flow_that_it_learned():
    paths = StraightPaths(0.1)
    assert isinstance(flow_of(White(), LEVELS, paths), HeatFlow)
    assert flow_of(White(), None, paths).paths is paths
    assert flow_of(White(), None, None) is None
