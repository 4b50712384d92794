"""Given energies by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from problems import F64, seeded
from torch.nn import functional as F

from wgflow.energies.base import energy_and_grad
from wgflow.targets.catalogue import ENTRIES, named

BY_NAME = [name for name, entry in ENTRIES.items() if not entry.file]


@pytest.mark.parametrize("name", BY_NAME)
def test_gradients_agree_with_finite_differences(name):
    target = named(name)
    u = 0.5 * target.start.sample(4, dtype=F64, generator=seeded(1))
    _, grad = energy_and_grad(target.reduced, u)
    unit = torch.randn(u.shape, dtype=F64, generator=seeded(2))
    h = 1e-6
    difference = (target.reduced(u + h * unit) - target.reduced(u - h * unit)) / (2 * h)
    torch.testing.assert_close(difference.detach(), (grad * unit).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BY_NAME)
def test_energies_follow_the_dtype_of_x(name):
    target = named(name)
    assert (target.name, target.start.dim) == (name, target.free)
    for dtype in (torch.float32, F64):
        u = target.start.sample(8, dtype=dtype, generator=seeded(3))
        value, grad = energy_and_grad(target.reduced, u)
        assert value.dtype == grad.dtype == dtype
        assert value.isfinite().all()


@pytest.mark.parametrize("name", [name for name in BY_NAME if ENTRIES[name].smallest])
def test_a_name_and_a_dimension_are_one_energy(name):
    x = torch.randn(5, 4, dtype=F64, generator=seeded(4))
    first, second = named(name, 4), named(name, 4)
    assert first.dim == first.start.dim == 4
    assert torch.equal(first.energy(x), second.energy(x))


def test_gmm_is_ten_modes_in_a_cube():
    modes = named("gmm", 50).modes
    assert modes.centers.shape == (10, 50)
    assert modes.centers.abs().max() < 1
    assert modes.centers.mean().abs() < 4 / np.sqrt(3 * 500)


def test_german_credit_is_read_from_its_file(tmp_path):
    numbers = np.random.default_rng(5)
    rows = np.concatenate([numbers.integers(0, 9, (40, 24)), numbers.integers(1, 3, (40, 1))], 1)
    file = tmp_path / "german.data-numeric"
    np.savetxt(file, rows, fmt="%4d")
    target = named("german-credit", file=file)
    assert (target.dim, target.name) == (25, "german-credit")
    w = torch.randn(3, 25, dtype=F64, generator=seeded(6))
    a = torch.from_numpy(rows[:, :24] / rows[:, :24].std(0))
    logits = w[:, :1] + w[:, 1:] @ a.T
    good = torch.from_numpy(rows[:, 24] == 1).double().expand(3, 40)
    loss = F.binary_cross_entropy_with_logits(logits, good, reduction="none").sum(1)
    torch.testing.assert_close(target.energy(w), loss + w.square().sum(1) / 200)


@pytest.mark.parametrize("text", ["1 2 3\n4 5 6\n", "a b\n"])
def test_another_file_is_not_german_credit(tmp_path, text):
    file = tmp_path / "other.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="`data` must"):
        named("german-credit", file=file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lj12",), r"got 'lj12'; did you mean 'lj13'\?"),
        (("gmm:20",), "the dimension of 'gmm' is given apart, as `dim`: 20."),
        (("zzzz",), "the names are gaussian, funnel"),
        (("rings", 3), "`dim` must be 2 for rings: got 3"),
        (("funnel", 1), "`dim` must be ≥ 2 for funnel: got 1"),
        (("gmm", 0), "`dim` must be ≥ 1 for gmm: got 0"),
        (("german-credit",), "`data` must be the file of german-credit, german.data-numeric"),
        (("german-credit", None, Path("none.txt")), "`data` must be a file of rows of numbers"),
        (("gmm", None, Path("none.txt")), "`data` must be left out for gmm"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        named(*arguments)
