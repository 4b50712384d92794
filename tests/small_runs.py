"""A run of a few steps in the plane, its end at any step, and the equality of two runs."""

from dataclasses import replace

import numpy as np
import torch

from wgflow.config import Config, Data, Training
from wgflow.energies.mlp import MLPSpec
from wgflow.schemes import NearProximal, Population
from wgflow.storage import folder

SMALL = Population(size=128, held_out=64, held_out_every=3)
STEPS = 16
CONFIG = Config(
    seed=3,
    data=Data(size=2000),
    energy=MLPSpec(width=16, depth=1, features=8),
    scheme=NearProximal(dynamics=SMALL),
    training=Training(
        steps=STEPS, batch_size=100, warmup=4, evaluate_every=4, checkpoint_every=5, patience=None
    ),
)


class Killed(Exception):
    """Stands for the end of the process."""


def killer(at):
    def listen(step, metrics):
        if step == at:
            raise Killed

    return listen


def training(**changes):
    return replace(CONFIG, training=replace(CONFIG.training, **changes))


def lines(path, name=folder.METRICS):
    clocks = ("seconds", "cpu_seconds")
    records = folder.read_lines(path / name)
    return [{key: v for key, v in line.items() if key not in clocks} for line in records]


def assert_same(a, b):
    """Two runs learned the same, bit for bit."""
    for x, y in zip(a.energy.state_dict().values(), b.energy.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(a.particles.x, b.particles.x)
    assert torch.equal(a.particles.log_weight, b.particles.log_weight)
    assert torch.equal(a.held_out.log_z, b.held_out.log_z)
    assert lines(a.path) == lines(b.path)
    first, second = (np.load(run.path / folder.FRAMES) for run in (a, b))
    assert np.array_equal(first["step"], second["step"])
    assert np.array_equal(first["x"], second["x"])
