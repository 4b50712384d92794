"""Batches in parts: the same losses and gradients to rounding, in the memory of one part."""

from itertools import islice

import pytest
import torch
from problems import F64, double, seeded
from torch import nn

from wgflow.config import Config, Data, Training
from wgflow.data.batches import Batches
from wgflow.data.moments import DataMoments
from wgflow.energies import base
from wgflow.energies.base import energy_and_grad
from wgflow.energies.microbatch import MicroBatched, microbatched
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.unet import ResNetSpec, UNetSpec
from wgflow.samplers import MALA, ULA
from wgflow.schemes import (
    EnergyMatching,
    FromData,
    FromNoise,
    GradientNorm,
    InnerDescent,
    Joint,
    MaximumLikelihood,
    NearProximal,
    Population,
    Reverse,
)
from wgflow.training.learner import Learner
from wgflow.training.loop import train

PEOPLE = Population(MALA(0.05), size=24, held_out=12, settle=1)
SCHEMES = {
    "likelihood": MaximumLikelihood(PEOPLE, regularisation=0.1, inner_steps=2),
    "short run": MaximumLikelihood(FromNoise(ULA(0.05), steps=2, size=20)),
    "contrastive": MaximumLikelihood(FromData(MALA(0.05), steps=2)),
    "restarted": MaximumLikelihood(Population(size=24, held_out=0, reaction=False, restart=0.2)),
    "gradient norm": GradientNorm(PEOPLE, gamma=0.2),
    "near-proximal": NearProximal(PEOPLE, inner_steps=3),
    "reverse": NearProximal(PEOPLE, form=Reverse(), h=0.3),
    "exact envelope": NearProximal(PEOPLE, envelope=InnerDescent(), h=0.1),
    "matching": EnergyMatching(0.5),
    "joint": Joint(EnergyMatching(0.5), NearProximal(PEOPLE), weight=0.3),
}


def network(seed=0):
    """A network that is not zero; its points have three coordinates."""
    energy = (
        MLPSpec(width=9, depth=2, features=5)
        .build(DataMoments((3,)), generator=seeded(seed))
        .double()
    )
    disturb(energy, seed)
    return energy


def disturb(energy, seed=7):
    generator = seeded(seed)
    with torch.no_grad():
        for p in energy.parameters():
            p += 0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator)


def batch(n=32, shape=(3,), seed=1):
    return torch.randn(n, *shape, dtype=F64, generator=seeded(seed))


def gradients(scheme, energy, carry, count):
    energy.zero_grad()
    loss = scheme.loss(microbatched(energy, count), carry, generator=seeded(3))
    loss.value.backward()
    zeros = torch.zeros(())
    grads = [zeros if p.grad is None else p.grad.clone() for p in energy.parameters()]
    return loss, grads


def assert_same(a, b, tolerance=1e-12):
    for x, y in zip(a, b, strict=True):
        assert float((x - y).detach().norm()) <= tolerance * (1 + float(x.detach().norm()))


@pytest.mark.parametrize("count", [2, 3, 31])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_loss_in_parts_is_that_of_the_whole(name, count):
    scheme, energy = SCHEMES[name], network()
    carry = scheme.init(energy, batch(), generator=seeded(2))
    disturb(energy)  # so that the energy differs from the one that was frozen
    one, expected = gradients(scheme, energy, carry, 1)
    loss, found = gradients(scheme, energy, carry, count)
    assert max(float(g.norm()) for g in expected) > 1e-3
    assert_same(expected, found)
    assert_same([one.value, *one.metrics.values()], [loss.value, *loss.metrics.values()])


@pytest.mark.parametrize("kind", [UNetSpec, ResNetSpec])
@pytest.mark.parametrize("name", ["matching", "near-proximal"])
def test_images_in_parts_are_those_of_the_whole(kind, name):
    scheme = SCHEMES[name]
    energy = (
        kind(widths=(4, 6), temperature=0.5)
        .build(DataMoments((1, 8, 8)), generator=seeded(0))
        .double()
    )
    disturb(energy)
    carry = scheme.init(energy, batch(10, (1, 8, 8)), generator=seeded(2))
    disturb(energy, 8)
    _, expected = gradients(scheme, energy, carry, 1)
    _, found = gradients(scheme, energy, carry, 3)
    assert_same(expected, found)


def learned(scheme, accumulate):
    energy = network()
    optimizer = torch.optim.Adam(energy.parameters(), 1e-3)
    batches = Batches(batch(200), 32, generator=seeded(4))
    options = {"accumulate": accumulate, "clip": 1.0, "generator": seeded(5)}
    steps = list(islice(train(energy, scheme, batches, optimizer, **options), 3))
    return list(energy.parameters()), [v for step in steps for v in step.metrics.values()]


