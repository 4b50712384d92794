"""Several ranks: what they share, what they find together, and how they end."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from small_runs import CONFIG, assert_same, lines
from typer.testing import CliRunner

from wgflow._random import stream
from wgflow.cli import app
from wgflow.config import dumps
from wgflow.distributed.islands import combine, join, part, share
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.runs.fit import resume
from wgflow.runs.load import load
from wgflow.samplers.langevin import LangevinState
from wgflow.samplers.particles import Particles
from wgflow.schemes import FromNoise, Joint, MaximumLikelihood, Population
from wgflow.storage import folder

TWO = Ranks(1, 2)
LIMIT = 200
"""Seconds until a test of several processes gives up, sooner than these wait for a silent one."""

fabric = pytest.mark.skipif(
    find_spec("lightning_fabric") is None, reason="needs lightning-fabric, of wgflow[distributed]"
)


def spawn(tmp_path, *arguments):
    here = Path(__file__).parents[1], Path(folder.__file__).parents[2]
    paths = [*map(str, here), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=env, cwd=tmp_path, text=True, stderr=subprocess.PIPE)


def end(process):
    """Exit code and errors of a process that must end in time."""
    try:
        _, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # so that it can end those that it started
        raise
    return process.returncode, errors


def population(seed, n=50):
    g = torch.Generator().manual_seed(seed)
    x, a = torch.randn(n, 2, generator=g), torch.randn(n, generator=g)
    state = LangevinState(x, x.square().sum(1) / 2, x, torch.tensor(0.1 * (seed + 1)))
    return Particles(state, a, torch.tensor(0.3 * seed, dtype=torch.float64))


def test_a_metric_is_of_the_islands_that_have_it():
    found = [{"a": 1.0}, {"a": 3.0, "held_out_global_acceptance": 0.25}]
    expected = {"a": 2.0, "held_out_global_acceptance": 0.25}
    assert combine(found) == combine(found[::-1]) == expected


def test_totals_are_divided():
    both = Joint(equilibrium=MaximumLikelihood(dynamics=FromNoise(size=96)))
    for scheme in (CONFIG.scheme, both):
        own = share(replace(CONFIG, scheme=scheme), Ranks(3, 4, "cpu"))
        assert own.training == replace(CONFIG.training, batch_size=25)
    assert own.scheme.equilibrium.dynamics.size == 24
    own = share(CONFIG, TWO).scheme.dynamics
    assert own == replace(CONFIG.scheme.dynamics, size=64, held_out=32, draws=128)
    assert share(CONFIG, ALONE) == CONFIG
    assert share(CONFIG, Ranks(0, 2, "cuda:1")).device == "cuda:1"


def test_a_total_that_cannot_be_divided_is_named():
    odd = replace(CONFIG, scheme=MaximumLikelihood(dynamics=Population(held_out=7)))
    with pytest.raises(
        ValueError, match=r"scheme.dynamics.held_out. must be a multiple of 2.*got 7"
    ):
        share(odd, TWO)


def test_joined_islands_have_equal_shares_and_the_mean_of_their_z():
    islands = [population(seed) for seed in range(3)]
    whole = join(islands)
    z = sum(float(p.log_z.exp()) for p in islands) / 3
    assert float(whole.log_z) == pytest.approx(math.log(z))
    mean = sum(p.weights @ p.x for p in islands) / 3
    assert torch.allclose(whole.weights @ whole.x, mean)
    assert float(whole.state.step_size) == pytest.approx(0.2)
    assert whole.state.energy.shape == (150,)
    found = [{"ess": float(p.effective_fraction), "log_z": float(p.log_z)} for p in islands]
    assert combine(found) == pytest.approx(
        {"ess": float(whole.effective_fraction), "log_z": float(whole.log_z)}
    )


def test_one_island_is_the_population():
    p = population(0)
    assert join([p]) is p
    assert join([None, None]) is None
    assert combine([{"nll": 2.0}]) == {"nll": 2.0}


def test_metrics_are_means_but_for_likelihoods():
    found = [{"nll": 1.0, "cost": 1.0}, {"nll": 3.0, "cost": 3.0}]
    both = combine(found)
    assert both["cost"] == 2
    assert both["nll"] == pytest.approx(math.log((math.e + math.e**3) / 2))


def test_each_rank_has_its_own_streams_and_the_first_those_of_one_process():
    draws = [torch.rand(3, generator=stream(5, 2, rank=r)).tolist() for r in range(3)]
    assert draws[0] == torch.rand(3, generator=stream(5, 2)).tolist()
    assert draws[0] != draws[1] != draws[2]


def test_another_number_of_ranks_is_refused():
    state = {"carry": None, "islands": [{"carry": None}]}
    with pytest.raises(ValueError, match="expected 2, got 1"):
        part(state, ALONE)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of what two processes under torchrun did by `two_ranks.py`."""
    path = tmp_path_factory.mktemp("two")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    code, errors = end(spawn(path, *torchrun, Path(__file__).with_name("two_ranks.py"), path))
    assert code == 0, errors
    return path


