"""Can it be my own network, and my own sampler? A module of PyTorch, and slices through it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

import wgflow
from wgflow.samplers.base import Info

STEPS = 150


class Rings(nn.Module):
    """An energy that sees how far a point is from four centres, which it learns."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
        self.net = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.last = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        squares = (x[:, None] - self.centres).square().sum(2)
        return self.last(self.net(squares)).squeeze(1)


class Chains(NamedTuple):
    """What a sampler carries from step to step."""

    x: Tensor
    energy: Tensor
    step_size: Tensor


@dataclass(frozen=True)
class RandomWalk(wgflow.Sampler[Chains]):
    """Metropolis's own: a Gaussian step, accepted with probability min(1, exp(-ΔE))."""

    step_size: float = 0.1

    def init(self, energy, x, *, generator=None):
        return Chains(x, energy(x), torch.tensor(self.step_size))

    def step(self, energy, state, *, generator=None):
        y = state.x + self.step_size * torch.randn(state.x.shape, generator=generator)
        value = energy(y)
        log_ratio = state.energy - value
        accept = torch.rand(len(y), generator=generator) < log_ratio.exp()
        x = torch.where(accept[:, None], y, state.x)
        moved = state._replace(x=x, energy=torch.where(accept, value, state.energy))
        return moved, Info(log_ratio, torch.zeros_like(value))

    def time(self, state):
        return self.step_size**2 / 2


config = wgflow.Config(
    data=wgflow.Data("rings"), training=wgflow.Training(steps=STEPS, patience=None)
)
run = wgflow.fit(config, "rings", energy=Rings())
print(f"log p of test points: {float(run.log_prob(run.dataset.test[:1000]).mean()):.3f} nats")

# Chains of one's own sampler keep what exact draws have: the mean energy stays.
x = run.sample(1000, generator=torch.Generator().manual_seed(0))
y = wgflow.sample(RandomWalk(), run.energy, x, 100, generator=torch.Generator().manual_seed(1))
before, after = run.energy(x), run.energy(y)
error = float((before.var() / 1000 + after.var() / 1000).sqrt())
print(f"Mean energy: {float(before.mean()):.3f}, after 100 steps {float(after.mean()):.3f}")
print(f"Standard error of the difference: {error:.3f}")