@pytest.mark.parametrize("name", SCHEMES)
def test_learning_in_parts_takes_the_same_steps(name):
    expected, found = learned(SCHEMES[name], 1), learned(SCHEMES[name], 4)
    # Adam divides by gradients, some of which are near zero.
    assert_same(expected[0], found[0], 1e-9)
    assert_same(expected[1], found[1], 1e-8)


@pytest.mark.parametrize("graph", [False, True])
def test_energies_and_gradients_in_parts(graph):
    energy, x = network(), batch(7)
    split = MicroBatched(energy, 3, energy.parameters())
    expected = energy_and_grad(energy, x, create_graph=graph)
    found = energy_and_grad(split, x, create_graph=graph)
    assert_same(expected, found)
    assert [t.requires_grad for t in found] == [graph] * 2
    y = x.clone().requires_grad_()
    assert_same(expected[1:], torch.autograd.grad(split(y).sum(), y))
    with torch.no_grad():
        assert not split(x).requires_grad


def test_a_derivative_too_many_is_refused_and_not_left_out():
    energy = network()
    x = batch(4).requires_grad_()
    value = microbatched(energy, 2)(x)
    twice = (value * x[:, 0]).sum()
    (grad,) = torch.autograd.grad(twice, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


def test_parameters_that_do_not_take_part_have_no_gradient():
    energy = nn.Linear(3, 1, dtype=F64)
    energy.register_parameter("idle", nn.Parameter(double([1.0])))
    split = MicroBatched(lambda x: energy(x)[:, 0], 2, energy.parameters())
    split(batch(5)).sum().backward()
    assert energy.idle.grad is None
    torch.testing.assert_close(energy.weight.grad, batch(5).sum(0, keepdim=True))


class Meter:
    """Bytes that graphs hold at once beside the parameters, and the most they ever did."""

    def __init__(self, parameters):
        self.now = self.most = 0
        self.known = {p.data_ptr() for p in parameters}

    def pack(self, tensor):
        return Held(self, tensor)


class Held:
    def __init__(self, meter, tensor):
        self.meter, self.tensor = meter, tensor.detach()  # else an output would hold itself
        self.size = 0 if tensor.data_ptr() in meter.known else tensor.numel() * tensor.itemsize
        meter.now += self.size
        meter.most = max(meter.most, meter.now)

    def __del__(self):
        self.meter.now -= self.size


MANY = Population(MALA(0.05), size=1000, held_out=500, global_moves=0)
LARGE = {
    "likelihood": MaximumLikelihood(MANY),
    "near-proximal": NearProximal(MANY),
    "exact envelope": NearProximal(MANY, envelope=InnerDescent(), h=0.1),
    "matching": EnergyMatching(0.5),
}


def most(energy, act):
    """The most bytes that graphs held while something was done."""
    meter = Meter(energy.parameters())
    with torch.autograd.graph.saved_tensors_hooks(meter.pack, lambda held: held.tensor):
        act()
    return meter.most


@pytest.mark.parametrize("name", LARGE)
def test_memory_of_a_step_is_that_of_a_part(name):
    scheme, energy = LARGE[name], network()
    carry = scheme.init(energy, batch(1000), generator=seeded(2))
    optimizer = torch.optim.SGD(energy.parameters(), 0.0)

    def step(count):
        options = {"carry": carry, "accumulate": count, "generator": seeded(3)}
        next(train(energy, scheme, Batches(batch(1000), 1000), optimizer, **options))

    one, eighth = (most(energy, lambda n=n: step(n)) for n in (1, 8))
    points = 2256 * 3 * 8  # of data, particles and draws, which the loss itself keeps
    assert eighth < one / 8 + points
    assert points < one / 16


@pytest.mark.parametrize("act", ["start", "steps"])
def test_a_learner_takes_parts_from_its_configuration(act, monkeypatch):
    monkeypatch.setattr(base, "own_gradient", lambda energy, x: None)  # it needs no graph

    def learner(count):
        training = Training(steps=2, batch_size=800, accumulate=count)
        data = Data("moons", size=2000)
        return Learner.build(Config(data=data, scheme=LARGE["likelihood"], training=training))

    def bytes_of(count):
        made = learner(count)
        if act == "start":
            return most(made.energy, made.start)
        carry = made.start()
        return most(made.energy, lambda: next(made.steps(carry)))

    assert bytes_of(8) < 0.3 * bytes_of(1)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`accumulate` must be > 0 and finite: got 0"):
        Training(accumulate=0)
    with pytest.raises(ValueError, match=r"`training.accumulate` must be 1 with"):
        Config(energy=UNetSpec(spectral=True), training=Training(accumulate=2))
