"""Images: IDX files, CIFAR-10's binaries, folders, the hub; levels, labels, refusals."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import wgflow
from wgflow.config import Config, Data, Training
from wgflow.data.binary import read_cifar, read_idx
from wgflow.data.dataset import load
from wgflow.data.images import dequantise, resize
from wgflow.data.moments import covariance_of
from wgflow.energies.mlp import MLPSpec
from wgflow.schemes import MaximumLikelihood
from wgflow.training.learner import Learner, load_data

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 12, 10), np.uint8)
LABELS = RNG.integers(0, 10, 30).astype(np.uint8)
TEST = RNG.integers(0, 256, (4, 12, 10), np.uint8)
TEST_LABELS = np.arange(4, dtype=np.uint8)
F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def idx(array):
    """The bytes of an IDX file, as its specification says."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_idx(folder, zipped=False, **parts):
    names = {
        "images": ("train-images-idx3-ubyte", IMAGES),
        "labels": ("train-labels-idx1-ubyte", LABELS),
        "test": ("t10k-images-idx3-ubyte", TEST),
        "test_labels": ("t10k-labels-idx1-ubyte", TEST_LABELS),
    }
    folder.mkdir(exist_ok=True)
    for part, (name, array) in names.items():
        array = parts.get(part, array)
        if array is not None:
            data = idx(array)
            file = folder / (name + ".gz" * zipped)
            file.write_bytes(gzip.compress(data) if zipped else data)
    return folder


def write_cifar(folder, rows=4):
    records = RNG.integers(0, 10, (6, rows, 3073), np.uint8)
    records[:, :, 1:] = RNG.integers(0, 256, (6, rows, 3072), np.uint8)
    folder.mkdir(exist_ok=True)
    for i, batch in enumerate(records[:5]):
        (folder / f"data_batch_{i + 1}.bin").write_bytes(batch.tobytes())
    (folder / "test_batch.bin").write_bytes(records[5].tobytes())
    return records


def known(x, labels):
    """Levels and label of every point, as a set."""
    return {(*k, c) for k, c in zip(levels(x), labels.tolist(), strict=True)}


def levels(x):
    return [tuple(row) for row in (256 * x).floor().int().flatten(1).tolist()]


def pairs(images, labels):
    rows = images.reshape(len(images), -1).tolist()
    return {(*k, c) for k, c in zip(rows, labels.tolist(), strict=True)}


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_dequantisation_keeps_levels_and_adds_uniform_noise(dtype):
    k = torch.arange(256, dtype=torch.uint8).repeat(1000, 1).reshape(1000, 1, 16, 16)
    x = dequantise(k, dtype=dtype, generator=generator())
    assert torch.equal((256 * x).floor(), k.to(dtype))
    assert 0 <= float(x.min()) <= float(x.max()) < 1
    u = 256 * x.double() - k
    n = u.numel()
    assert abs(float(u.mean() - 0.5)) < 4 * (1 / 12 / n) ** 0.5
    # The variance of (u - 1/2)² is 1/180.
    assert abs(float((u - 0.5).square().mean() - 1 / 12)) < 4 * (1 / 180 / n) ** 0.5
    neighbours = (u[..., 1:] - 0.5) * (u[..., :-1] - 0.5)
    assert abs(float(neighbours.mean())) < 4 / 12 / neighbours.numel() ** 0.5


def test_noise_is_seeded_and_that_of_an_image_does_not_depend_on_later_ones():
    k = torch.randint(0, 256, (5000, 1, 3, 3), dtype=torch.uint8, generator=generator())
    x = dequantise(k, generator=generator(1))
    assert torch.equal(x, dequantise(k, generator=generator(1)))
    assert torch.equal(x[:4500], dequantise(k[:4500], generator=generator(1)))
    assert not torch.equal(x, dequantise(k, generator=generator(2)))


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_keep_labels_and_their_own_test_points(zipped, tmp_path):
    data = load(write_idx(tmp_path, zipped), seed=1)
    assert data.event_shape == (1, 12, 10)
    assert known(data.train[:], data.train_labels) == pairs(IMAGES, LABELS)
    assert levels(data.test) == [tuple(k) for k in TEST.reshape(4, -1).tolist()]
    assert data.test_labels.tolist() == TEST_LABELS.tolist()
    part = load(tmp_path, seed=1, size=7)
    assert torch.equal(part.train[:], data.train[:][:7])
    assert torch.equal(part.train_labels, data.train_labels[:7])
    assert torch.equal(part.test, data.test)


