"""The table of speeds: what is timed, and which way its ratios go."""

import importlib.util
from functools import partial

import pytest
import torch
from problems import seeded

from benchmarks import speed
from benchmarks.speed import convolutions, energies, lines, main, of_images, of_perceptron, parts
from wgflow.config import build
from wgflow.energies.base import energy_and_grad
from wgflow.energies.unet import ResNet, ResNetSpec
from wgflow.machine.bench import products
from wgflow.training.learner import Learner

OWN = {"WGFlow, Langevin", "WGFlow, MALA"}


@pytest.fixture
def alone(monkeypatch):
    """No peer is installed; threads stay as they are."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_products_are_those_of_the_perceptron():
    shapes = [tuple(y.shape) for y in products(energies()[1], 5)()]
    assert shapes == [(5, 256), (5, 256), (5, 1), (5, 2), (5, 256), (5, 256)]


def test_peers_step_the_same_energy():
    x = torch.randn(50, 2, generator=seeded(0))
    for own, plain in zip(*map(partial(energy_and_grad, x=x), energies()), strict=True):
        torch.testing.assert_close(own, plain)


def test_the_convolutions_are_those_of_a_gradient():
    net = ResNet((1, 4, 4), ResNetSpec(widths=(8,), blocks=1), generator=seeded(0))
    there, back = (convolutions(net, torch.randn(3, 1, 4, 4))()[k::2] for k in (0, 1))
    image, inner, value = (3, 4, 2, 2), (3, 8, 2, 2), (3, 1, 2, 2)
    assert [y.shape for y in there] == [inner, inner, inner, value]
    assert [x.shape for x, *_ in back] == [image, inner, inner, inner]


def test_a_ratio_above_one_says_that_wgflow_is_faster():
    found = {
        "WGFlow, Langevin": torch.tensor([20.0, 20.0, 20.0]),
        "WGFlow, MALA": torch.tensor([10.0, 10.0, 10.0]),
        "other, Langevin": torch.tensor([10.0, 10.0, 10.0]),
        "other, MALA": torch.tensor([20.0, 20.0, 20.0]),
    }
    told = lines(found)
    assert told[2].split()[-4:] == ["2.00", "(2.00", "to", "2.00)"]
    assert told[3].split()[-4:] == ["0.50", "(0.50", "to", "0.50)"]


def test_peers_that_are_not_installed_are_left_out(alone, capsys):
    assert set(of_perceptron(4)) == OWN | {"WGFlow, no formula", "products"}
    assert set(of_images(2)) == OWN | {"convolutions"}
    main(["perceptron", "--chains", "4", "--seconds", "0.01"])
    assert "4 chains" in capsys.readouterr().out


def test_a_learning_step_consists_of_its_parts():
    settings = {"data": {"name": "moons"}, "scheme": {"dynamics": {"size": 64, "held_out": 64}}}
    learner = Learner.build(build(settings))
    carry = learner.start()
    for work in parts(learner, carry).values():
        work()


def test_a_crowd_is_a_line(alone, monkeypatch):
    monkeypatch.setattr(speed, "in_turn", lambda works, *_, **__: {"": torch.tensor([0.5, 0.25])})
    seconds, memory = speed.crowd(10)
    assert seconds == 0.25
    assert memory > 10


def test_what_is_unknown_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["anything"])
    assert "must be one of perceptron, convolutional" in capsys.readouterr().err
