"""Runs: resumed equals uninterrupted, trouble is rolled back and told, folders are protected."""

import copy
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import CONFIG, SMALL, STEPS, Killed, assert_same, killer, lines, training
from torch import nn

from wgflow.config import Data, loads
from wgflow.data.dataset import TOYS, Dataset, load as load_data
from wgflow.data.moments import DataMoments
from wgflow.data.targets import GaussianMixture
from wgflow.energies.mlp import MLPSpec
from wgflow.errors import Diverged, Interrupted
from wgflow.likelihood.quadrature import kl, log_density
from wgflow.runs.fit import _anchored, fit, resume
from wgflow.runs.load import load
from wgflow.samplers import HMC
from wgflow.schemes import (
    GradientNorm,
    InnerDescent,
    Joint,
    MaximumLikelihood,
    NearProximal,
    Population,
)
from wgflow.storage import checkpoint, folder
from wgflow.storage.lock import holder
from wgflow.training import recorder as recording
from wgflow.training.flat import CELLS, box_around, by_quadrature
from wgflow.training.learner import Learner
from wgflow.training.progress import read_state
from wgflow.training.recorder import frame_steps, snapshot
from wgflow.training.runner import ROLLBACKS, Runner
from wgflow.training.validation import validator

SCHEMES = {
    "near-proximal": CONFIG.scheme,
    "frozen copy": NearProximal(dynamics=SMALL, envelope=InnerDescent()),
    "momenta": MaximumLikelihood(dynamics=replace(SMALL, sampler=HMC(leapfrog=2))),
    "restarts": GradientNorm(dynamics=replace(SMALL, reaction=False, restart=0.1)),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An uninterrupted run."""
    return fit(CONFIG, tmp_path_factory.mktemp("runs") / "whole")


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_resumed_is_uninterrupted(tmp_path, scheme):
    config = replace(CONFIG, scheme=scheme)
    whole = fit(config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(config, tmp_path / "killed", listener=killer(8))  # three steps after a checkpoint
    assert_same(resume(tmp_path / "killed"), whole)


def test_resumed_is_uninterrupted_with_muon(tmp_path):
    config = training(optimizer="muon")
    whole = fit(config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(config, tmp_path / "killed", listener=killer(8))
    assert_same(resume(tmp_path / "killed"), whole)


@pytest.mark.parametrize("at", [1, 5, 12])
def test_resumed_is_uninterrupted_wherever_it_stopped(tmp_path, run, at):
    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "killed", listener=killer(at))
    with pytest.raises(Killed):
        resume(tmp_path / "killed", listener=killer(max(at, 12)))
    assert_same(resume(tmp_path / "killed"), run)


def test_a_signal_stops_after_a_whole_step(tmp_path, run):
    before = signal.getsignal(signal.SIGTERM)

    def listen(step, metrics):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"after step 7 of 16; continue with: wgflow resume"):
        fit(CONFIG, tmp_path / "r", listener=listen)
    assert signal.getsignal(signal.SIGTERM) is before
    assert load(tmp_path / "r").steps == 7
    assert folder.read_json(tmp_path / "r" / folder.ENVIRONMENT)["status"] == "interrupted"
    assert_same(resume(tmp_path / "r"), run)


def test_a_killed_process_leaves_a_lock_that_is_taken_over(tmp_path, run):
    script = f"""
import os, signal, sys
from pathlib import Path
from wgflow.config import loads
from wgflow.runs.fit import _anchored, fit
def listen(step, metrics):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
fit(loads(sys.stdin.read()), Path({str(tmp_path / "r")!r}), listener=listen)
"""
    config = (run.path / folder.CONFIG).read_text()
    command = [sys.executable, "-c", script]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    child = subprocess.run(command, input=config, text=True, env=os.environ | threads)
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "r" / folder.LOCK).exists()
    assert holder(tmp_path / "r") is None
    assert_same(resume(tmp_path / "r"), run)
    assert not (tmp_path / "r" / folder.LOCK).exists()


@pytest.mark.parametrize("dies", ["Runner.open", "Runner.save", "checkpoint.save"])
def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, run, monkeypatch, dies):
    def die(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"wgflow.training.runner.{dies}", die)
        with pytest.raises(Killed):
            fit(CONFIG, tmp_path / "r")
    assert not folder.is_learned(tmp_path / "r")
    with pytest.raises(ValueError, match="start it again with: wgflow resume"):
        load(tmp_path / "r")
    assert_same(resume(tmp_path / "r"), run)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, run):
    """The same network in each, and other seeds, schemes, data or optimisations."""
    others = {
        "seed": replace(CONFIG, seed=4),
        "scheme.dynamics.held_out_every": replace(
            CONFIG, scheme=NearProximal(dynamics=replace(SMALL, held_out_every=2))
        ),
        "data.name": replace(CONFIG, data=replace(CONFIG.data, name="moons")),
        "training.warmup": training(warmup=5),
    }
    for key, config in others.items():
        with pytest.raises(Killed):
            fit(config, tmp_path / key, listener=killer(1))
        file = tmp_path / key / folder.CHECKPOINT
        own = file.read_bytes()
        file.write_bytes((run.path / folder.CHECKPOINT).read_bytes())
        for use in (load, resume):
            with pytest.raises(
                ValueError, match=re.escape(f"beside it describes: expected {key}")
            ):
                use(tmp_path / key)
        file.write_bytes(own)
        assert load(tmp_path / key).steps == 0


def test_a_checkpoint_is_bound_to_its_data_and_not_to_its_place(tmp_path, monkeypatch):
    """Two files of one name: the run goes on with the first, wherever it lies, and no other."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", rng.normal(size=(400, 3)))
        with pytest.raises(Killed):
            fit(
                replace(CONFIG, data=Data(str(tmp_path / name / "x.npy"))),
                tmp_path / f"r{name}",
                listener=killer(6),
            )
    (tmp_path / "a").rename(tmp_path / "c")
    config = tmp_path / "ra" / folder.CONFIG
    config.write_text(config.read_text().replace(str(tmp_path / "a"), str(tmp_path / "c")))
    assert load(tmp_path / "ra").dataset.event_shape == (3,)
    file = tmp_path / "rb" / folder.CHECKPOINT
    file.write_bytes((tmp_path / "ra" / folder.CHECKPOINT).read_bytes())
    with pytest.raises(ValueError, match="got one learned from other data"):
        load(tmp_path / "rb")
    config.write_text(config.read_text().replace(str(tmp_path / "c"), str(tmp_path / "b")))
    with pytest.raises(ValueError, match="`data` must be those the run started on"):
        resume(tmp_path / "ra")


