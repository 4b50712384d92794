"""Numbers that a precision cannot hold are refused, by the column and with a way out."""

import re

import numpy as np
import pytest
import torch

from wgflow.data.dataset import load

X = np.random.default_rng(0).normal(size=(300, 2))

REFUSED = {
    "near a large number": (1e8 + 3 * X, torch.float32, "must keep its digits in single precisio"),
    "a way out": (1e8 + 3 * X, torch.float32, 'subtract a constant, or choose dtype = "float64".'),
    "too near for doubles": (1e17 + 3 * X, torch.float64, "subtract a constant."),
    "large": (1e30 * X, torch.float32, "a spread between 4e-16 and 3e+15"),
    "small": (1e-30 * X, torch.float32, "got 1e-30 in columns 0, 1; choose another unit"),
    "rounded away": (
        2**62 + np.int64(100 * X),
        torch.float32,
        "constant [0, 1]; single precision may have rounded them, so subtract a constant.",
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
    assert load(tmp_path / "x.npy", dtype=dtype).scale.dtype == dtype


def test_a_column_is_named(tmp_path):
    rows = "\n".join(f"{a:.6f},{1e8 + 30 * b:.6f}" for a, b in X)
    (tmp_path / "x.csv").write_text(f"near,far\n{rows}\n")
    with pytest.raises(ValueError, match=r"near 1e.08 that differ by .* in columns 'far'"):
        load(tmp_path / "x.csv")