def test_idx_files_without_test_points_are_split_and_labels_may_be_missing(tmp_path):
    data = load(write_idx(tmp_path / "a", test=None), test_fraction=0.2)
    assert (len(data.train), len(data.test)) == (24, 6)
    found = known(data.train[:], data.train_labels) | known(data.test, data.test_labels)
    assert found == pairs(IMAGES, LABELS)
    data = load(write_idx(tmp_path / "b", labels=None, test_labels=None))
    assert data.train_labels is data.test_labels is None


def test_other_names_of_idx_files_are_known(tmp_path):
    (tmp_path / "emnist-digits-train-images.idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "emnist-digits-test-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(TEST)))
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (30, 4)


def test_a_name_is_found_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"got none or not all; run `wgflow data fetch mnist`"):
        load("mnist")
    write_idx(tmp_path / "mnist")
    write_idx(tmp_path / "fashion-mnist", zipped=True)
    for name in ("mnist", "fashion-mnist"):
        data = load(name)
        assert data.name == name
        assert known(data.train[:], data.train_labels) == pairs(IMAGES, LABELS)


def test_cifar_is_labels_then_channels_then_rows(tmp_path):
    records = write_cifar(tmp_path)
    data = load(tmp_path)
    assert data.event_shape == (3, 32, 32)
    train = records[:5].reshape(-1, 3073)
    assert known(data.train[:], data.train_labels) == pairs(train[:, 1:], train[:, 0])
    assert data.test_labels.tolist() == records[5, :, 0].tolist()
    x, _ = read_cifar(tmp_path / "test_batch.bin")
    # "The first 1024 bytes are red, in row-major order."
    assert x[2, 0, 3, 5] == records[5, 2, 1 + 3 * 32 + 5]
    assert x[2, 2, 0, 1] == records[5, 2, 1 + 2048 + 1]


def test_digits_have_labels():
    data = load("digits")
    assert data.train_labels.dtype == torch.int64
    counts = torch.cat([data.train_labels, data.test_labels]).bincount()
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # A label belongs to its image: the nearest mean is right for most held-out digits.
    means = torch.stack([data.train[data.train_labels == c].mean(0) for c in range(10)])
    guess = torch.cdist(data.test.flatten(1), means.flatten(1)).argmin(1)
    assert (guess == data.test_labels).double().mean() > 0.8


def test_images_over_eight_pixels_are_scaled_by_range(tmp_path):
    data = load(write_idx(tmp_path))
    assert data.shift.shape == data.scale.shape == ()
    u = data.standardise(data.train[:])
    torch.testing.assert_close(u, 2 * data.train[:] - 1)
    torch.testing.assert_close(data.unstandardise(u), data.train[:])
    other = load(tmp_path, scaling="coordinate")
    assert torch.equal(other.train[:], data.train[:])
    assert other.shift.shape == (1, 12, 10)
    torch.testing.assert_close(other.shift, data.train[:].mean(0))


def test_arrays_are_scaled_by_range_if_they_are_images(tmp_path):
    within = RNG.random((20, 1, 9, 9))
    cases = {"in": within, "out": 3 * within, "small": within[..., :8, :8], "flat": within[:, 0]}
    shifts = {}
    for name, array in cases.items():
        np.save(tmp_path / f"{name}.npy", array)
        shifts[name] = load(tmp_path / f"{name}.npy", dtype=F64).shift.shape
    assert shifts == {"in": (), "out": (1, 9, 9), "small": (1, 8, 8), "flat": (9, 9)}
    assert load("digits", scaling="range").shift == 0.5