@fabric
def test_two_ranks_under_torchrun_take_the_steps_and_learn_the_law_of_one(two):
    """Gradients are those of the whole batch; the location learned is the mean of the data."""
    for rank in range(2):
        z = eval((two / f"z{rank}").read_text())
        assert max(map(abs, z)) < 4, z


@fabric
def test_resumed_is_uninterrupted_on_two_ranks(two):
    whole = load(two / "whole")
    assert_same(load(two / "killed"), whole)
    x = whole.particles.x
    assert x.shape == (128, 2)
    assert not torch.equal(x[:64], x[64:])
    assert whole.held_out.x.shape == (64, 2)
    assert whole.config.scheme == CONFIG.scheme
    assert folder.read_json(two / "whole" / folder.ENVIRONMENT)["ranks"] == 2
    last = lines(two / "whole")[-1]
    assert last["step"] == CONFIG.training.steps
    assert whole.sample(10).isfinite().all()


@fabric
def test_what_one_rank_finds_rolls_all_of_them_back(two):
    run = load(two / "doubted")
    assert (run.steps, run.rollbacks) == (CONFIG.training.steps, 1)
    (event,) = lines(run.path, folder.EVENTS)
    assert (event["what"], event["step"], event["back_to"]) == ("a doubt", 7, 5)


@fabric
def test_one_rank_does_not_go_on_with_a_run_of_two(two):
    with pytest.raises(ValueError, match="as many ranks as it began with: expected 2, got 1"):
        resume(two / "left")
    assert load(two / "left").steps == 5


LOST = """
import os, signal, sys
from pathlib import Path
from small_runs import CONFIG
from wgflow.distributed.launch import launched
from wgflow.runs.fit import fit
def listener(step, metrics):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
with launched(2, 1, "cpu") as ranks:
    try:
        fit(CONFIG, Path(sys.argv[1]), listener=None if ranks.first else listener, ranks=ranks)
    except RuntimeError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
"""


@fabric
def test_a_killed_rank_ends_the_run_with_a_checkpoint_to_go_on_from(tmp_path):
    (tmp_path / "script.py").write_text(LOST)
    code, errors = end(spawn(tmp_path, tmp_path / "script.py", tmp_path / "r"))
    assert code == 1, errors
    assert "Lost: Another rank ended" in errors
    assert "of step 10, is whole; continue with: wgflow resume" in errors
    assert load(tmp_path / "r").steps == 10
    assert folder.read_json(tmp_path / "r" / folder.ENVIRONMENT)["status"] == "interrupted"
    assert not (tmp_path / "r" / folder.LOCK).exists()
    (event,) = lines(tmp_path / "r", folder.EVENTS)
    assert (event["event"], event["step"]) == ("rank-lost", 10)


@fabric
def test_an_interrupt_of_the_command_stops_all_ranks_in_order(tmp_path):
    (tmp_path / "c.toml").write_text(
        dumps(replace(CONFIG, training=replace(CONFIG.training, steps=10**5)))
    )
    out = tmp_path / "r"
    command = ("-m", "wgflow", "train", "--config", tmp_path / "c.toml", "--out", out)
    process = spawn(tmp_path, *command, "--devices", "2")
    until = time.monotonic() + LIMIT
    while not folder.size(out / folder.METRICS) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, errors = end(process)
    assert code == 130
    assert errors.count("Error: Stopped after step") == 1, errors
    assert load(out).steps > 0
    assert load(out).particles.x.shape == (128, 2)


def refused(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_several_ranks_have_a_device_each():
    assert "expected a device such as cpu or cuda" in refused(
        "train", "moons", "--devices", "2", "--device", "cuda:1"
    )


@fabric
def test_devices_that_are_not_there_are_refused():
    if not torch.cuda.is_available():
        told = refused("train", "moons", "--devices", "2", "--device", "cuda")
        assert "expected 2 of kind cuda" in told


@fabric
def test_machines_without_a_meeting_point_are_refused():
    told = refused("train", "moons", "--nodes", "2")
    assert "expected the environment variables NODE_RANK, MASTER_ADDR, MASTER_PORT" in told


def test_a_missing_fabric_is_told_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    told = refused("train", "moons", "--devices", "2")
    assert "pip install 'wgflow[distributed]'" in told


def test_torchrun_counts_the_processes(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert "expected LOCAL_WORLD_SIZE = 2" in refused("train", "moons", "--devices", "3")
