"""Inputs that nobody meant: each is used, or refused in one sentence without a traceback."""

import io
import json
import shutil
import string
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from fuzzing import CUTS, JSON, NUMBERS, damaged, fuzz, is_written, tried
from hypothesis import given, strategies as st
from PIL import Image
from pyarrow import parquet

from wgflow.config import Config, build, dumps, loads, override, to_table
from wgflow.config.toml import KINDS, parse
from wgflow.data.arrays import read_array
from wgflow.data.dataset import load as load_data
from wgflow.data.peek import width
from wgflow.data.tables import read_points
from wgflow.runs.summaries import list_runs, read_settings
from wgflow.storage import checkpoint, folder


def keys(table, path=""):
    """Dotted keys of all settings."""
    for key, value in table.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{path}{key}.")


KEYS = sorted(
    {
        key
        for name in ("near-proximal", "energy-matching", "joint", "across-levels")
        for key in keys(to_table(build({"scheme": name})))
    }
)
SCALARS = st.one_of(
    NUMBERS, st.booleans(), st.text(max_size=20), st.sampled_from([*KINDS, "none", "x" * 10_000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*KEYS[-1].split("."), "kind"]) | st.text(), inner),
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(
    st.sampled_from(["seed", "device", "dtype", "init", "data", "energy", "scheme", "training"])
    | st.text(max_size=5),
    VALUES,
    max_size=4,
)


@fuzz
@given(TABLES)
def test_tables_of_settings(table):
    config = tried(build, table)
    if config is not None:
        assert loads(dumps(config)) == config


@fuzz
@given(st.lists(st.tuples(st.sampled_from(KEYS) | st.text(), VALUES), max_size=3))
def test_assignments(pairs):
    """``--set``: values as TOML writes them, and as text."""
    words = [f"{key}={value if i % 2 else _toml(value)}" for i, (key, value) in enumerate(pairs)]
    table = tried(override, {}, *words)
    if table is not None and (config := tried(build, table)) is not None:
        assert loads(dumps(config)) == config


def _toml(value):
    return json.dumps(value) if is_written(value) else "9" * 5000


REPEATED = st.builds(
    lambda count, part: part * count,
    st.integers(0, 5000),
    st.sampled_from(["[", "a.", "a=", "{a=", '"', "[[a]]\n", "9"]),
)


@fuzz
@given(st.text(string.printable) | st.text() | REPEATED)
def test_text_of_settings(text):
    for written in (text, f"a = {text}", f"[{text}]"):
        table = tried(parse, written)
        if table is not None:
            tried(build, table)


X = np.random.default_rng(0).normal(size=(40, 3))


def _saved(write, *arguments, **options):
    stream = io.BytesIO()
    write(stream, *arguments, **options)
    return stream.getvalue()


def _picture(kind):
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, kind)
    return stream.getvalue()


def _idx(axes):
    shape = (6, 4, 4)[:axes]
    sizes = b"".join(n.to_bytes(4, "big") for n in shape)
    return (0x0800 + axes).to_bytes(4, "big") + sizes + bytes(range(96))[: int(np.prod(shape))]


TEXT = ("a,b,c\n" + "\n".join(",".join(f"{v:.3f}" for v in row) for row in X)).encode()
FILES = {
    "x.npy": _saved(np.save, X),
    "pixels.npy": _saved(np.save, np.arange(480, dtype=np.uint8).reshape(10, 3, 4, 4)),
    "x.npz": _saved(np.savez_compressed, x=X),
    "x.csv": TEXT,
    "mixed.csv": b"a,b\n" + b"".join(b"%d,%s\n" % (k % 7, b"uv"[k % 2 :][:1]) for k in range(40)),
    "x.parquet": _saved(lambda s: parquet.write_table(pa.table({"a": X[:, 0], "b": X[:, 1]}), s)),
    "i/a.png": _picture("png"),
    "i/a.jpg": _picture("jpeg"),
    "i/train-images-idx3-ubyte": _idx(3),
}


