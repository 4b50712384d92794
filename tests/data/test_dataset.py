"""Data: exact round trips, disjoint splits, refusals by message."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from wgflow.data.dataset import TOYS, load
from wgflow.data.sources import digits

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -1.0]


def rows(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def levels(x):
    """The levels that dequantised points came from, as rows."""
    return rows((256 * x).floor())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def save_array(folder):
    np.save(folder / "t.npy", TABLE)
    return folder / "t.npy"


def save_archive(folder):
    np.savez(folder / "t.npz", TABLE)
    return folder / "t.npz"


def save_named_archive(folder):
    np.savez(folder / "t.npz", x=TABLE, y=np.arange(50))
    return folder / "t.npz"


def save_csv(folder):
    np.savetxt(folder / "t.csv", TABLE, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    return folder / "t.csv"


def save_parquet(folder):
    pa.parquet.write_table(pa.table(dict(zip("abc", TABLE.T, strict=True))), folder / "t.parquet")
    return folder / "t.parquet"


def save_png(path, pixels, mode=None):
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode or "L").save(path)


@pytest.mark.parametrize("name", TOYS)
def test_toy_set_is_seeded_and_knows_its_law(name):
    first, again, other = (load(name, size=100, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.train, other.train)
    assert (first.train.shape, first.test.shape) == ((100, 2), (10_000, 2))
    assert first.target is not None
    assert first.target.log_prob(first.test).isfinite().all()
    assert rows(first.train).isdisjoint(rows(first.test))


def test_toy_set_is_long_and_its_test_points_do_not_depend_on_that():
    long, short = load("eight-gaussians"), load("eight-gaussians", size=10)
    assert len(long.train) == 500_000
    assert torch.equal(long.test, short.test)


@pytest.mark.parametrize(
    "save", [save_array, save_archive, save_named_archive, save_csv, save_parquet]
)
def test_table_is_read_exactly_and_split_into_disjoint_parts(save, tmp_path):
    data = load(save(tmp_path), test_fraction=0.2, seed=3, dtype=torch.float64)
    assert (len(data.train), len(data.test)) == (40, 10)
    assert rows(data.train) | rows(data.test) == {tuple(row) for row in TABLE.tolist()}
    assert data.columns == (("a", "b", "c") if save in (save_csv, save_parquet) else None)
    assert data.target is None
    assert data.event_shape == (3,)


def test_eight_digits_are_continuous_and_read_bit_for_bit(tmp_path):
    x = np.round(RNG.normal(size=(20_000, 2)), 7)
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b", comments="", fmt="%.8g")
    np.save(tmp_path / "t.npy", np.loadtxt(tmp_path / "t.csv", delimiter=",", skiprows=1))
    table, array = (load(tmp_path / f"t.{kind}", dtype=torch.float64) for kind in ("csv", "npy"))
    assert torch.equal(table.train, array.train)
    assert torch.equal(table.test, array.test)
    assert [column.resolution for column in table.schema.columns] == [None, None]


def test_values_on_a_grid_have_noise_that_leads_back_to_them(tmp_path):
    rows = pa.table({"k": RNG.integers(0, 5, 400), "c": RNG.choice(["u", "v"], 400)})
    pa.parquet.write_table(rows, tmp_path / "t.parquet")
    data, again, other = (load(tmp_path / "t.parquet", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(data.train[:], again.train[:])
    assert not torch.equal(data.train[:9], other.train[:9])
    values = data.schema.frame(torch.cat([data.train[:], data.test]), "pyarrow")
    pairs = sorted(zip(*values.to_pydict().values(), strict=True))
    assert pairs == sorted(zip(*rows.to_pydict().values(), strict=True))
    assert len(set(data.train[:][:, 0].tolist())) > 300
    fresh = data.train.fresh(torch.arange(360), generator=generator())
    assert torch.equal(fresh.floor(), data.train[:].floor())
    assert (fresh != data.train[:]).float().mean() > 0.99


def test_split_is_seeded_and_size_takes_a_part_of_train(tmp_path):
    path = save_array(tmp_path)
    one, same, other = (load(path, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.train, same.train)
    assert not torch.equal(one.test, other.test)
    part = load(path, size=7)
    assert torch.equal(part.train, one.train[:7])
    assert torch.equal(part.test, one.test)


def test_vectors_are_standardised_per_coordinate(tmp_path):
    data = load(save_array(tmp_path), dtype=torch.float64)
    u = data.standardise(data.train)
    torch.testing.assert_close(u.mean(0), torch.zeros(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(u.square().mean(0), torch.ones(3).double())
    torch.testing.assert_close(data.unstandardise(u), data.train)
    torch.testing.assert_close(data.unstandardise(data.standardise(data.test)), data.test)


def test_images_are_standardised_per_pixel_and_quiet_pixels_are_not_blown_up():
    data = load("digits", dtype=torch.float64)
    u = data.standardise(data.train)
    spread = data.train.std(0, correction=0)
    floor = 0.1 * spread.square().mean().sqrt()
    quiet = spread < floor
    assert quiet.any()
    assert data.event_shape == data.shift.shape == data.scale.shape == (1, 8, 8)
    torch.testing.assert_close(u.mean(0), torch.zeros_like(u[0]), rtol=0, atol=1e-10)
    torch.testing.assert_close(u.std(0, correction=0)[~quiet], torch.ones_like(u[0])[~quiet])
    torch.testing.assert_close(data.scale[quiet], floor.expand(int(quiet.sum())))
    torch.testing.assert_close(data.unstandardise(u), data.train)


def test_standardisation_of_a_large_single_precision_set_does_not_drift():
    x = load("rings", size=200_000)
    exact = x.train.double()
    torch.testing.assert_close(x.shift.double(), exact.mean(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(x.scale.double(), exact.std(0, correction=0), rtol=1e-6, atol=0)


def test_digits_are_grey_levels_with_uniform_noise():
    x = digits(dtype=torch.float64, generator=generator())
    levels = (17 * x).floor()
    noise = 17 * x - levels
    assert (x.shape, int(levels.min()), int(levels.max())) == ((1797, 1, 8, 8), 0, 16)
    assert torch.equal(x, digits(dtype=torch.float64, generator=generator()))
    spread = (1 / 12) ** 0.5 / noise.numel() ** 0.5
    assert abs(noise.mean().item() - 0.5) < 4 * spread


def test_grey_images_keep_one_channel_and_their_values(tmp_path):
    images = RNG.integers(0, 256, (6, 4, 5))
    for i, pixels in enumerate(images):
        save_png(tmp_path / f"{i}.png", pixels)
    data = load(tmp_path, dtype=torch.float64)
    assert data.event_shape == (1, 4, 5)
    expected = {tuple(row) for row in images.reshape(6, -1).tolist()}
    assert levels(data.train[:]) | levels(data.test) == expected


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    colour = RNG.integers(0, 256, (4, 5, 3))
    save_png(tmp_path / "colour.png", colour, "RGB")
    for i in range(5):
        save_png(tmp_path / f"{i}.png", RNG.integers(0, 256, (4, 5)))
    data = load(tmp_path, dtype=torch.float64)
    assert data.event_shape == (3, 4, 5)
    assert tuple(colour.transpose(2, 0, 1).flatten()) in levels(data.train[:]) | levels(data.test)


def test_transparency_is_dropped_and_colour_kept(tmp_path):
    pixels = RNG.integers(0, 256, (6, 4, 5, 4)).astype(np.uint8)
    for i, rgba in enumerate(pixels):
        Image.fromarray(rgba).save(tmp_path / f"{i}.png")
    data = load(tmp_path, dtype=torch.float64)
    expected = pixels[..., :3].transpose(0, 3, 1, 2).reshape(6, -1)
    assert levels(data.train[:]) | levels(data.test) == {tuple(row) for row in expected.tolist()}


def write(name, text):
    def save(folder):
        (folder / name).write_text(text)
        return folder / name

    return save


def write_array(array, name="t.npy"):
    def save(folder):
        np.save(folder / name, array, allow_pickle=True)
        return folder / name

    return save


def write_parquet(**columns):
    def save(folder):
        pa.parquet.write_table(pa.table(columns), folder / "t.parquet")
        return folder / "t.parquet"

    return save


def write_archive(**arrays):
    def save(folder):
        np.savez(folder / "t.npz", **arrays)
        return folder / "t.npz"

    return save


def write_images(*sizes, mode="L"):
    def save(folder):
        for i, size in enumerate(sizes):
            Image.new(mode, size).save(folder / f"{i}.png")
        return folder

    return save


def write_half_an_image(folder):
    save_png(folder / "a.png", RNG.integers(0, 256, (40, 40)))
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    return folder


HOLE = np.where(np.arange(12).reshape(6, 2) == 7, np.nan, TABLE[:6, :2])

REFUSED = {
    "unknown name": (lambda _: "moon", "got 'moon'; did you mean 'moons'?"),
    "path with a slip": (
        lambda f: write("points.csv", "a,b")(f).parent / "pionts.csv",
        r"a path that exists: got '.*pionts.csv'; did you mean '.*points.csv'",
    ),
    "path to nothing": (lambda f: f / "none" / "t.csv", "there is no such file or folder"),
    "strange name": (lambda _: "zzzz", "the names are moons, eight-gaussians"),
    "suffix": (write("t.txt", "1"), r"got '.*t.txt'"),
    "not an array": (write("t.npy", "hello"), "t.npy must hold an array of numbers"),
    "not an archive": (write("t.npz", "hello"), "t.npz must hold an array of numbers"),
    "pickle": (write_array(np.array([{}, {}])), "Python objects"),
    "complex": (write_array(np.ones((4, 2), complex)), "got complex128 of shape"),
    "flat array": (write_array(np.arange(4.0)), r"two axes or more.* got float64 of shape \(4,\)"),
    "empty array": (write_array(np.ones((0, 2))), r"none empty: got float64 of shape \(0, 2\)"),
    "hole": (write_array(HOLE), "got nan in row 3, column 1"),
    "hole in image": (write_array(np.full((4, 2, 2), np.inf)), r"got inf in index \(0, 0, 0\)"),
    "overflow": (write_array(np.full((4, 2), 1e300)), "got inf in row 0, column 0"),
    "two arrays": (write_archive(a=TABLE, b=TABLE), r"expected one array.*got \['a', 'b'\]"),
    "empty csv": (write("t.csv", ""), "t.csv must hold a table"),
    "header alone": (write("t.csv", "a,b\n"), r"a table with rows: got \(0, 2\)"),
    "no header": (write("t.csv", "1,2\n3,4\n"), r"must have a header.*got numbers \['1', '2'\]"),
    "ragged csv": (write("t.csv", "a,b\n1,2\n3\n"), "t.csv must hold a table"),
    "csv hole": (write("t.csv", "a,b\n1,2\n3,\n"), "got nan in row 1, column 'b'"),
    "csv text": (
        write("t.csv", "a,b\n1,x\n3,y\n"),
        "Text must repeat.*got 2 .* of 'b'. In",
    ),
    "csv date": (write("t.csv", "a,b\n1,2020-01-01\n"), r"booleans or text: got 'b' \(Date\)"),
    "parquet null": (write_parquet(a=[1, None, 2]), "got nan in row 1, column 'a'"),
    "parquet nan": (write_parquet(a=[1.0, float("nan")]), "got nan in row 1, column 'a'"),
    "constant flag": (write_parquet(a=[1, 2, 3], b=[True] * 3), "vary, .*: got True alone in 'b'"),
    "hint": (write("t.csv", "a,b\n1,2\n3,\n"), 'data.missing = "impute" fills them in'),
    "not parquet": (write("t.parquet", "hello"), "t.parquet must hold a table"),
    "constant": (
        write_parquet(a=[1, 2, 3, 4], b=[0.1] * 4),
        "got 0.1 alone in 'b'. In t.parquet, data.exclude",
    ),
    "constant array": (write_array(np.full((9, 2), 0.1)), r"constant \[0, 1\]"),
    "constant images": (write_images(*[(3, 3)] * 4), "constant all"),
    "one row": (write_parquet(a=[1]), "`size` must be 2 to 0, 1 points less 1: got 0"),
    "no images": (write_images(), "png or jpg images.* got none"),
    "sizes": (
        write_images((3, 3), (3, 4)),
        r"\(3, 3\) of 0.png: got \(3, 4\)",
    ),
    "sixteen bits": (
        write_images((3, 3), mode="I;16"),
        "0.png must have eight bits a channel.* got I",
    ),
    "half an image": (write_half_an_image, "a.png must be a whole image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_sources_are_refused(case, tmp_path):
    save, message = REFUSED[case]
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        load(save(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, "`size` must be ≥ 2: got 1"),
        ({"size": 1797}, "`size` must be 2 to 1617, 1797 points less 180: got 1797"),
        ({"test_fraction": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_splits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **arguments)


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64"):
        load(save_array(tmp_path), dtype=torch.float16)