def test_checkpoints_from_before_they_were_bound_are_loaded(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "r")
    file = tmp_path / "r" / folder.CHECKPOINT
    state = read_state(run.path, CONFIG.scheme, "cpu")
    checkpoint.save(file, {key: part for key, part in state.items() if key != "run"})
    assert_same(load(tmp_path / "r"), run)


def test_a_finished_run_is_loaded_by_resume(run):
    when = (run.path / folder.CHECKPOINT).stat().st_mtime_ns
    assert_same(resume(run.path), run)
    assert (run.path / folder.CHECKPOINT).stat().st_mtime_ns == when


def test_seeds_differ_and_repeat(tmp_path, run):
    assert_same(fit(CONFIG, tmp_path / "again"), run)
    other = fit(replace(CONFIG, seed=4), tmp_path / "other")
    assert not torch.equal(other.particles.x, run.particles.x)


def test_learning_lowers_the_exact_kl(tmp_path):
    run = fit(training(steps=60, average=0.8, learning_rate=0.01, warmup=5), tmp_path / "r")
    gaps = [line["kl"] for line in lines(run.path) if "kl" in line]
    assert gaps[-1] < 0.8 * gaps[0]
    data = run.dataset
    box = box_around(data.train)
    target = log_density(lambda x: -data.target.log_prob(x), box)
    assert float(kl(target, log_density(run.energy, box), box)) == pytest.approx(gaps[-1], 1e-4)


