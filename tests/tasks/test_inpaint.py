"""Inpainting: the conditional law of a Gaussian, known coordinates kept, paths of known ends."""

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian
from wgflow.energies.conditional import Conditioned
from wgflow.samplers import MALA, ULA
from wgflow.samplers.descent import anneal, cooling, descend
from wgflow.tasks.inpaint import complete, inpaint, side

MEAN = double([0.5, -1.0, 2.0, 0.0])
ROOT = double([[1.0, 0, 0, 0], [0.8, 0.7, 0, 0], [-0.5, 0.4, 0.9, 0], [0.3, -0.6, 0.5, 0.8]])
COVARIANCE = ROOT @ ROOT.T
TARGET = Gaussian(MEAN, COVARIANCE)
MASK = torch.tensor([False, True, False, True])
X = double([[1.5, 9.0, 1.0, 9.0]])


def conditional(x):
    """Mean and covariance of the hidden coordinates given the others, by hand."""
    a, b = COVARIANCE[MASK][:, ~MASK], COVARIANCE[~MASK][:, ~MASK]
    gain = a @ torch.linalg.inv(b)
    mean = MEAN[MASK] + gain @ (x[~MASK] - MEAN[~MASK])
    return mean, COVARIANCE[MASK][:, MASK] - gain @ a.T


def assert_conditional(v, x):
    mean, covariance = conditional(x)
    u = v - mean
    products = torch.stack([u[:, 0] ** 2, u[:, 0] * u[:, 1], u[:, 1] ** 2], 1)
    expected = torch.stack([covariance[0, 0], covariance[0, 1], covariance[1, 1]])
    assert z_score(u, 0).abs().max() < 4
    assert z_score(products, expected).abs().max() < 4


@pytest.mark.parametrize("options", [{}, {"temperatures": cooling(20.0, 30)}], ids=["", "cooled"])
def test_draws_are_of_the_conditional_law(options):
    x = torch.cat([X, X + 1])
    sampler = MALA(0.1, adaptation=0.0)
    y = inpaint(TARGET, x, MASK, sampler, 250, draws=4000, generator=seeded(0), **options)
    assert y.shape == (2, 4000, 4)
    for row, draws in zip(x, y, strict=True):
        assert (draws[:, ~MASK] == row[~MASK]).all()
        assert_conditional(draws[:, MASK], row)


def test_a_small_step_of_ula_is_nearly_exact_and_a_large_one_is_not():
    """In one hidden coordinate of variance c, ULA settles at variance ``c/(1 - ε/2c)``."""
    mask = torch.tensor([False, False, False, True])
    keep = COVARIANCE[:3, :3]
    c = COVARIANCE[3, 3] - COVARIANCE[3, :3] @ torch.linalg.inv(keep) @ COVARIANCE[:3, 3]
    y = inpaint(TARGET, X, mask, ULA(float(c) / 2), 60, draws=20_000, generator=seeded(1))
    v = y[0, :, 3]
    assert z_score(((v - v.mean()) ** 2)[:, None], c / (1 - 0.25)).abs() < 4
    assert z_score(((v - v.mean()) ** 2)[:, None], c).abs() > 10


def test_chains_do_not_depend_on_what_is_hidden_nor_on_the_chunks():
    def draw(x, **options):
        start = torch.randn(6, 4, generator=seeded(2), dtype=F64)
        return inpaint(TARGET, x, MASK, ULA(1e-3), 1, draws=3, start=start, **options)

    x = torch.cat([X, X + 1])
    other = torch.where(MASK, torch.full_like(x, -5.0), x)
    first = draw(x, generator=seeded(3))
    assert torch.equal(first, draw(other, generator=seeded(3)))
    # One step of noise √(2ε) = 0.045 from where each chain was told to start.
    start = torch.randn(6, 4, generator=seeded(2), dtype=F64).reshape(2, 3, 4)
    assert (first - start)[..., MASK].abs().max() < 0.25
    chunked = draw(x, generator=seeded(3), chunk=4)
    assert (chunked - start)[..., MASK].abs().max() < 0.25
    assert (chunked[..., ~MASK] == x[:, None, ~MASK]).all()


def test_a_condition_is_the_energy_of_the_completed_points():
    x = torch.randn(5, 1, 2, 2, generator=seeded(4), dtype=F64)
    mask = torch.tensor([[[True, False], [False, True]]])

    def energy(x):
        return (x.flatten(1) @ double([1.0, 10.0, 100.0, 1000.0])).sin()

    law = Conditioned(energy, x, mask)
    v = torch.randn(5, 2, generator=seeded(5), dtype=F64)
    full = x.clone()
    full[:, 0, 0, 0], full[:, 0, 1, 1] = v[:, 0], v[:, 1]
    assert torch.equal(law.complete(v), full)
    assert torch.equal(law.hidden(full), v)
    assert torch.equal(law(v), energy(full))


