"""What does not fit into memory is refused before any work, with what would take it."""

import re

import pytest
import torch

from wgflow.config import build, override
from wgflow.data import memory
from wgflow.data.dataset import load
from wgflow.data.memory import check_memory
from wgflow.data.moments import DataMoments
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.noise_mlp import NoiseMLPSpec
from wgflow.training.learner import Learner

SMALL = ('data.name="moons"', "data.size=200", "scheme.dynamics.size=64", "energy.width=8")


def learner(*settings):
    return Learner.build(build(override({}, *SMALL, *settings)))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("data.size=1000000000000", "TiB for data (data.size): got"),
        ("scheme.dynamics.size=1000000000000", "for particles (scheme.dynamics.size): got"),
        ("scheme.dynamics.held_out=1000000000000", "for particles (scheme.dynamics.held_out): "),
        ("scheme.dynamics.draws=1000000000000", "for particles (scheme.dynamics.draws): got"),
        ("energy.width=10000000", "PiB for the network (energy): got"),
        ("energy.features=10000000000000", "for the network (energy)"),
    ],
)
def test_each_is_named(setting, named):
    with pytest.raises(ValueError, match="Memory must hold .*" + re.escape(named)):
        learner(setting)


@pytest.mark.parametrize(
    ("spec", "least"), [(MLPSpec(width=16, depth=3), 1.0), (NoiseMLPSpec(width=16), 0.4)]
)
def test_weights_are_counted(spec, least):
    """No more than there are, and all of a perceptron."""
    energy = spec.build(DataMoments((5,), torch.eye(5).double(), torch.zeros(5)))
    found = sum(p.numel() for p in energy.parameters())
    assert least * found <= spec.weights(5) <= found


def test_parts_are_listed_the_largest_first(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2.0**30)
    with pytest.raises(ValueError, match=r"hold 3 GiB for b, 512 MiB for a: got 1 GiB that are"):
        check_memory({"a": 2.0**29, "b": 3 * 2.0**30, "c": 1.0})
    check_memory({"a": 2.0**29, "b": 2.0**29})


def test_batches_are_of_the_data_there_are():
    assert learner("training.batch_size=1000000000000").batches.size == 200


def test_toys_of_a_usual_size_fit():
    assert load("moons", size=1000, dtype=torch.float64).train.shape == (1000, 2)