def table_of(dim, far=0.0):
    generator = torch.Generator().manual_seed(5)
    x = 3 + 2 * torch.randn(1000, dim, generator=generator)
    x[0] += far
    return Dataset("table", x[:900], x[900:], x[:900].mean(0), x[:900].std(0))


def test_the_loaded_energy_is_the_average_in_original_units(run):
    state = run.path / folder.CHECKPOINT
    data = run.dataset
    assert state.exists()
    x = data.test[:50]
    u = data.standardise(x)
    log_scale = data.scale.log().sum()
    assert torch.allclose(run.energy(x), run.energy.energy(u) + log_scale, atol=1e-5)
    assert not any(p.requires_grad for p in run.energy.parameters())
    assert not run.energy.training
    assert (run.steps, run.event_shape, run.rollbacks) == (STEPS, (2,), 0)
    assert run.config == loads((run.path / folder.CONFIG).read_text()) == CONFIG


def test_metrics_have_one_line_per_step_with_clocks_and_validation(run):
    records = folder.read_lines(run.path / folder.METRICS)
    assert [line["step"] for line in records] == list(range(1, STEPS + 1))
    assert [line["step"] for line in records if "kl" in line] == [4, 8, 12, 16]
    for name in ("seconds", "cpu_seconds"):
        clock = [line[name] for line in records]
        assert clock == sorted(clock)
        assert clock[0] > 0
    rates = [line["learning_rate"] for line in records]
    peak = CONFIG.training.learning_rate
    assert rates[:4] == pytest.approx([peak * k / 4 for k in (1, 2, 3, 4)])
    assert rates[4] == pytest.approx(peak)
    assert rates[10] == pytest.approx(peak / 2)
    assert list((run.path / folder.TENSORBOARD).iterdir())
    assert not (run.path / folder.EVENTS).exists()


def test_environment_says_how_to_repeat_the_run(run):
    env = json.loads((run.path / folder.ENVIRONMENT).read_text())
    assert (env["status"], env["steps"], env["rollbacks"]) == ("finished", STEPS, 0)
    assert env["torch"] == torch.__version__
    assert env["threads"] == torch.get_num_threads()
    assert env["command"] == sys.argv
    assert env["seconds"] > 0


def test_frames_go_from_disorder_to_the_last_particles(run):
    frames = np.load(run.path / folder.FRAMES)
    data = run.dataset
    assert frames["step"].tolist() == list(range(STEPS + 1))
    assert frames["x"].shape == (STEPS + 1, 128, 2)
    u = data.standardise(torch.from_numpy(frames["x"]))
    law, _ = run.energy.energy.reference(u[0], 20_000, generator=torch.Generator().manual_seed(0))
    for share in (0.25, 0.5, 0.75):
        radius = torch.linalg.vector_norm(law, dim=1).quantile(share)
        inside = float((torch.linalg.vector_norm(u[0], dim=1) < radius).double().mean())
        assert inside == pytest.approx(share, abs=4 * (share * (1 - share) / 128) ** 0.5)
    assert np.array_equal(frames["x"][-1], snapshot(run.particles, data, STEPS))


def test_frame_steps_are_log_spaced():
    steps = sorted(frame_steps(10_000))
    assert steps[:4] == [0, 1, 2, 3]
    assert steps[-1] == 10_000
    assert 30 <= len(steps) <= 40
    ratios = np.diff(np.log(steps[-20:]))
    assert np.allclose(ratios, ratios[0], rtol=0.05)


def test_a_snapshot_is_resampled_by_weight(run):
    """Half the particles hold nine tenths of the weight, and so of the snapshot."""
    p = run.particles
    heavy = torch.arange(128) < 64
    x = heavy.float()[:, None].expand(-1, 2).clone()
    p = p._replace(
        state=p.state._replace(x=run.dataset.standardise(x)),
        log_weight=torch.where(heavy, 9.0, 1.0).log(),
    )
    assert snapshot(p, run.dataset, 0).mean() == pytest.approx(0.9, abs=0.01)


