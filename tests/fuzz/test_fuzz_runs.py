"""Runs whose files are not what they say, and values of options: words, and no traceback."""

import json
import os
import shutil
import string
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from command_line import run as command
from fuzzing import CUTS, JSON, bounded, damaged, fuzz, mutations, seldom, tried
from hypothesis import given, strategies as st

from wgflow.data.arrays import write_points
from wgflow.data.columns import Columns
from wgflow.data.frames import table_of
from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.journey import Journey
from wgflow.report.journey import journey
from wgflow.report.material import Way, gather
from wgflow.runs import given as energies, sampled, stepping
from wgflow.runs.load import load
from wgflow.runs.summaries import compare, list_runs
from wgflow.storage import checkpoint, folder
from wgflow.targets.catalogue import named
from wgflow.targets.external import target_of
from wgflow.training.progress import read_state

OTHERS = st.one_of(
    JSON,
    st.sampled_from([-1, 0, 2**31, 2**63, 1e308, float("nan"), float("inf"), "x" * 300, [], {}]),
)
RECORD = {
    "asked": {
        **{"name": "gmm", "dim": 2, "method": "annealed-smc", "options": {"particles": 64}},
        **{"seed": 0, "settings": ["training.steps=2"], "data": None, "system": None},
        **{"start": {"mean": [0.0, 0.0], "std": [3.0, 3.0], "plain": True}, "own": False},
    },
    "found": {
        **{"normaliser": [1.0, 0.1, 0.9, None], "particles": 64, "ess": 50.0},
        **{"evaluations": 1000, "scores": {"target_reach": 1.0}, "learned": True},
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(scope="module")
def small(runs, home):
    """A run with all of its files, and the tree of its checkpoint."""
    path = home / "run"
    shutil.copytree(runs["moons"].path, path)
    folder.write_json(path / folder.SCORES, {"kl": 0.1, "sliced_w2": 0.2, "sliced_w2_floor": 0.1})
    return Small(path, read_state(path, load(path).config.scheme, "cpu"))


class Small(NamedTuple):
    """A run and its checkpoint, in few words where a test fails."""

    path: Path
    state: Any

    def __repr__(self):
        return str(self.path)


@fuzz
@given(record=mutations(RECORD, OTHERS))
def test_records_of_given_energies(runs, home, monkeypatch, record):
    path = home / "given"
    file = path / folder.TARGET / sampled.RECORD
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))
    monkeypatch.setattr(energies, "all_steps", lambda *_: None)
    monkeypatch.setattr(energies, "_learned", lambda *_: runs["moons"])
    found = tried(sampled.read, path)
    if found is not None:
        tried(lambda: found.table)
    tried(sampled.is_unfinished, path)
    tried(energies.resume_energy, path)


def _method():
    target = named("gmm", 2, None)
    like = torch.empty(0, 2, dtype=torch.float64)
    problem = Problem(Counted(target.reduced), target.start, like)
    method = AnnealedSMC(particles=8, moves=1)
    generator = torch.Generator().manual_seed(0)
    state = method.step(problem, method.init(problem, generator=generator), generator=generator)
    return method, problem, state, generator


METHOD, PROBLEM, STATE, GENERATOR = _method()
JOURNEY = Journey().after(METHOD.stages(STATE), METHOD.metrics(PROBLEM, STATE))
WAY = {"state": STATE, "journey": JOURNEY}
WAY |= {"generator": GENERATOR.get_state(), "evaluations": 8}
SAMPLES = torch.randn(8, 2, dtype=torch.float64, generator=GENERATOR)
PARTS = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([torch.zeros(()), torch.zeros(0), torch.zeros(3, 1), torch.ones(2).bool()]),
)


@fuzz
@given(tree=mutations(WAY, PARTS))
def test_states_of_methods(home, tree):
    """With the digest that belongs to them."""
    where = home / "state"
    where.mkdir(exist_ok=True)
    checkpoint.save(where / sampled.STATE, tree)
    generator = torch.Generator().manual_seed(0)
    tried(stepping._restored, where, METHOD, PROBLEM, generator)


