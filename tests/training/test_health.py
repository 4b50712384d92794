"""Health: every kind of divergence is named with step, value and limit; healthy runs pass."""

import math
from itertools import islice

import pytest
import torch

from wgflow.data.batches import Batches
from wgflow.data.dataset import load
from wgflow.energies.confined import Confined
from wgflow.energies.mlp import MLP, MLPSpec
from wgflow.samplers.langevin import LangevinState
from wgflow.samplers.particles import Particles
from wgflow.schemes import GradientNorm, MaximumLikelihood, NearProximal, Population
from wgflow.training.health import History, Limits, Trouble, examine, leaves, reach, risen
from wgflow.training.loop import train

LIMITS = Limits()
WEIGHTS = {"parameters": [torch.ones(3)]}


def population(x, log_weight=None):
    zeros = torch.zeros(len(x))
    state = LangevinState(x, zeros, torch.zeros_like(x), torch.tensor(0.1))
    weight = zeros if log_weight is None else log_weight
    return Particles(state, weight, torch.zeros((), dtype=torch.float64))


def normal(n=200, dim=2, scale=1.0):
    return population(scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(0)))


def verdict(metrics=None, groups=None, weights=WEIGHTS, history=History(), limits=LIMITS):  # noqa: B008
    groups = [normal()] if groups is None else groups
    return examine(limits, history, 7, metrics or {}, groups, weights)[1]


def follow(gaps, **rest):
    """Step and verdict of the first trouble in a sequence of energy gaps."""
    history = History()
    for step, gap in enumerate(gaps):
        metrics = {"energy_gap": float(gap)} | rest
        history, trouble = examine(LIMITS, history, step, metrics, [normal()], WEIGHTS)
        if trouble:
            return trouble
    return None


def test_a_healthy_step_has_no_trouble():
    assert verdict({"energy_gap": -0.3, "ess": 0.4}) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_named(value):
    trouble = verdict({"entropy": 0.0, "cost": value})
    assert (trouble.step, trouble.what) == (7, "cost not finite")


def test_parameters_and_particles_that_are_not_finite_are_counted():
    bad = torch.tensor([1.0, math.nan, math.inf])
    assert verdict(weights={"parameters": [bad]}) == Trouble(
        7, "number of parameters not finite", 2, 0
    )
    groups = [normal(), population(bad[:, None])]
    assert verdict(groups=groups).what == "number of positions of particles not finite"
    groups = [population(torch.zeros(3, 2), bad)]
    assert verdict(groups=groups).what == "number of weights of particles not finite"


def test_everything_in_a_carry_is_looked_at():
    nan = torch.tensor(math.nan)
    carry = normal(), {"metric": nan}, [None, (torch.zeros(2), nan)]
    assert len(list(leaves(carry))) == 9
    assert verdict(weights={"carried values": leaves(carry)}).value == 2


def test_a_gap_that_grows_at_any_constant_rate_is_found_before_it_overflows():
    for rate in (1.01, 1.1, 2.0):
        trouble = follow(0.1 * rate**k for k in range(10_000))
        assert "runaway energy gap" in trouble.what
        assert trouble.value < 1e4


def test_a_gap_that_fluctuates_or_decays_is_none():
    noise = torch.randn(600, generator=torch.Generator().manual_seed(1))
    assert follow(0.3 * noise) is None
    assert follow(5 * noise) is None
    assert follow(14.0 * 0.99**k for k in range(400)) is None


def test_the_first_gap_is_what_it_is():
    history, trouble = examine(LIMITS, History(), 0, {"energy_gap": 1e6}, [normal()], WEIGHTS)
    assert trouble is None
    assert history == History(seen=1, gap=1e6)


def test_the_gap_may_grow_with_the_root_of_the_dimension():
    for dim in (1, 4, 64):
        limit, past = LIMITS.gap * (math.sqrt(dim) + 2.0), History(seen=1, gap=2.0)
        for factor in (0.99, 1.01):
            metrics = {"energy_gap": -factor * limit}
            _, trouble = examine(LIMITS, past, 0, metrics, [normal(dim=dim)], WEIGHTS)
            assert (trouble is None) == (factor < 1)
        assert trouble.limit == pytest.approx(limit)
        assert trouble.value == pytest.approx(1.01 * limit)


