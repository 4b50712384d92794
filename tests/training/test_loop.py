"""The training loop: what it steps, in which order, and what it leaves behind."""

import copy
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.optim.swa_utils import AveragedModel

from wgflow.samplers import MALA
from wgflow.schemes import (
    FirstOrder,
    Forward,
    InnerDescent,
    Loss,
    MaximumLikelihood,
    NearProximal,
    Population,
    Scheme,
)
from wgflow.training.loop import train

F64 = torch.float64


class Shift(nn.Module):
    """``E(x) = |x|² - θ·x``."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.4, -0.2], dtype=F64))

    def forward(self, x):
        return x.square().sum(1) - x @ self.theta


class Center(NamedTuple):
    """A carry: where to pull to, after how many advances."""

    batch: Tensor
    done: int
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Pull(Scheme[Center]):
    """``L(θ) = ½|θ - c|²`` for the carried batch c, trusted while L exceeds ``floor``."""

    inner_steps: int = 1
    floor: float = -1.0
    carry_types = (Center,)

    def init(self, energy, batch, *, generator=None):
        return Center(batch, 0, {})

    def loss(self, energy, carry, *, generator=None):
        value = (energy.theta - carry.batch).square().sum() / 2
        return Loss(value, {"loss": value.detach()})

    def advance(self, energy, batch, carry, *, generator=None):
        return Center(batch, carry.done + 1, {"theta": energy.theta.detach().clone()})

    def trusted(self, loss):
        return bool(loss.value > self.floor)


def sgd(energy, lr=0.1):
    return torch.optim.SGD(energy.parameters(), lr=lr)


def constant(value=0.0):
    while True:
        yield torch.full((2,), value, dtype=F64)


def data(start=0):
    """An endless stream, each batch known by its number."""
    for k in count(start):
        yield torch.randn(16, 2, generator=torch.Generator().manual_seed(k), dtype=F64) + 0.5


def population(reaction=True):
    return Population(
        MALA(step_size=0.1, target=0.5, adaptation=0.1),
        steps=2,
        size=64,
        held_out=32,
        held_out_every=2,
        scale=0.8,
        reaction=reaction,
        resample_below=0.9,
        global_moves=1,
        bandwidth=1.0,
        restart=0.0 if reaction else 0.1,
    )


SCHEMES = {
    "likelihood": MaximumLikelihood(population(False), regularisation=0.0, inner_steps=2),
    "first order": NearProximal(
        population(), Forward(), FirstOrder(share=0.5), h=None, inner_steps=3, trust=0.5
    ),
    "exact": NearProximal(
        population(), Forward(), InnerDescent(steps=2), h=0.2, inner_steps=3, trust=0.5
    ),
}


def take(run, steps):
    return list(islice(run, steps))


def test_each_step_takes_its_inner_steps_then_advances_once():
    energy = Shift()
    start = energy.theta.detach().clone()
    steps = take(train(energy, Pull(inner_steps=3), constant(), sgd(energy)), 4)
    for k, step in enumerate(steps, start=1):
        assert step.carry.done == k
        assert step.metrics["inner_steps"] == 3
        torch.testing.assert_close(step.metrics["theta"], start * 0.9 ** (3 * k))
        first = (start * 0.9 ** (3 * k - 3)).square().sum() / 2
        torch.testing.assert_close(step.metrics["loss"], first)


def test_each_step_learns_from_the_batch_it_was_given_before():
    energy = Shift()
    batches = iter([torch.full((2,), float(k), dtype=F64) for k in range(4)])
    steps = take(train(energy, Pull(), batches, sgd(energy, lr=1.0)), 3)
    assert [step.metrics["theta"].tolist() for step in steps] == [[0, 0], [1, 1], [2, 2]]
    assert [step.carry.batch[0].item() for step in steps] == [1, 2, 3]
    with pytest.raises(RuntimeError, match="StopIteration"):
        take(train(energy, Pull(), iter([]), sgd(energy)), 1)


class Softly(Pull):
    """Its first loss is a tenth of the others."""

    def first_loss(self, energy, carry, *, generator=None):
        loss = self.loss(energy, carry)
        return loss._replace(value=loss.value / 10)


def test_the_first_inner_step_of_each_is_on_the_first_loss():
    energy = Shift()
    start = energy.theta.detach().clone()
    take(train(energy, Softly(inner_steps=3), constant(), sgd(energy)), 2)
    torch.testing.assert_close(energy.theta.detach(), start * (0.99 * 0.9**2) ** 2)


def test_inner_steps_stop_when_the_scheme_loses_trust():
    energy = Shift()  # L = 0.1, then 0.081, 0.0656, 0.0531 ...
    steps = take(train(energy, Pull(inner_steps=9, floor=0.06), constant(), sgd(energy)), 2)
    assert [step.metrics["inner_steps"].item() for step in steps] == [3, 1]


@pytest.mark.parametrize(("trust", "taken"), [(0.0, 4), (1.0, 1)])
def test_near_proximal_steps_stop_when_particles_lose_trust(trust, taken):
    energy = Shift()
    dynamics = population(reaction=False)  # equal weights, which any change makes less so
    scheme = NearProximal(dynamics, Forward(), FirstOrder(1.0), 0.1, inner_steps=4, trust=trust)
    run = train(energy, scheme, data(), sgd(energy), generator=torch.Generator().manual_seed(0))
    assert [step.metrics["inner_steps"].item() for step in take(run, 3)] == [taken] * 3


@pytest.mark.parametrize("name", SCHEMES)
def test_a_resumed_run_is_the_uninterrupted_one(name):
    scheme, energy = SCHEMES[name], Shift()
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(0)
    run = train(energy, scheme, data(), optimizer, generator=generator)
    middle = take(run, 3)[-1].carry
    resumed = copy.deepcopy(energy)
    again = torch.optim.Adam(resumed.parameters(), lr=0.05)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    clone = torch.Generator()
    clone.set_state(generator.get_state())
    whole = take(run, 3)
    parts = take(train(resumed, scheme, data(4), again, carry=middle, generator=clone), 3)
    assert torch.equal(energy.theta, resumed.theta)
    for a, b in zip(whole, parts, strict=True):
        assert a.metrics.keys() == b.metrics.keys()
        assert all(torch.equal(a.metrics[key], b.metrics[key]) for key in a.metrics)
        assert torch.equal(a.carry.particles.x, b.carry.particles.x)
        assert torch.equal(a.carry.particles.log_weight, b.carry.particles.log_weight)
        assert torch.equal(a.carry.held_out.x, b.carry.held_out.x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_leaves_the_parameters(value):
    energy = Shift()
    batches = iter([torch.zeros(2, dtype=F64), torch.full((2,), value, dtype=F64)])
    run = train(energy, Pull(), batches, sgd(energy))
    next(run)
    before = energy.theta.detach().clone()
    with pytest.raises(FloatingPointError, match=f"The loss must be finite: got {value}"):
        next(run)
    assert torch.equal(energy.theta, before)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_leaves_the_parameters(clip):
    energy = Shift()
    before = energy.theta.detach().clone()
    energy.theta.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(FloatingPointError, match="The gradient must be finite: got norm nan"):
        next(train(energy, Pull(), constant(), sgd(energy), clip=clip))
    assert torch.equal(energy.theta, before)


@pytest.mark.parametrize(("clip", "moved"), [(None, 5.0), (7.0, 5.0), (0.3, 0.3)])
def test_clip_bounds_the_norm_of_the_gradient(clip, moved):
    energy = Shift()
    start = energy.theta.detach().clone()
    batches = iter([start + torch.tensor([3.0, -4.0], dtype=F64)] * 2)  # a gradient of norm 5
    take(train(energy, Pull(), batches, sgd(energy, lr=1.0), clip=clip), 1)
    change = energy.theta.detach() - start
    direction = torch.tensor([0.6, -0.8], dtype=F64)
    torch.testing.assert_close(change, moved * direction, rtol=1e-5, atol=0)


def test_rate_and_average_move_once_per_learning_step():
    energy = Shift()
    optimizer = sgd(energy, lr=0.2)
    scheduler, average = ExponentialLR(optimizer, gamma=0.5), AveragedModel(energy)
    run = train(
        energy,
        Pull(inner_steps=3),
        constant(),
        optimizer,
        scheduler=scheduler,
        average=average,
    )
    steps = take(run, 4)
    assert scheduler.get_last_lr() == [pytest.approx(0.2 * 0.5**4)]
    assert average.n_averaged == 4
    mean = torch.stack([step.metrics["theta"] for step in steps]).mean(0)
    torch.testing.assert_close(average.module.theta.detach(), mean)
    shrinkage = [(1 - 0.2 * 0.5**k) ** 3 for k in range(4)]
    for k, step in enumerate(steps[1:], start=1):
        torch.testing.assert_close(
            step.metrics["theta"], steps[k - 1].metrics["theta"] * shrinkage[k]
        )


def test_near_proximal_learns_a_mean():
    energy, generator = Shift(), torch.Generator().manual_seed(0)
    scheme = SCHEMES["first order"]
    batches = (x / x.std(0) * 0.5**0.5 + torch.tensor([0.7, -0.3]) for x in data())
    batches = (x - x.mean(0) + torch.tensor([0.7, -0.3]) for x in batches)
    run = train(energy, scheme, batches, sgd(energy, lr=0.3), generator=generator)
    take(run, 60)
    tail = []
    for _ in islice(run, 60):
        tail.append(energy.theta.detach() / 2)  # the mean of the model
    mean = torch.stack(tail).mean(0)
    torch.testing.assert_close(mean, torch.tensor([0.7, -0.3], dtype=F64), rtol=0, atol=0.05)
