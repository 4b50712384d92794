"""A new scheme, sampler, network and metric: one class and one line in one registry each."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import pytest
import torch
from problems import seeded
from torch import Tensor, nn

from wgflow.config import KINDS, Config, Data, Training, dumps, loads
from wgflow.energies.base import energy_and_grad
from wgflow.energies.confined import Confined
from wgflow.energies.network import Network
from wgflow.metrics.samples import DISTANCES
from wgflow.report import write_report
from wgflow.runs.evaluate import evaluate
from wgflow.runs.fit import fit, resume
from wgflow.runs.load import load
from wgflow.samplers import Info, Sampler
from wgflow.samplers.base import log_uniform_like, metropolis
from wgflow.schemes import Loss, Population
from wgflow.schemes.dynamics import Dynamics, ParticleScheme, energies


class Walk(NamedTuple):
    x: Tensor
    energy: Tensor
    grad: Tensor
    step_size: Tensor

    @property
    def langevin_step(self):
        return float(self.step_size) ** 2 / 2

    def jumped(self, x, energy, grad, generator):
        return self._replace(x=x, energy=energy, grad=grad)


@dataclass(frozen=True)
class RandomWalk(Sampler[Walk]):
    """``y = x + s ξ``, accepted with ``min(1, p(y)/p(x))``."""

    carry_types: ClassVar[tuple[type, ...]] = (Walk,)
    step_size: float = 0.3

    def init(self, energy, x, *, generator=None):
        value, grad = energy_and_grad(energy, x)
        return Walk(x.detach(), value, grad, value.new_tensor(self.step_size))

    def step(self, energy, state, *, generator=None) -> tuple[Walk, Info]:
        noise = torch.randn(state.x.shape, generator=generator)
        value, grad = energy_and_grad(energy, state.x + state.step_size * noise)
        proposal = Walk(state.x + state.step_size * noise, value, grad, state.step_size)
        log_uniform = log_uniform_like(value, generator=generator)
        return metropolis(state, proposal, state.energy - value, log_uniform)

    def time(self, state):
        return state.langevin_step


@dataclass(frozen=True)
class Squared(ParticleScheme):
    """Maximum likelihood with a penalty ``a (E_d E - Σ w E)²``."""

    dynamics: Dynamics = field(default_factory=Population)
    strength: float = 0.1
    inner_steps: int = 1

    def loss(self, energy, carry, *, generator=None):
        sample = carry.sample
        data, model = energies(energy, carry, sample)
        gap = data.mean() - sample.weights @ model
        return Loss(gap + self.strength * gap**2, {"energy_gap": gap.detach()})


@dataclass(frozen=True)
class Quadratic(Network):
    """``|Ax|²/2`` of points, confined."""

    rank: int = 3

    def build(self, moments, *, mixed=False, generator=None):
        return Confined(Bowl(math.prod(moments.event_shape), self.rank, generator), 2.0)


class Bowl(nn.Module):
    def __init__(self, dim, rank, generator):
        super().__init__()
        self.matrix = nn.Parameter(0.1 * torch.randn(rank, dim, generator=generator))

    def forward(self, x):
        return (x.flatten(1) @ self.matrix.T).square().sum(1) / 2


class MeanDistance:
    """``|mean x - mean y|``."""

    def __call__(self, x, y):
        return (x.mean(0) - y.mean(0)).norm()


PARTS = {"random-walk": RandomWalk, "squared": Squared, "quadratic": Quadratic}
CONFIG = Config(
    data=Data("moons", size=500),
    energy=Quadratic(),
    scheme=Squared(dynamics=Population(sampler=RandomWalk(), size=64, held_out=64)),
    training=Training(steps=12, batch_size=64, checkpoint_every=4, evaluate_every=6),
)


class Killed(Exception):
    """What stops a run where nothing can be saved."""


def kill(step, metrics):
    if step == 7:
        raise Killed


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, part in PARTS.items():
        monkeypatch.setitem(KINDS, name, part)
    monkeypatch.setitem(DISTANCES, "mean_distance", MeanDistance())


def test_they_are_configured_by_name():
    assert loads(dumps(CONFIG)) == CONFIG
    for name in PARTS:
        assert f'kind = "{name}"' in dumps(CONFIG)


def test_they_are_learned_killed_resumed_evaluated_and_reported(tmp_path):
    whole = fit(CONFIG, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "killed", listener=kill)
    again = resume(tmp_path / "killed")
    pairs = zip(whole.energy.parameters(), again.energy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(whole.particles.x, again.particles.x)
    assert torch.equal(whole.held_out.log_weight, again.held_out.log_weight)
    scores = evaluate(again, samples=200)
    assert scores["mean_distance"] < 2
    assert "mean_distance_floor" in scores
    assert write_report(again.path).is_file()
    assert load(again.path).sample(5, generator=seeded(1)).shape == (5, 2)


def test_what_a_network_cannot_learn_from_is_refused_before_any_work(tmp_path):
    @dataclass(frozen=True)
    class Picky(Quadratic):
        def check_data(self, dataset):
            raise ValueError("`data` must be round.")

    with pytest.raises(ValueError, match="must be round"):
        fit(replace(CONFIG, energy=Picky()), tmp_path / "run")
    assert not (tmp_path / "run").exists()