@fuzz
@given(tree=mutations(JOURNEY, PARTS))
def test_journeys(home, tree):
    """One that is taken is drawn, or it is said in words why not."""
    where = home / "journey"
    where.mkdir(exist_ok=True)
    checkpoint.save(where / sampled.JOURNEY, tree)
    write_points(where / sampled.FREE, SAMPLES)
    nothing = LogZ(0.0, 0.0, 0.0, 0.0)
    target = sampled.SampledTarget(where, "gmm", 2, "annealed-smc", None, nothing, 8, 8.0, 8, {})
    found = tried(lambda: target.journey)
    if found is not None and found.frames:
        assert journey(Way(found, SAMPLES.numpy(), 0.0), ["a", "b"])


@fuzz
@given(
    name=st.text(max_size=20) | st.sampled_from(["gmm", "lj13", "x.py:", "x.py:f", ".py:f"]),
    dim=st.none() | st.integers(-2, 40),
    code=st.binary(max_size=40)
    | st.sampled_from([b"f = 1", b"def f(x): return x", b"f = f", b"raise SystemExit", b"\0"]),
)
def test_names_of_energies(home, monkeypatch, name, dim, code):
    monkeypatch.chdir(home)
    (home / "x.py").write_bytes(code if code.startswith((b"f", b"d", b"r", b"\0")) else b"\0")
    tried(target_of, name, dim)


@fuzz
@given(cuts=CUTS)
def test_data_of_given_energies(home, cuts):
    rows = "\n".join(
        " ".join(str((i * j) % 7) for j in range(24)) + f" {1 + i % 2}" for i in range(40)
    )
    file = home / "german.data-numeric"
    file.write_bytes(damaged(rows.encode(), cuts))
    tried(named, "german-credit", None, file)


@fuzz
@given(data=st.data())
def test_checkpoints_of_runs(small, data):
    """Of a run of this version but for some parts, with the digest that belongs to them."""
    path, state = small
    file = path / folder.CHECKPOINT
    whole = file.read_bytes()
    try:
        checkpoint.save(file, data.draw(mutations(state, PARTS)))
        tried(load, path)
    finally:
        file.write_bytes(whole)


FILES = (folder.CONFIG, folder.ENVIRONMENT, folder.SCORES, folder.METRICS, folder.FRAMES)


@seldom
@given(name=st.sampled_from(FILES), cuts=CUTS)
def test_damaged_files_of_runs(small, name, cuts):
    path, _ = small
    file = path / name
    whole = file.read_bytes()
    try:
        file.write_bytes(damaged(whole, cuts))
        with bounded():
            assert len(list_runs(path.parent)) >= 1
        tried(compare, [path, path])
        run = tried(load, path)
        if run is not None and name != folder.CONFIG:
            tried(gather, run)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "name", [*FILES, folder.CHECKPOINT, folder.EVENTS, folder.COLUMNS, folder.LOCK, "samples.npy"]
)
def test_named_pipes_in_runs(small, tmp_path, name):
    """Whoever waits for a writer waits for ever."""
    path = tmp_path / "run"
    shutil.copytree(small[0], path)
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    with bounded():
        list_runs(tmp_path)
    for use in (load, folder.status, folder.read_scores, folder.check_new, energies.resume_energy):
        tried(use, path)
    run = tried(load, path)
    if run is not None:
        tried(gather, run)