def test_arrays_of_numbers_get_no_noise_and_arrays_of_levels_do(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES[:, None] / 255)
    np.save(tmp_path / "k.npy", IMAGES[:, None])
    x, k = load(tmp_path / "x.npy", dtype=F64), load(tmp_path / "k.npy")
    expected = {tuple(row) for row in (IMAGES.reshape(30, -1) / 255).tolist()}
    assert {tuple(row) for row in torch.cat([x.train[:], x.test]).flatten(1).tolist()} == expected
    assert set(levels(k.train[:])) < set(map(tuple, IMAGES.reshape(30, -1).tolist()))
    assert not torch.equal(k.train[:], (256 * k.train[:]).floor() / 256)


def test_a_large_array_is_read_through_a_map_and_is_the_same(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", RNG.normal(size=(50, 3)))
    np.save(tmp_path / "k.npy", IMAGES[:, None])
    before = [load(tmp_path / name).train[:] for name in ("x.npy", "k.npy")]
    modes, read = [], np.load
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", 1)
    monkeypatch.setattr(np, "load", lambda *a, **k: modes.append(k["mmap_mode"]) or read(*a, **k))
    after = [load(tmp_path / name).train[:] for name in ("x.npy", "k.npy")]
    assert modes == ["r", "r"]
    assert all(map(torch.equal, before, after))


def test_images_of_unequal_sizes_are_cut_to_their_central_square(tmp_path):
    # Stripes 4 pixels wide in the central square, whose means are what is left at a quarter.
    stripes = np.repeat(np.arange(10, 74, 8, np.uint8), 4)
    square = np.broadcast_to(stripes, (32, 32))
    wide, tall = np.full((32, 52), 200, np.uint8), np.full((46, 32), 200, np.uint8)
    wide[:, 10:42], tall[7:39] = square, square
    for i, pixels in enumerate([wide, tall, wide.T, RNG.integers(0, 256, (9, 8), np.uint8)]):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"size \(52, 32\) of 0.png.*; data.image_size makes"):
        load(tmp_path)
    data = load(tmp_path, image_size=32, dtype=F64)
    assert data.event_shape == (1, 32, 32)
    found = levels(torch.cat([data.train[:], data.test]))
    assert found.count(tuple(square.ravel())) == 2
    assert found.count(tuple(square.T.ravel())) == 1
    small = load(tmp_path, image_size=8, dtype=F64)
    rows = [k for k in levels(torch.cat([small.train[:], small.test])) if len(set(k[::8])) == 1]
    # A ramp keeps its values away from the ends of the filter.
    assert rows
    assert all(k[1:7] == (18, 26, 34, 42, 50, 58) for k in rows)


def test_resizing_averages_and_does_not_ring():
    pixels = np.zeros((2, 1, 32, 32), np.uint8)
    pixels[0, :, :, ::2] = 100  # fine stripes become their mean
    pixels[1, :, :, 16:] = 100  # an edge stays between its two sides
    stripes, edge = resize(pixels, 8)
    assert set(stripes[:, :, 1:-1].ravel().tolist()) == {50}
    assert (np.diff(edge.astype(int)) >= 0).all()
    assert (edge.min(), edge.max()) == (0, 100)


def test_files_of_images_are_resized_like_folders(tmp_path):
    write_idx(tmp_path / "idx")
    (tmp_path / "png").mkdir()
    for i, pixels in enumerate(IMAGES):
        Image.fromarray(pixels).save(tmp_path / "png" / f"{i:02}.png")
    one, two = (load(tmp_path / name, image_size=6) for name in ("idx", "png"))
    assert one.event_shape == one.test.shape[1:] == (1, 6, 6)
    assert set(levels(one.train[:])) == set(levels(torch.cat([two.train[:], two.test])))
    write_cifar(tmp_path / "cifar")
    assert load(tmp_path / "cifar", image_size=16).test.shape == (4, 3, 16, 16)


def small(folder, **data):
    options = {"flips": True} | data
    return Config(
        data=Data(str(folder), **options),
        energy=MLPSpec(width=8, depth=1, features=4),
        scheme=MaximumLikelihood(),
        training=Training(steps=4, batch_size=8, evaluate_every=2, checkpoint_every=2),
    )