def test_a_learning_rate_too_large_is_rolled_back_and_told(tmp_path, caplog):
    config = training(learning_rate=100.0, warmup=0)
    with pytest.raises(Diverged, match=r"in spite of 3 rollbacks: .* step \d+: .*last good"):
        fit(config, tmp_path / "r")
    events = folder.read_lines(tmp_path / "r" / folder.EVENTS)
    assert [event["event"] for event in events] == ["rollback"] * ROLLBACKS + ["diverged"]
    assert [event["learning_rate"] for event in events[:3]] == [50.0, 25.0, 12.5]
    assert all(event["step"] > event["back_to"] for event in events[:3])
    assert sum("back to step" in message for message in caplog.messages) == ROLLBACKS
    env = folder.read_json(tmp_path / "r" / folder.ENVIRONMENT)
    assert (env["status"], env["rollbacks"]) == ("diverged", ROLLBACKS)
    survivor = load(tmp_path / "r")
    assert survivor.steps == env["steps"]
    assert all(p.isfinite().all() for p in survivor.energy.parameters())


class Fragile(nn.Module):
    """An energy that returns NaN in some of its calls of one kind; its copies are healthy.

    Kinds are told by what gradients are wanted: "loss" those of parameters, "values" none.
    """

    def __init__(self, energy, kind, bad):
        super().__init__()
        self.energy = energy
        self.kind, self.bad, self.calls = kind, bad, itertools.count()

    def forward(self, x):
        kind = "values" if not torch.is_grad_enabled() else "grad" if x.requires_grad else "loss"
        ill = kind == self.kind and next(self.calls) in self.bad
        return self.energy(x) * (float("nan") if ill else 1.0)

    def __deepcopy__(self, memo):
        return Fragile(copy.deepcopy(self.energy), "none", ())


def use_fragile(monkeypatch, kind, bad):
    make, made = MLPSpec.build, itertools.count()

    def fragile(*args, **options):
        # Inside the confinement, from whose law the particles start.
        confined = make(*args, **options)
        learns = next(made) == 0  # the second is loaded
        confined.energy = Fragile(confined.energy, kind if learns else "none", bad)
        return confined

    monkeypatch.setattr(MLPSpec, "build", fragile)


@pytest.mark.parametrize(("kind", "call"), [("loss", 0), ("values", 5), ("values", 9)])
def test_a_passing_nan_costs_one_rollback(tmp_path, monkeypatch, run, kind, call):
    """Wherever a NaN enters it is told, and the run goes on from the last good state."""
    use_fragile(monkeypatch, kind, [call])
    broken = fit(CONFIG, tmp_path / "r")
    (event,) = lines(broken.path, folder.EVENTS)
    assert (event["event"], broken.rollbacks) == ("rollback", 1)
    back, healthy, after = event["back_to"], lines(run.path), lines(broken.path)
    assert back in (0, 5, 10)
    assert back < event["step"] <= back + 6
    assert [line["step"] for line in after] == list(range(1, STEPS + 1))
    # A module around a perceptron has its gradient by autograd, which rounds in its own way.
    assert after[:back] == [pytest.approx(line, abs=1e-9) for line in healthy[:back]]
    for line, other in zip(after[back:], healthy[back:], strict=True):
        assert line["learning_rate"] == pytest.approx(other["learning_rate"] / 2)


def test_a_lasting_nan_ends_the_run(tmp_path, monkeypatch):
    use_fragile(monkeypatch, "loss", range(20, 10**6))
    with pytest.raises(Diverged, match=r"loss not finite at step \d+: nan"):
        fit(CONFIG, tmp_path / "r")


def test_a_run_that_rolled_back_resumes_bit_for_bit(tmp_path, monkeypatch):
    examine = Runner.judge

    def judge(self, progress, carry, metrics):
        bad = progress.step == 6 and not progress.rollbacks
        return examine(self, progress, carry, metrics | ({"energy_gap": 1e9} if bad else {}))

    monkeypatch.setattr(Runner, "judge", judge)
    whole = fit(CONFIG, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "killed", listener=killer(8))
    resumed = resume(tmp_path / "killed")
    assert (whole.rollbacks, resumed.rollbacks) == (1, 1)
    assert_same(resumed, whole)
    assert lines(whole.path, folder.EVENTS) == lines(resumed.path, folder.EVENTS)


