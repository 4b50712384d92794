"""Lazy points: their noise, their maps, their moments in parts, and the memory they take."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from problems import F64, seeded, z_score

from wgflow.config import Config, Data, Training
from wgflow.data import lazy
from wgflow.data.batches import Batches
from wgflow.data.dataset import load
from wgflow.data.lazy import LazyPoints
from wgflow.data.moments import center_of, covariance_of
from wgflow.metrics.classifier import Classifier
from wgflow.schemes import EnergyMatching
from wgflow.training.learner import Learner

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 1, 12, 10), np.uint8)


def images(pixels=PIXELS, dtype=F64, seed=3):
    return LazyPoints(pixels, torch.arange(len(pixels)), dtype, seed)


def noise(x, pixels=PIXELS):
    """What is left of points when their pixels are taken off, in [-1/2, 1/2)."""
    return 256 * x - torch.from_numpy(pixels).to(x.dtype) - 0.5


def drawn_anew(x):
    return x.fresh(torch.arange(len(x)), generator=seeded(5))


def their_own(x):
    return x[:]


@pytest.mark.parametrize("points", [drawn_anew, their_own])
def test_points_are_uniform_within_their_levels(points):
    pixels = np.tile(PIXELS, (50, 1, 1, 1))
    u = noise(points(images(pixels)), pixels)
    assert -0.5 <= float(u.min()) <= float(u.max()) < 0.5
    assert abs(float(z_score(u.flatten(), 0.0))) < 4
    assert abs(float(z_score(u.flatten() ** 2, 1 / 12))) < 4
    tenths = (10 * (u + 0.5)).floor().long().flatten().bincount()  # binomial, of one tenth each
    n = u.numel()
    assert float((tenths / n - 0.1).abs().max()) < 4.5 * (0.09 / n) ** 0.5
    for a, b in ((u[..., 1:], u[..., :-1]), (u[1:], u[:-1])):  # between pixels, between images
        assert abs(float(z_score((a * b).flatten(), 0.0))) < 4


def test_an_index_gives_the_same_point_whatever_else_it_gives():
    x = images()
    every = x[:]
    assert x.shape == every.shape == (40, 1, 12, 10)
    assert torch.equal(x[7], every[7])
    assert torch.equal(x[5:9], every[5:9])
    index = torch.tensor([[11, 3], [3, 0]])
    assert torch.equal(x[index], every[index])
    some = LazyPoints(PIXELS, torch.tensor([8, 2]), F64, 3)  # noise by image, not by row
    assert torch.equal(some[:], every[[8, 2]])
    assert not torch.equal(images(seed=4)[:], every)
    doubled = x.map(lambda x: 2 * x).map(lambda x: x - 1)
    assert torch.equal(doubled[5:9], 2 * every[5:9] - 1)


def test_each_batch_has_new_noise_within_the_same_levels():
    stream = Batches(images(), 20, generator=seeded(1))
    batches = torch.stack([next(stream) for _ in range(100)])
    slots = 256 * batches - (256 * batches).floor() - 0.5
    assert abs(float(z_score((slots[1:] * slots[:-1]).flatten(), 0.0))) < 4
    epochs = []
    for x in batches.unflatten(0, (50, 2)).flatten(1, 2):
        where = (256 * x).floor().flatten(1)
        index = (where[:, None] == torch.from_numpy(PIXELS).flatten(1)).all(-1).int().argmax(0)
        epochs.append(noise(x[index]))
    u = torch.stack(epochs)
    assert abs(float(z_score(u.flatten(), 0.0))) < 4
    assert abs(float(z_score(u.flatten() ** 2, 1 / 12))) < 4
    assert abs(float(z_score((u[1:] * u[:-1]).flatten(), 0.0))) < 4  # between epochs
    assert abs(float(z_score((u[1:] * noise(images()[:])).flatten(), 0.0))) < 4


@pytest.mark.parametrize("options", [{}, {"flips": True}, {"flips": True, "noise": 0.1}])
@pytest.mark.parametrize("taken", [0, 1, 3, 7])
def test_batches_of_levels_resume_bit_for_bit(taken, options):
    stream = Batches(images(), 12, generator=seeded(1), **options)
    for _ in range(taken):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream) for _ in range(9)]
    resumed = Batches(images(), 12, generator=seeded(2), **options)
    resumed.load_state_dict(state)
    assert all(torch.equal(next(resumed), batch) for batch in expected)


def test_flips_and_smoothing_of_levels_are_those_of_their_points():
    plain = Batches(images(), 20, generator=seeded(1))
    first = [next(plain) for _ in range(2)]
    both = torch.cat([*first, *(x.flip(-1) for x in first)])
    stream = Batches(images(), 20, flips=True, generator=seeded(1))
    mirrored = 0
    for _ in range(2):
        x = (256 * next(stream)).floor()
        same = (x[:, None] == (256 * both).floor()).flatten(2).all(-1)
        assert same.sum(1).tolist() == [1] * 20
        mirrored += int(same[:, 40:].sum())
    assert abs(mirrored - 20) < 4 * 10**0.5
    smooth = Batches(images().map(lambda x: 2 * x - 1), 20, noise=0.3, generator=seeded(1))
    added = torch.cat([next(smooth) - (2 * x - 1) for x in first])
    assert abs(float(z_score(added.flatten(), 0.0))) < 4
    assert abs(float(z_score(added.flatten() ** 2, 0.09))) < 4


def numbers(folder, monkeypatch, array):
    """The same file of numbers in memory and behind a map."""
    np.save(folder / "x.npy", array)
    inside = load(folder / "x.npy")
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", 1)
    return inside, load(folder / "x.npy")


@pytest.mark.parametrize("kind", [np.float64, np.float32, ">f4"])
def test_numbers_behind_a_map_are_those_in_memory(tmp_path, monkeypatch, kind):
    inside, mapped = numbers(tmp_path, monkeypatch, RNG.normal(size=(60, 5)).astype(kind))
    assert isinstance(inside.train, torch.Tensor)
    assert isinstance(mapped.train, LazyPoints)
    for name in ("train", "learned"):
        assert torch.equal(getattr(mapped, name)[:], getattr(inside, name))
    for name in ("test", "shift", "scale"):
        assert torch.equal(getattr(mapped, name), getattr(inside, name))
    streams = [Batches(x.learned, 16, noise=0.1, generator=seeded(1)) for x in (inside, mapped)]
    for _ in range(9):
        assert torch.equal(*map(next, streams))


def test_a_mapped_idx_file_is_the_same(tmp_path, monkeypatch):
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (40, 12, 10))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + PIXELS.tobytes())
    inside = load(tmp_path)
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", 1)
    mapped = load(tmp_path)
    assert isinstance(mapped.train.values, np.memmap)
    assert not isinstance(inside.train.values, np.memmap)
    assert torch.equal(inside.train[:], mapped.train[:])
    assert torch.equal(inside.test, mapped.test)


@pytest.mark.parametrize("scaling", ["range", "coordinate"])
def test_moments_in_parts_are_those_of_all_points(tmp_path, monkeypatch, scaling):
    np.save(tmp_path / "k.npy", PIXELS)
    monkeypatch.setattr(lazy, "NUMBERS", 7 * 120)
    data = load(tmp_path / "k.npy", scaling=scaling, dtype=F64)
    x = data.train[:]
    if scaling == "coordinate":
        torch.testing.assert_close(data.shift, x.mean(0))
        torch.testing.assert_close(data.scale, x.std(0, correction=0))
    u = data.learned
    flat = u[:].flatten(1)
    found, expected = covariance_of(u), flat.T.cov(correction=0)
    ridge = 0.01 * expected.diagonal().mean() * torch.eye(120, dtype=F64)
    torch.testing.assert_close(found, expected + ridge)
    if scaling == "range":
        torch.testing.assert_close(center_of(data, u), u[:].mean(0))
        mirrored = (u[:].mean(0) + u[:].mean(0).flip(-1)) / 2
        torch.testing.assert_close(center_of(data, u, flips=True), mirrored)


@pytest.mark.parametrize("mapped", [1, 2**27])
def test_a_hole_is_found_in_any_part_and_told_by_its_place(tmp_path, monkeypatch, mapped):
    array = RNG.normal(size=(50, 3))
    array[37, 2] = np.inf
    np.save(tmp_path / "x.npy", array)
    monkeypatch.setattr(lazy, "NUMBERS", 12)
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", mapped)
    with pytest.raises(ValueError, match="got inf in row 37, column 2"):
        load(tmp_path / "x.npy")


def test_what_varies_late_varies(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "NUMBERS", 3)
    x = np.zeros((30, 2))
    x[:, 1] = x[17, 0] = 1.0
    x[5, 1] = 2.0
    np.save(tmp_path / "x.npy", x)
    one = next(k for k in range(5) if 17 in torch.randperm(30, generator=seeded(k))[3:])
    load(tmp_path / "x.npy", seed=one)
    x[5, 1] = 1.0
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"constant \[1\]"):
        load(tmp_path / "x.npy", seed=one)


def test_a_learner_and_a_classifier_take_stored_images(tmp_path):
    np.save(tmp_path / "k.npy", PIXELS)
    config = Config(
        data=Data(str(tmp_path / "k.npy")),
        scheme=EnergyMatching(),
        training=Training(steps=1, batch_size=8),
    )
    learner = Learner.build(config)
    assert learner.dataset.train.values.dtype == np.uint8
    batch = next(learner.batches)
    pixels = {tuple(k) for k in PIXELS.reshape(40, -1).tolist()}
    assert {tuple(k) for k in (128 * (batch + 1)).floor().flatten(1).tolist()} < pixels
    x, labels = learner.dataset.train, torch.arange(36) % 2
    few = Classifier.fit(x, labels, x[:4], labels[:4], epochs=1, batch=12)
    whole = Classifier.fit(x[:], labels, x[:4], labels[:4], epochs=1, batch=12)
    assert torch.equal(few.logits(x[:4]), whole.logits(x[:4]))


MEASURE = """
import resource, sys
from dataclasses import replace
from wgflow.data.batches import Batches
from wgflow.data.dataset import load
from wgflow.data.units import units
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
before = peak()
data = load(sys.argv[1], test_fraction=0.01)
stream = Batches(data.learned, 64)
for _ in range(3):
    next(stream)
some = replace(data.train, rows=data.train.rows[:2000])
units(some, "coordinate")
print(peak() - before)
"""


def test_memory_is_that_of_the_bytes(tmp_path):
    # 200 MB of pixels, 800 MB as points; most of the file is a hole, quickly written.
    x = np.lib.format.open_memmap(tmp_path / "k.npy", "w+", np.uint8, (16_000, 3, 64, 64))
    x[::100] = 255
    x.flush()
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "k.npy")]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 2 * x.nbytes / 2**20