def test_a_learner_takes_the_options_of_its_data(tmp_path):
    learner = Learner.build(small(write_idx(tmp_path), image_size=9))
    assert learner.dataset.event_shape == (1, 9, 9)
    assert learner.batches.flips
    u = learner.dataset.learned[:]
    both = torch.cat([u, u.flip(-1)])
    torch.testing.assert_close(learner.energy.center, both.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(covariance_of(u, flips=True), covariance_of(both))
    # The confinement is around the images and their mirror images: at most d/2s² in the mean.
    with torch.no_grad():
        extra = learner.energy(both) - learner.energy.energy(both)
    most = 81 / 2 / (1 + (2 / 81) ** 0.5) ** 2
    assert 0.5 * most < float(extra.mean()) <= most


def test_smoothed_data_are_scored_with_their_noise():
    config = Config(data=Data("digits", smoothing=0.5))
    smooth, sharp = load_data(config), load_data(replace(config, data=Data("digits")))
    assert torch.equal(smooth.train, sharp.train)
    noise = (smooth.test - sharp.test) / sharp.scale
    assert abs(float((noise**2).mean()) - 0.25) < 4 * 0.25 * (2 / noise.numel()) ** 0.5
    with pytest.raises(ValueError, match="`smoothing` must be ≥ 0 and finite: got -1"):
        Data(smoothing=-1.0)


def test_flips_need_one_unit_for_all_pixels(tmp_path):
    with pytest.raises(ValueError, match=r"images scaled by range,.* got digits scaled by"):
        Learner.build(small("digits"))
    with pytest.raises(ValueError, match="got moons scaled by coordinate"):
        Learner.build(small("moons", size=50))


def test_a_run_on_images_keeps_their_units(tmp_path):
    run = wgflow.fit(small(write_idx(tmp_path / "data")), tmp_path / "run")
    again = wgflow.load(tmp_path / "run")
    data = load(tmp_path / "data")
    assert again.energy.shift.shape == again.energy.scale.shape == ()
    u = data.standardise(data.test)
    # d log(1/2) is the Jacobian of [0, 1] to [-1, 1].
    jacobian = again.energy(data.test) - again.energy.energy(u)
    torch.testing.assert_close(jacobian, torch.full((4,), 120 * np.log(0.5)).float())
    assert torch.equal(again.energy(data.test), run.energy(data.test))


def change(name, edit, zipped=False):
    def save(folder):
        write_idx(folder, zipped)
        file = folder / name
        file.write_bytes(edit(file.read_bytes()))
        return folder

    return save


def cifar(name, edit):
    def save(folder):
        write_cifar(folder)
        data = edit((folder / name).read_bytes())
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        return folder

    return save


def both(folder):
    write_idx(folder)
    return write_idx(folder, zipped=True)


def vectors(folder):
    np.save(folder / "t.npy", RNG.normal(size=(20, 3)))
    return folder / "t.npy"


TRAIN, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
REFUSED = {
    "short": (
        change(TRAIN, lambda b: b[:-1]),
        {},
        r"bytes for shape \(30, 12, 10\): got 3615",
    ),
    "long": (change(TRAIN, lambda b: b + b"0"), {}, "3616 bytes .* got 3617"),
    "header": (change(TRAIN, lambda b: b[:9]), {}, "must be whole"),
    "nothing": (change(TRAIN, lambda b: b""), {}, "magic number 2051: got 0"),
    "magic": (change(TRAIN, lambda b: idx(LABELS)), {}, "magic number 2051: got 2049"),
    "labels": (change(TRAIN_LABELS, lambda b: idx(IMAGES)), {}, "number 2049: got 2051"),
    "floats": (change(TRAIN, lambda b: b"\0\0\x0d" + b[3:]), {}, "number 2051: got 3331"),
    "empty": (change(TRAIN, lambda b: idx(IMAGES[:0])), {}, "not empty"),
    "gzip": (change(TRAIN + ".gz", lambda b: b[:-9], True), {}, "must be a whole gzip file"),
    "no gzip": (change(TRAIN + ".gz", lambda b: idx(IMAGES), True), {}, "whole gzip file"),
    "few labels": (
        change(TRAIN_LABELS, lambda b: idx(LABELS[1:])),
        {},
        "30 labels.*: got 29",
    ),
    "two kinds": (both, {}, "one file of images: got train-images-idx3-ubyte, train"),
    "no train": (lambda f: write_idx(f, images=None), {}, "must hold train-images-idx3-ubyte"),
    "test shape": (
        lambda f: write_idx(f, test=TEST[:, 1:]),
        {},
        r"shape \(1, 12, 10\), as the others: got \(1, 11, 10\)",
    ),
    "constant": (lambda f: write_idx(f, images=IMAGES[:1].repeat(30, 0)), {}, "constant all"),
    "size": (write_idx, {"size": 31}, "`size` must be 2 to 30, 30 points less 0: got 31"),
    "cifar": (cifar("data_batch_2.bin", lambda b: b[1:]), {}, "3073 bytes each: got 12291"),
    "hole": (cifar("data_batch_4.bin", lambda b: None), {}, "got no data_batch_4.bin"),
    "classes": (cifar("test_batch.bin", lambda b: b"\x0a" + b[1:]), {}, "labels 0 to 9: got 10"),
    "vectors": (vectors, {"image_size": 8}, "`image_size` must be none for t.npy: got 8"),
    "range": (vectors, {"scaling": "range"}, r"needs images .* got shape \(3,\) in \[-"),
    "scaling": (
        vectors,
        {"scaling": "log"},
        "one of coordinate, range: got 'log'",
    ),
    "toy": (lambda f: "moons", {"image_size": 8}, "`image_size` must be none for moons: got 8"),
    "toy range": (lambda f: "moons", {"scaling": "range"}, r"needs images .* got shape \(2,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_images_are_refused(case, tmp_path):
    save, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        load(save(tmp_path), **options)


def test_an_idx_file_reads_back(tmp_path):
    (tmp_path / "a").write_bytes(idx(IMAGES))
    x = read_idx(tmp_path / "a", 3)
    assert x.dtype == np.uint8
    assert np.array_equal(x, IMAGES)


def hub(tmp_path):
    return pytest.importorskip("datasets", reason="needs pip install 'wgflow[huggingface]'")


def hub_table(datasets, images, labels):
    features = datasets.Features(
        picture=datasets.Image(), kind=datasets.ClassLabel(names=[str(c) for c in range(10)])
    )
    pictures = [Image.fromarray(k) for k in images]
    return datasets.Dataset.from_dict({"picture": pictures, "kind": labels.tolist()}, features)


def test_the_hub_gives_images_labels_and_splits(tmp_path, monkeypatch):
    datasets = hub(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    train, test = hub_table(datasets, IMAGES, LABELS), hub_table(datasets, TEST, TEST_LABELS)
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    train.to_parquet(tmp_path / "parquet" / "train.parquet")
    test.to_parquet(tmp_path / "parquet" / "test.parquet")
    for folder in ("saved", "parquet"):
        data = load(f"hf:{tmp_path / folder}")
        assert known(data.train[:], data.train_labels) == pairs(IMAGES, LABELS)
        assert known(data.test, data.test_labels) == pairs(TEST, TEST_LABELS)
    only = load(f"hf:{tmp_path / 'saved'}:test", test_fraction=0.25, image_size=10)
    assert (len(only.train), len(only.test)) == (3, 1)
    assert only.event_shape == (1, 10, 10)
    with pytest.raises(ValueError, match="must be train or test: got 'validation'"):
        load(f"hf:{tmp_path / 'saved'}:validation")


def test_what_the_hub_cannot_give_is_refused(tmp_path):
    datasets = hub(tmp_path)
    datasets.Dataset.from_dict({"a": [1.0, 2.0]}).save_to_disk(tmp_path / "numbers")
    with pytest.raises(ValueError, match=r"one column of images: .*got none in 2 rows of \['a'\]"):
        load(f"hf:{tmp_path / 'numbers'}")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="must be a data set that datasets opens"):
        load(f"hf:{tmp_path / 'nothing'}")


def test_without_the_package_the_hub_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'wgflow\[huggingface\]'"):
        load("hf:some/name")
