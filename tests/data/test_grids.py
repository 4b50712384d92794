"""Grids of repeated values: their step, the noise in their cells, and the way back."""

import numpy as np
import pytest
import torch

from wgflow.data.grids import atom_of, on_grid, step_of, uniform_noise

RNG = np.random.default_rng(0)
INTEGERS = RNG.integers(-5, 6, 500)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (INTEGERS, 1.0),
        (INTEGERS * 100, 100.0),
        (INTEGERS.astype(np.int8), 1.0),
        (np.arange(10), 1.0),
        (INTEGERS / 10, 0.1),
        (INTEGERS * 0.25 + 0.125, 0.25),
        (INTEGERS.astype(np.float64), 1.0),
        (((INTEGERS + 3) / 10).astype(np.float32), 0.1),
        (np.array([0.0, 2.0, 5.0] * 5), 1.0),
        ((INTEGERS - 0.3) / np.pi, 1 / np.pi),
        (INTEGERS * 0.1 + 0.2 * 0.1, 0.1),
    ],
)
def test_the_step_is_the_greatest_that_all_values_are_multiples_of(values, step):
    assert step_of(values) == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        np.round(RNG.normal(size=20_000), 8),
        RNG.normal(size=100),
        np.tile(RNG.normal(size=10), 5),
        np.full(9, 3),
        np.round(np.linspace(0, 1, 100), 2),
    ],
    ids=["eight digits", "measured", "repeated off a grid", "constant", "distinct"],
)
def test_measurements_have_no_grid(values):
    assert step_of(values) is None


def test_an_atom_is_the_share_of_the_most_frequent_value():
    x = RNG.normal(size=100)
    assert atom_of(np.where(np.arange(100) < 37, 2.5, x)) == (2.5, 0.37)
    assert atom_of(x)[1] == 0
    assert atom_of(np.append(x, x[:50]))[1] == 0  # pairs, as of rows drawn twice


@pytest.mark.parametrize("step", [1.0, 0.1, 0.25, 1 / 7, 100.0])
def test_noise_stays_in_the_cell_and_leads_back(step):
    cells = RNG.integers(0, 10_000, 5000)
    cells[:2] = 0, 9999
    low = float(f"{-3 * step:.12g}")
    values = np.array([float(f"{low + step * k:.12g}") for k in cells])
    noisy = values + step * uniform_noise(len(values), 1)[:, 0]
    np.testing.assert_allclose(on_grid(noisy, low, values.max(), step), values, rtol=1e-11)
    if step != 1 / 7:
        assert np.array_equal(on_grid(noisy, low, values.max(), step), values)


def test_what_lies_outside_is_brought_to_the_ends():
    x = np.array([-9.0, 2.3, 2.9999, 99.0])
    assert on_grid(x, 1.0, 4.0, 1.0).tolist() == [1.0, 2.0, 2.0, 4.0]


def test_noise_is_uniform_independent_and_seeded_by_row():
    def generator():
        return torch.Generator().manual_seed(3)

    u = uniform_noise(20_000, 3, generator=generator())
    assert 0 < u.min() < u.max() < 1
    n = u.size
    assert abs(u.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    # The variance of (u - 1/2)² is 1/180.
    assert abs(((u - 0.5) ** 2).mean() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    for other in (u[:, 1:] - 0.5, np.roll(u, 1, 0)[:, :2] - 0.5):
        product = (u[:, :2] - 0.5) * other
        assert abs(product.mean()) < 4 / 12 / product.size**0.5
    assert np.array_equal(u[:7], uniform_noise(7, 3, generator=generator()))