def test_patience_stops_early_and_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "wgflow.training.runner.validator", lambda *args: lambda *args: {"nll": 1.0}
    )
    run = fit(training(patience=2, steps=40), tmp_path / "r")
    assert run.steps == 12  # the first of three validations counts as an improvement
    assert lines(run.path, folder.EVENTS) == [{"step": 12, "event": "early-stop", "best": 1.0}]
    assert folder.read_json(run.path / folder.ENVIRONMENT)["status"] == "finished"
    assert np.load(run.path / folder.FRAMES)["step"][-1] == 12


@pytest.mark.parametrize(
    ("values", "kept"), [([2, 1, 3, 4], 1), ([1, 2, None, None], 0), ([None, 3, None, 4], 1)]
)
def test_the_energy_that_validated_best_is_kept(tmp_path, monkeypatch, values, kept):
    """What cannot be validated changes nothing."""
    seen = []

    def validate(energy, average, particles):
        seen.append(copy.deepcopy(average.state_dict()))
        value = values[len(seen) - 1]
        return {} if value is None else {"nll": float(value)}

    monkeypatch.setattr("wgflow.training.runner.validator", lambda *args: validate)
    run = fit(training(keep_best=True, steps=12, evaluate_every=4), tmp_path / "r")
    assert len(seen) == len(values)
    found = run.energy.energy.state_dict()
    assert all(torch.equal(found[name], seen[kept][name]) for name in found)


@pytest.mark.parametrize("name", TOYS)
def test_the_grid_of_the_live_kl_is_fine_enough(name):
    """KL and NLL of a Gaussian, much of which lies outside the grid, agree with the exact ones."""
    data = load_data(name, size=20_000)
    finer = box_around(data.train, 3 * CELLS if name == "checkerboard" else CELLS * 5 // 4)
    gaussian = CONFIG.energy.build(DataMoments((2,)))
    law = torch.distributions.Normal(data.shift, data.scale * float(gaussian.scale))
    target = log_density(lambda x: -data.target.log_prob(x), finer)
    model = law.log_prob(finer.nodes).sum(1)
    found = by_quadrature(data, torch.device("cpu"))(gaussian, gaussian, None)
    assert found["kl"] == pytest.approx(float(kl(target, model, finer)), abs=1e-3)
    assert found["nll"] == pytest.approx(-float(law.log_prob(data.test).sum(1).mean()), abs=1e-3)


def test_nll_of_the_first_energy_is_exact():
    """In other dimensions: E is the confinement, whose log Z and mean energy are known."""
    data = table_of(3)
    energy = CONFIG.energy.build(DataMoments((3,)))
    validate = validator(data, CONFIG.scheme, energy, torch.device("cpu"))
    scheme = replace(CONFIG.scheme, dynamics=Population(size=4, held_out=64))
    carry = scheme.init(energy, data.standardise(data.train[:10]))
    found = validate(energy, energy, carry.held_out)["nll"]
    law = torch.distributions.Normal(data.shift, data.scale * float(energy.scale))
    assert found == pytest.approx(-float(law.log_prob(data.test).sum(1).mean()), abs=1e-4)


def test_no_nll_without_weights_or_without_held_out_particles():
    data, cpu = table_of(3), torch.device("cpu")
    energy = CONFIG.energy.build(DataMoments((3,)))
    assert validator(data, SCHEMES["restarts"], energy, cpu)(energy, energy, None) == {}
    assert validator(data, CONFIG.scheme, energy, cpu)(energy, energy, None) == {}


@pytest.mark.parametrize(
    ("dim", "far", "kinds"),
    [(1, 0, {"nll"}), (2, 0, {"nll"}), (2, 1e3, set()), (3, 0, set())],
)
def test_a_few_points_far_away_leave_no_grid(dim, far, kinds):
    """By quadrature nothing but the energy is needed, where cells are small for the data."""
    data = table_of(dim, far)
    energy = CONFIG.energy.build(DataMoments((dim,)))
    validate = validator(data, SCHEMES["restarts"], energy, torch.device("cpu"))
    assert set(validate(energy, energy, None)) == kinds


@pytest.mark.parametrize("deviation", [0.03, 0.06, 1.0])
def test_validation_refines_the_grid_until_it_is_exact(deviation):
    data = table_of(2)
    energy = GaussianMixture(torch.zeros(1, 2), deviation)
    validate = validator(data, CONFIG.scheme, nn.Identity(), torch.device("cpu"))
    found = validate(energy, energy, None)["nll"]
    law = torch.distributions.Normal(data.shift, deviation * data.scale)
    assert found == pytest.approx(-float(law.log_prob(data.test).sum(1).mean()), rel=1e-4)


def test_validation_of_a_peak_that_no_grid_resolves_has_its_error_added():
    data = table_of(2)
    box = box_around(data.standardise(data.train), 4 * CELLS)
    data = replace(data, validation=data.unstandardise(box.nodes[:1]))
    energy = GaussianMixture(box.nodes[:1], 1e-3)
    found = validator(data, CONFIG.scheme, nn.Identity(), torch.device("cpu"))(
        energy, energy, None
    )
    # One node sees the peak, and one of every other too: log Z is that of a cell, E cancels.
    error, units = math.log(4), float(data.scale.log().sum())
    assert found["nll"] == pytest.approx(math.log(box.volume) + error + units, abs=1e-3)


def test_an_energy_that_is_infinite_outside_of_the_grid_is_validated():
    data, wide = table_of(2), GaussianMixture(torch.zeros(1, 2), 1.0)

    class Bounded(nn.Module):
        def forward(self, x):
            return torch.where((x.abs() < 2).all(1), wide(x), torch.inf)

    inner = replace(data, validation=data.test[(data.standardise(data.test).abs() < 2).all(1)])
    validate = validator(inner, CONFIG.scheme, nn.Identity(), torch.device("cpu"))
    assert math.isfinite(validate(wide, Bounded(), None)["nll"])


def test_a_folder_in_use_is_refused_by_pid_and_host(tmp_path, run):
    seen = []

    def listen(step, metrics):
        with pytest.raises(ValueError, match="in use") as error:
            fit(CONFIG, tmp_path / "r")
        seen.append(str(error.value))
        with pytest.raises(ValueError, match="in use"):
            resume(tmp_path / "r")
        raise Killed

    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "r", listener=listen)
    assert f"process {os.getpid()} on host {socket.gethostname()}" in seen[0]


