"""A caller's own module in the full machinery: learned, stopped, resumed, loaded, reported."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch
from problems import seeded
from torch import nn
from typer.testing import CliRunner

from wgflow.cli import app
from wgflow.config import Config, Data, Training, dumps, loads
from wgflow.data.moments import DataMoments
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.own_module import OwnModuleSpec
from wgflow.report import write_report
from wgflow.runs.evaluate import evaluate
from wgflow.runs.fit import fit, resume
from wgflow.runs.load import load
from wgflow.schemes import NearProximal, Population

SOURCE = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x).squeeze(1)
"""
exec(SOURCE)
CONFIG = Config(
    data=Data("moons", size=500),
    scheme=NearProximal(dynamics=Population(size=64, held_out=64)),
    training=Training(steps=12, batch_size=64, checkpoint_every=4, evaluate_every=6),
)


def mine(width=16):
    torch.manual_seed(0)
    return Mine(width)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(CONFIG, tmp_path_factory.mktemp("own") / "run", energy=mine())


def test_it_learns_and_leaves_the_callers_module_alone(run):
    assert run.steps == 12
    assert run.config.energy == OwnModuleSpec()
    x = run.dataset.test[:50]
    energies = [r.energy(x) for r in (run, load(run.path, energy=mine()))]
    assert torch.equal(*energies)
    module = mine()
    load(run.path, energy=module)
    assert torch.equal(module.net[0].weight, mine().net[0].weight)
    assert not torch.equal(module.net[0].weight, run.energy.energy.energy.net[0].weight)


def test_it_is_sampled_evaluated_and_reported(run):
    assert run.sample(10, generator=seeded(1)).shape == (10, 2)
    assert evaluate(run, samples=100)["nll"] < 10
    assert write_report(run).is_file()


def test_without_its_module_a_run_says_what_to_pass(run):
    with pytest.raises(ValueError, match=r"pass energy=\.\.\. to wgflow.fit, wgflow.resume"):
        load(run.path)
    result = CliRunner().invoke(app, ["evaluate", str(run.path)])
    assert result.exit_code == 2
    assert "`energy` must be the module that the run learns" in result.stderr


def test_other_modules_and_needless_ones_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="must have the parameters that were saved"):
        load(run.path, energy=mine(8))
    config = replace(CONFIG, energy=MLPSpec(width=8))
    with pytest.raises(ValueError, match="`energy` must be None for MLPSpec"):
        fit(config, tmp_path / "run", energy=mine())


def test_a_module_that_is_no_energy_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2,\) .*: got \(2, 1\)"):
        fit(CONFIG, tmp_path / "run", energy=nn.Linear(2, 1))
    assert not (tmp_path / "run").exists()


def test_its_configuration_is_toml():
    config = replace(CONFIG, energy=OwnModuleSpec(confinement=3.0))
    assert loads(dumps(config)) == config
    assert 'kind = "module"' in dumps(config)


def test_killed_and_resumed_is_uninterrupted(run, tmp_path):
    script, folder = tmp_path / "train.py", tmp_path / "run"
    (tmp_path / "config.toml").write_text(dumps(CONFIG))
    script.write_text(
        textwrap.dedent(SOURCE)
        + f"""
import sys, time, torch
from pathlib import Path
from wgflow.config import loads
from wgflow.runs.fit import fit

torch.manual_seed(0)
config = loads(Path({str(tmp_path / "config.toml")!r}).read_text())
fit(config, {str(folder)!r}, energy=Mine(), listener=lambda *_: time.sleep(0.2))
"""
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    metrics = folder / "metrics.jsonl"
    while process.poll() is None and not (
        metrics.exists() and metrics.read_text().count("\n") > 5
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = resume(folder, energy=mine())
    pairs = zip(run.energy.parameters(), again.energy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(run.particles.x, again.particles.x)


def test_unconfined_it_is_the_module_alone():
    network = OwnModuleSpec(confined=False).around(mine())
    energy, x = network.build(DataMoments((2,))), torch.randn(5, 2, generator=seeded(1))
    assert torch.equal(energy(x), mine()(x))
    assert isinstance(energy, nn.Module)