@pytest.mark.parametrize(
    "words",
    [
        ("train", "PIPE"),
        ("train", "moons", "--test", "PIPE"),
        ("train", "--config", "PIPE"),
        ("train", "moons", "--init", "PIPE"),
        ("flow", "PIPE:f"),
        ("flow", "german-credit", "--data", "PIPE"),
        ("score", "RUN", "PIPE"),
        ("inpaint", "RUN", "--input", "PIPE"),
        ("inpaint", "RUN", "--mask", "PIPE"),
        ("evaluate", "PIPE"),
        ("resume", "PIPE"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("suffix", ["csv", "npy", "toml", "py"])
def test_named_pipes_as_arguments(small, tmp_path, words, suffix):
    pipe = tmp_path / f"pipe.{suffix}"
    os.mkfifo(pipe)
    said = [word.replace("PIPE", str(pipe)).replace("RUN", str(small[0])) for word in words]
    with bounded():
        result = command(*said)
    assert result.exit_code == 2, result.output


EXTREMES = st.one_of(
    st.sampled_from(["0", "-1", "1", "2", "1e308", "nan", "inf", "-inf", "", " ", "x" * 5000]),
    st.sampled_from([str(2**40), str(2**63), str(2**64), str(-(2**63)), "9" * 400, "None", "[]"]),
    st.text(string.printable, max_size=6),
)
VERBS = {
    "sample": ("-n", "--start", "--steps", "--langevin", "--time", "--temperature", "--seed",
               "--times", "--class", "--autoguidance", "--out"),
    "inpaint": ("-n", "--draws", "--approach", "--sampler", "--seed", "--mask", "--given",
                "--input", "--start", "--out"),
    "denoise": ("-n", "--noise", "--seed", "--input", "--sampler"),
    "ood": ("-n", "--seed", "--background"),
    "evaluate": ("--samples", "--seed", "--features"),
    "interpolate": ("-n", "--seed", "--steps"),
    "train": ("--seed", "--device", "--steps", "--devices", "--nodes", "--config", "--test",
              "--init"),
    "flow": ("--dim", "--method", "--particles", "--scale", "--seed", "--set", "--data"),
}  # fmt: skip
CONSTANT = {
    "train": ["moons", "--show-config"],
    "flow": ["no-such-energy"],
    "ood": ["RUN", "rings"],
}
COSTLY = {"--approach", "--steps", "--langevin", "--samples"}
"""Options of which a large value is work that was asked for."""


@seldom
@given(verb=st.sampled_from(sorted(VERBS)), data=st.data())
def test_values_of_options(small, home, monkeypatch, verb, data):
    monkeypatch.chdir(home)
    words = [str(small[0]) if word == "RUN" else word for word in CONSTANT.get(verb, ["RUN"])]
    if verb not in CONSTANT:
        words = [str(small[0])]
    for option in data.draw(st.lists(st.sampled_from(VERBS[verb]), min_size=1, max_size=2)):
        value = data.draw(EXTREMES)
        if option in COSTLY and len(value) > 3:
            continue
        words += [f"{option}={value}" if option.startswith("--") else f"{option}{value}"]
    with bounded():
        result = command(verb, *words)
    is_said = isinstance(result.exception, SystemExit | None)
    assert is_said, (words, result.exception)
    assert result.exit_code in (0, 2, 3), (words, result.output)


CELLS = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.text(max_size=3),
    ),
    *(st.sampled_from([2**62 + 1, 1e30, 1e-30, -0.0, 10**400]), st.dates(), st.binary(max_size=2)),
)
COLUMNS = st.one_of(
    *(
        st.lists(cells, min_size=6, max_size=6)
        for cells in (CELLS, st.integers(0, 3), st.floats())
    ),
    st.lists(st.sampled_from(["a", "b"]) | st.none(), min_size=6, max_size=6),
    st.lists(st.integers(2**62, 2**62 + 3) | st.none(), min_size=6, max_size=6),
)
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.mark.parametrize("library", LIBRARIES)
@fuzz
@given(columns=st.dictionaries(st.text(max_size=4), COLUMNS, max_size=4))
def test_frames(library, columns):
    try:
        frame = LIBRARIES[library](columns)
    except Exception:  # it is no frame to begin with
        return
    table = tried(table_of, frame, "`data`")
    schema = None if table is None else tried(Columns.of, table, "`data`")
    x = None if schema is None else tried(schema.encode, table, "`data`")
    if x is not None:
        assert x.shape == (6, len(columns))
        if np.isfinite(x).all():
            with bounded():
                assert len(pa.table(schema.decode(x))) == 6