def test_what_is_there_is_never_overwritten(tmp_path, run):
    with pytest.raises(ValueError, match="run that is finished; choose another folder"):
        fit(CONFIG, run.path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="got other files there"):
        fit(CONFIG, tmp_path)
    with pytest.raises(ValueError, match="got a file"):
        fit(CONFIG, tmp_path / "notes.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "r", listener=killer(2))
    with pytest.raises(ValueError, match=r"that is killed; .* or resume it"):
        fit(CONFIG, tmp_path / "r")


def test_a_batch_is_all_points_where_there_are_fewer(tmp_path):
    file = tmp_path / "few.npy"
    np.save(file, torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).numpy())
    config = replace(CONFIG, data=Data(str(file)), training=replace(CONFIG.training, steps=2))
    learner = Learner.build(config)
    assert [len(next(learner.batches)) for _ in range(3)] == [
        41
    ] * 3  # less 5 test and 4 validation points
    fit(config, tmp_path / "r")


def test_what_fails_before_the_first_step_leaves_no_folder(tmp_path, monkeypatch):
    def fail(self):
        raise ValueError("Too large.")

    monkeypatch.setattr(Learner, "start", fail)
    with pytest.raises(ValueError, match="Too large"):
        fit(CONFIG, tmp_path / "r")
    monkeypatch.undo()
    assert fit(CONFIG, tmp_path / "r").steps == STEPS


def test_points_at_one_place_have_no_global_moves(tmp_path):
    alone = replace(CONFIG, training=replace(CONFIG.training, batch_size=1, steps=2))
    with pytest.raises(ValueError, match=r"different points.* got 1 at one place"):
        fit(alone, tmp_path / "r")
    still = replace(CONFIG.scheme, dynamics=replace(SMALL, global_moves=0))
    fit(replace(alone, scheme=still), tmp_path / "s")


