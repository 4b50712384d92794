"""Numbers that single precision cannot hold are standardised in double precision, or refused."""

import re

import numpy as np
import pytest
import torch

import wgflow
from wgflow.config import build, override
from wgflow.data.dataset import load
from wgflow.energies.base import Rescaled
from wgflow.runs.load import load as load_run, publish

X = np.random.default_rng(0).normal(size=(300, 2))

REFUSED = {
    "too near for doubles": (1e17 + 3 * X, torch.float32, "in double precision: got numbers near"),
    "large": (1e150 * X, torch.float64, "a spread between 5e-124 and 2e+123"),
    "small": (1e-150 * X, torch.float32, "got 1e-150 in columns 0, 1; choose another unit"),
    "rounded away": (
        2**62 + np.int64(100 * X),
        torch.float32,
        "got numbers near 4.612e+18 that differ by",
    ),
    "constant": (
        np.where([True, False], X, 1),
        torch.float32,
        "in every coordinate: constant [1].",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, tmp_path):
    x, dtype, message = REFUSED[case]
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path / "x.npy", dtype=dtype)


@pytest.mark.parametrize(("x", "dtype"), [(1e8 + 3 * X, torch.float64), (1e12 * X, torch.float32)])
def test_what_the_precision_holds_is_taken(x, dtype, tmp_path):
    np.save(tmp_path / "x.npy", x)
    found = load(tmp_path / "x.npy", dtype=dtype)
    assert found.scale.dtype == dtype
    assert found.precision is None


WIDE = {"near a large number": (1e8, 3.0), "large": (0.0, 1e30), "small": (0.0, 1e-30)}


@pytest.mark.parametrize("transform", [None, "auto"])
@pytest.mark.parametrize("case", WIDE)
def test_other_units_are_learned_the_same(case, transform, tmp_path):
    """Standardised points are those of X to single precision, and lead back to the numbers."""
    shift, scale = WIDE[case]
    y = np.sinh(3 * X) if transform else X  # which calls for maps
    for name, x in {"plain": y, "wide": shift + scale * y}.items():
        np.save(tmp_path / f"{name}.npy", x)
    plain, wide = (load(tmp_path / f"{n}.npy", transform=transform) for n in ("plain", "wide"))
    assert (wide.transform is None) == (transform is None)
    assert wide.test.dtype == torch.float64
    assert wide.precision == wide.learned.dtype == torch.float32
    torch.testing.assert_close(wide.learned, plain.learned, atol=3e-5, rtol=3e-5)
    back, size = wide.unstandardise(wide.standardise(wide.test)), wide.test - shift
    assert float(((back - wide.test) / (scale + size.abs())).abs().max()) < 3e-6


@pytest.mark.parametrize("spread", [3.0, 1.0])
def test_an_outlier_does_not_hide_that_the_others_are_rounded(spread, tmp_path):
    x = 1e8 + spread * X
    x[5] += 1e6
    np.save(tmp_path / "x.npy", x)
    assert load(tmp_path / "x.npy").precision == torch.float32
    mostly = np.where(X > 1, 7.0, 2.0)  # a column may hold one number in most rows
    np.save(tmp_path / "y.npy", mostly)
    assert load(tmp_path / "y.npy").precision is None


def test_a_constant_that_is_large_after_rounding_varies(tmp_path):
    np.save(tmp_path / "x.npy", 1e10 + X)
    assert load(tmp_path / "x.npy").learned.std(0).sub(1).abs().max() < 0.1


def test_an_energy_of_doubles_takes_and_gives_them():
    shift, scale = torch.tensor([1e8, 0.0], dtype=torch.float64), torch.ones(2) / 4
    energy = Rescaled(lambda u: u.square().sum(1) / 2, shift, scale, torch.float32)
    u = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    x = energy.unstandardise(u)
    assert x.dtype == torch.float64
    torch.testing.assert_close(energy.standardise(x), u, atol=1e-6, rtol=1e-6)
    expected = u.square().sum(1) / 2 + 2 * np.log(0.25)
    torch.testing.assert_close(energy(x), expected)
    same = energy.undone(energy)(u)  # in standardised units again
    torch.testing.assert_close(same, u.square().sum(1) / 2, atol=1e-5, rtol=1e-5)


def test_a_run_near_a_large_number_is_that_near_zero(tmp_path):
    runs = []
    for name, shift in {"near": 0.0, "far": 1e8}.items():
        np.save(tmp_path / f"{name}.npy", shift + 4 * X)
        few = ("training.steps=3", "scheme.dynamics.size=32", "scheme.dynamics.held_out=32")
        small = (f'data.name="{tmp_path / name}.npy"', *few, "energy.width=8", "energy.features=4")
        runs.append(wgflow.fit(build(override({}, *small)), tmp_path / name))
    near, far = runs
    x, y = (run.sample(40, generator=torch.Generator().manual_seed(1)) for run in runs)
    assert y.dtype == far.dtype == torch.float64
    assert float((y - 1e8 - x).abs().max()) < 1e-4
    torch.testing.assert_close(far.log_prob(y), near.log_prob(x), atol=1e-4, rtol=1e-4)
    assert far.read(tmp_path / "far.npy").dtype == torch.float64
    publish(far, tmp_path / "published")
    again = load_run(tmp_path / "published").sample(9, generator=torch.Generator().manual_seed(1))
    assert again.dtype == torch.float64


def test_a_column_is_named(tmp_path):
    rows = "\n".join(f"{a:.6f},{1e17 + 300 * b:.6f}" for a, b in X)
    (tmp_path / "x.csv").write_text(f"near,far\n{rows}\n")
    with pytest.raises(ValueError, match=r"near 1e.17 that differ by .* in columns 'far'"):
        load(tmp_path / "x.csv")