def test_trouble_does_not_enter_the_history():
    past = History(seen=10, gap=1.0)
    after, trouble = examine(LIMITS, past, 0, {"energy_gap": 1e6}, [normal()], WEIGHTS)
    assert trouble is not None
    assert after == past


def test_weights_collapse_only_after_consecutive_steps():
    history = History()
    for k in range(1, LIMITS.patience):
        history, trouble = examine(LIMITS, history, k, {"ess": 0.01}, [normal()], WEIGHTS)
        assert (history.thin, trouble) == (k, None)
    relieved, _ = examine(LIMITS, history, 0, {"ess": 0.5}, [normal()], WEIGHTS)
    assert relieved.thin == 0
    _, trouble = examine(LIMITS, history, 9, {"ess": 0.01}, [normal()], WEIGHTS)
    assert "effective fraction" in trouble.what
    assert (trouble.value, trouble.limit) == (0.01, LIMITS.ess)


def test_particles_that_leave_are_counted_by_weight():
    x = torch.zeros(100, 2)
    x[:5] = 1.01 * LIMITS.radius
    assert verdict(groups=[population(x)]) is None
    x[5] = 1.01 * LIMITS.radius
    trouble = verdict(groups=[population(x)])
    assert trouble.value == pytest.approx(0.06)
    assert "beyond radius 6" in trouble.what
    weightless = torch.zeros(100).index_fill(0, torch.arange(6), -50.0)
    assert verdict(groups=[population(x, weightless)]) is None


def test_reach_holds_the_first_particles():
    assert reach(LIMITS, [normal()]) == LIMITS.radius
    for dim in (1, 2, 64):
        wide = normal(5000, dim, scale=10.0)
        limits = Limits(radius=reach(LIMITS, [wide]))
        assert limits.radius == pytest.approx(30.0, rel=0.05)
        assert verdict(groups=[wide], limits=limits) is None


def test_a_validation_may_not_rise_far_above_its_best():
    limit = LIMITS.rise * 3  # four coordinates
    assert risen(LIMITS, 7, limit + 0.9, 1.0, 4) is None
    assert risen(LIMITS, 7, 1e9, math.inf, 4) is None  # the first one
    trouble = risen(LIMITS, 7, limit + 1.1, 1.0, 4)
    assert trouble == Trouble(7, "rise of nll over its best", pytest.approx(limit + 0.1), limit)


def test_a_verdict_reads_as_a_sentence():
    assert str(Trouble(3, "this", 2.0, 1.0)) == "this at step 3: 2, limit 1"


SCHEMES = {
    "near-proximal": NearProximal(dynamics=Population(size=256, held_out=128)),
    "unweighted": MaximumLikelihood(
        dynamics=Population(size=256, held_out=0, reaction=False, global_moves=0, restart=0.05)
    ),
    "gradient norm": GradientNorm(dynamics=Population(size=256, held_out=0)),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("name", ["eight-gaussians", "checkerboard"])
def test_a_healthy_run_passes_and_a_diverging_one_does_not(scheme, name):
    assert first_trouble(scheme, name, 5e-3) is None
    assert first_trouble(scheme, name, 1.0) is not None


def first_trouble(scheme, name, rate, steps=40):
    seed = torch.Generator().manual_seed(0)
    data = load(name, size=2000)
    energy = Confined(MLP((2,), MLPSpec(width=16, features=16), generator=seed), 2.0)
    batches = Batches(data.standardise(data.train), 256, generator=seed)
    optimizer = torch.optim.Adam(energy.parameters(), lr=rate, betas=(0.9, 0.99))
    learning = train(energy, scheme, batches, optimizer, generator=seed)
    history = History()
    for number, step in enumerate(islice(learning, steps)):
        metrics = {key: float(value) for key, value in step.metrics.items()}
        groups = [p for p in (step.carry.particles, step.carry.held_out) if p is not None]
        tensors = {"parameters": energy.parameters(), "carry": leaves(step.carry)}
        history, trouble = examine(LIMITS, history, number, metrics, groups, tensors)
        if trouble:
            return trouble
    return None