def test_one_point_belongs_to_any_number_of_hidden_ones():
    v = torch.randn(3, 2, generator=seeded(5), dtype=F64)
    law, rows = Conditioned(TARGET, X, MASK), Conditioned(TARGET, X.expand(3, 4), MASK)
    assert torch.equal(law.complete(v), rows.complete(v))
    assert torch.equal(law(v), rows(v))


def test_completion_is_the_mode_of_the_conditional():
    x = torch.cat([X, X + 1])
    y = complete(TARGET, x, MASK, 400, chunk=1)
    for row, found in zip(x, y, strict=True):
        assert torch.allclose(found[MASK], conditional(row)[0], atol=1e-6)
        assert (found[~MASK] == row[~MASK]).all()


def test_annealing_at_zero_is_descent_and_at_one_is_langevin():
    x = torch.randn(20_000, 1, generator=seeded(6), dtype=F64)

    def energy(x):
        return x[:, 0] ** 2 / 2

    *_, down = anneal(energy, x, [0.0, 0.0], step=0.25)
    assert torch.allclose(down, 0.75**2 * x)
    for temperature in (1.0, 4.0):  # ULA's stationary variance T/(1 - h/2)
        *_, y = anneal(energy, 0 * x, [temperature] * 40, step=0.25, generator=seeded(7))
        assert z_score(y**2, temperature / (1 - 0.125)).abs() < 4


def test_cooling_is_geometric_and_ends_at_one():
    assert cooling(100.0, 3) == pytest.approx([100.0, 10.0, 1.0])
    assert cooling(50.0, 1) == [50.0]


def test_descent_finds_modes_of_any_stiffness_and_never_rises():
    stiffness = double([1e-2, 1.0, 1e4])

    def energy(x):
        return stiffness[: len(x)] * x[:, 0] ** 2 / 2

    x = double([[1.0], [2.0], [3.0]])
    before = energy(x)
    for steps in (1, 3, 10, 60):
        after = energy(descend(energy, x, steps))
        assert (after <= before).all()
        before = after
    assert descend(energy, x, 120).abs().max() < 1e-6


def test_descent_moves_by_armijo():
    """On ``x²/2`` the condition ``(1-h)² ≤ 1 - h/2`` holds up to h = 3/2."""
    x = double([[1.0]])

    def energy(x):
        return x[:, 0] ** 2 / 2

    assert descend(energy, x, 1, step=1.49).item() == pytest.approx(-0.49)
    assert descend(energy, x, 1, step=1.51).item() == 1.0
    assert descend(energy, x, 2, step=1.6).item() == pytest.approx(0.2)
    assert descend(energy, x, 2, step=0.5).item() == pytest.approx(0.5 * 0.25)


def test_descent_backs_out_of_undefined_places():
    def energy(x):  # undefined below zero; a mode at 1
        return (x - x.log()).sum(1)

    x = descend(energy, double([[1e-3], [5.0]]), 200, step=10.0)
    assert torch.allclose(x, torch.ones_like(x), atol=1e-6)


REFUSED = {
    r"bools of shape \(4,\).*: got torch.float32": {"mask": torch.ones(4)},
    r"bools of shape \(4,\).*: got torch.bool of shape \(2,\)": {"mask": MASK[:2]},
    "at least one coordinate: got none": {"mask": torch.zeros(4, dtype=torch.bool)},
    "`draws` must be > 0 and finite: got 0": {"draws": 0},
    r"start: expected shape \(1, 4\), got \(2, 4\)": {"start": torch.zeros(2, 4, dtype=F64)},
    "expected at least 1, got 0": {"steps": 0},
    "must not be negative: expected ≥ 0, got -1": {"temperatures": [-1.0]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    given = {"mask": MASK, "sampler": ULA(), "steps": 1} | REFUSED[message]
    with pytest.raises(ValueError, match=message):
        inpaint(TARGET, X, **given)


def test_refusals_of_cooling():
    with pytest.raises(ValueError, match="`hottest` must be > 0 and finite: got 0"):
        cooling(0.0, 3)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("left", slice(0, 2), slice(0, 2)),
        ("right", slice(0, 2), slice(2, 5)),
        ("top", slice(0, 1), slice(0, 5)),
        ("bottom", slice(1, 2), slice(0, 5)),
        ("center", slice(0, 1), slice(1, 3)),
    ],
)
def test_sides(name, rows, columns):
    expected = torch.zeros(3, 2, 5, dtype=torch.bool)
    expected[:, rows, columns] = True
    assert torch.equal(side(name, (3, 2, 5)), expected)