def test_patience_is_with_something_that_is_validated(tmp_path):
    images = replace(CONFIG, data=Data("digits"), scheme=SCHEMES["restarts"])
    with pytest.raises(ValueError, match="got GradientNorm with patience 2"):
        fit(replace(images, training=replace(CONFIG.training, patience=2)), tmp_path / "r")
    assert Joint().is_weighted
    assert not Joint(equilibrium=SCHEMES["restarts"]).is_weighted


def test_a_file_that_was_cut_short_is_not_made_longer(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("{}\n")
    folder.truncate(file, 100)
    assert file.read_text() == "{}\n"
    folder.truncate(file, 2)
    assert file.read_text() == "{}"


def test_of_large_points_fewer_are_kept(run, monkeypatch):
    monkeypatch.setattr(recording, "FRAME_NUMBERS", 140)
    monkeypatch.setattr(recording, "FEWEST_POINTS", 10)
    assert len(snapshot(run.particles, run.dataset, 0)) == 70  # of two numbers
    monkeypatch.setattr(recording, "FRAME_NUMBERS", 2)
    assert len(snapshot(run.particles, run.dataset, 0)) == 10


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`device` must compute .* got 'cuda:99'"):
        fit(replace(CONFIG, device="cuda:99"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_folder_by_the_name_of_a_data_set_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "else").mkdir()
    kept, found = (
        _anchored(replace(CONFIG, data=Data(name))).data.name for name in ("mnist", "else")
    )
    assert (kept, found) == ("mnist", str(tmp_path / "else"))


def test_bad_data_leave_no_folder(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'moons'"):
        fit(replace(CONFIG, data=Data("moon")), tmp_path / "a" / "r")
    assert not (tmp_path / "a" / "r").exists()


def test_what_is_not_a_run_is_not_loaded(tmp_path, run):
    with pytest.raises(ValueError, match="no such folder"):
        load(tmp_path / "absent")
    with pytest.raises(ValueError, match="none of them"):
        resume(tmp_path)
    for name in (folder.CONFIG, folder.ENVIRONMENT):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    with pytest.raises(ValueError, match="must be a run with a checkpoint"):
        load(tmp_path)
    (tmp_path / folder.CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="must be a whole"):
        load(tmp_path)


def test_a_checkpoint_of_another_network_or_other_data_is_refused(tmp_path, run):
    with pytest.raises(Killed):
        fit(CONFIG, tmp_path / "r", listener=killer(6))
    file = tmp_path / "r" / folder.CONFIG
    text = file.read_text()
    file.write_text(text.replace("seed = 3", "seed = 4"))
    with pytest.raises(ValueError, match="must be those the run started on"):
        resume(tmp_path / "r")
    file.write_text(text.replace("width = 16", "width = 17"))
    with pytest.raises(ValueError, match=r"expected energy\.width = 17, got one learned with 16"):
        load(tmp_path / "r")


def test_data_from_disk_are_found_from_anywhere(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(400, 3)) * [1.0, 5.0, 0.1] + 2)
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, data=Data("x.npy"))
    with pytest.raises(Killed):
        fit(config, tmp_path / "r", listener=killer(6))
    monkeypatch.chdir("/")
    run = resume(tmp_path / "r")
    assert run.dataset.event_shape == run.event_shape == (3,)
    assert [line["step"] for line in lines(run.path) if "nll" in line] == [4, 8, 12, 16]
    assert np.load(run.path / folder.FRAMES)["x"].shape[1:] == (128, 3)


def test_numbers_that_are_not_finite_are_written_as_strings(tmp_path):
    folder.append_json(tmp_path / "e", {"a": float("nan"), "b": {"c": float("-inf")}, "d": 1})
    with (tmp_path / "e").open("a") as file:
        file.write('{"torn":')
    assert folder.read_lines(tmp_path / "e") == [{"a": "nan", "b": {"c": "-inf"}, "d": 1}]