@pytest.mark.parametrize("name", FILES)
@fuzz
@given(cuts=CUTS)
def test_files_of_data(name, tmp_path_factory, cuts):
    home = tmp_path_factory.getbasetemp() / "fuzz"
    shutil.rmtree(home, ignore_errors=True)
    (home / "i").mkdir(parents=True)
    (home / name).write_bytes(damaged(FILES[name], cuts))
    source = home / ("i" if name.startswith("i/") else name)
    width(source)
    tried(load_data, source)
    if name.endswith(".npy"):
        tried(read_array, source)


@fuzz
@given(st.dictionaries(st.text(max_size=5), st.binary(max_size=200), max_size=3), st.data())
def test_archives_of_anything(tmp_path_factory, members, data):
    file = tmp_path_factory.getbasetemp() / "members.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            suffix = data.draw(st.sampled_from(["", ".npy"]))
            entry = (name.replace("\0", "") or "x") + suffix
            if entry not in archive.namelist():
                archive.writestr(entry, content)
    tried(read_points, file, np.dtype(np.float32))


@fuzz
@given(st.lists(st.lists(SCALARS.map(str) | st.text(max_size=5), max_size=4), max_size=8))
def test_tables_of_anything(tmp_path_factory, rows):
    file = tmp_path_factory.getbasetemp() / "rows.csv"
    text = "\n".join(",".join(row) for row in rows)
    file.write_text(text, "utf8", errors="replace")
    tried(load_data, file)


@fuzz
@given(
    JSON.map(json.dumps) | st.text(),
    st.dictionaries(st.sampled_from(["kl", "nll", "x"]), JSON).map(json.dumps) | st.text(),
    st.text() | st.just(dumps(Config())),
    st.lists(JSON.map(json.dumps) | st.text()),
)
def test_files_of_runs(tmp_path_factory, environment, scores, config, lines):
    home = tmp_path_factory.getbasetemp() / "runs"
    shutil.rmtree(home, ignore_errors=True)
    run = home / "a"
    run.mkdir(parents=True)
    written = {
        folder.ENVIRONMENT: environment,
        folder.SCORES: scores,
        folder.CONFIG: config,
        folder.METRICS: "\n".join(lines) + "\n",
    }
    for name, text in written.items():
        (run / name).write_text(text, "utf8", errors="replace")
    (row,) = list_runs(home)
    assert row["run"] == str(run)
    tried(read_settings, run)
    tried(folder.read_scores, run)
    assert all(isinstance(record, dict) for record in folder.read_lines(run / folder.METRICS))
    tried(folder.check_run, run)
    tried(folder.check_new, run)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["tensor", "cpu", "record", "fields", "list", "tuple", "dict"]), inner
        ),
    ),
    max_leaves=12,
)


@fuzz
@given(TREES.map(json.dumps) | st.text() | st.integers(0, 5000).map(lambda n: "[" * n + "]" * n))
def test_forged_checkpoints(tmp_path_factory, structure):
    """With the digest that belongs to them."""
    file = tmp_path_factory.getbasetemp() / "forged"
    tensors = checkpoint.pack([])[1]
    digest = checkpoint._digest(structure, tensors)
    header = {"format": checkpoint.FORMAT, "tree": structure, "sha256": digest}
    file.write_bytes(checkpoint.serialise(tensors, header))
    tried(checkpoint.load, file, ())


@fuzz
@given(CUTS)
def test_damaged_checkpoints(tmp_path_factory, cuts):
    file = tmp_path_factory.getbasetemp() / "damaged"
    checkpoint.save(file, {"a": [1, (2.5, "x")]})
    whole = file.read_bytes()
    file.write_bytes(damaged(whole, cuts))
    found = tried(checkpoint.load, file, ())
    assert found in (None, {"a": [1, (2.5, "x")]})
