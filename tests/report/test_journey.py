"""The way of particles to a given energy, as a page shows it."""

import numpy as np
import pytest
import torch

from wgflow import plots
from wgflow.montecarlo.journey import Frame, Journey
from wgflow.plots.journey import WIDEST, Sight
from wgflow.report import Material, render
from wgflow.report.journey import PANELS, chosen, journey, planes
from wgflow.report.material import Way

RNG = np.random.default_rng(0)


def frame(step, beta, d=2):
    return Frame(step, beta, torch.from_numpy(RNG.normal(size=(50, d)).astype("f4")))


def way_of(d, betas=(0.0, 0.01, 0.2, 1.0), density=None):
    rows = [{"beta": b, "ess": 0.9, "acceptance": 0.5, "log_z": b} for b in betas]
    rows = [r | {"density": n} for r, n in zip(rows, density or [0] * len(rows), strict=True)]
    frames = tuple(frame(k, beta, d) for k, beta in enumerate(betas))
    return Way(Journey(1, frames, tuple(rows)), RNG.normal(size=(400, d)), 1.0)


def columns(d):
    return [f"c{j}" for j in range(d)]


def test_of_the_first_way_a_few_are_shown_and_its_end_is_the_samples():
    betas = [0.0, *np.geomspace(1e-3, 0.9, 18), 1.0, 0.0, 0.4, 1.0]
    frames = tuple(frame(k, beta) for k, beta in enumerate(betas))
    shown = chosen(Journey(1, frames))
    assert len(shown) == PANELS - 1
    assert (shown[0].beta, shown[-1].beta) == (0, pytest.approx(0.9))
    steps = np.diff([f.step for f in shown])
    assert steps.max() - steps.min() <= 1
    assert [f.beta for f in chosen(Journey(1, frames[19:20]))] == []
    assert [f.beta for f in chosen(Journey(1, (frame(0, 0.0), frame(1, 1.0))))] == [0]


@pytest.mark.parametrize(("d", "rows"), [(1, 1), (2, 1), (5, 2)])
def test_panels_are_of_the_coordinates_or_of_principal_axes_and_a_pair(d, rows):
    figure = journey(way_of(d), columns(d))["stages"]
    assert len(figure.axes) == 4 * rows  # three on the way, and the samples
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles == ["β = 0", "β = 0.01", "β = 0.2", "β = 1"]


def test_principal_axes_and_dependent_pairs_are_found():
    x = RNG.normal(size=(2000, 4)) * [1.0, 100.0, 1.0, 1.0]
    x[:, 3] = x[:, 0] ** 2 + 0.1 * x[:, 3]
    x[:, 2] = x[:, 2] + 5 * np.sign(x[:, 1])
    (principal, a), (names, b) = planes(x, columns(4))
    assert "principal" in principal[0]
    np.testing.assert_allclose(np.corrcoef((x @ a).T)[0, 1], 0, atol=1e-9)
    assert (x @ a).var(0)[0] == pytest.approx(1 + np.corrcoef(x[:, 1], x[:, 2])[0, 1], rel=0.02)
    assert names in {("c0", "c3"), ("c1", "c2")}
    assert np.array_equal(x @ b, x[:, [int(name[1]) for name in names]])


def test_the_samples_fill_a_share_of_the_panel_whatever_the_start():
    samples = RNG.normal(size=(5000, 2))
    start = 1000 * RNG.normal(size=(500, 2))
    figure = plots.stages([0.0, 1.0], [Sight(("a", "b"), [start, samples], samples)])
    low, high = figure.axes[0].get_xlim()
    spread = np.diff(np.quantile(samples[:, 0], [0.02, 0.98]))[0]
    assert high - low == pytest.approx(1.2 * WIDEST * spread, rel=0.05)
    narrow = plots.stages([0.0, 1.0], [Sight(("a", "b"), [samples / 9, samples], samples)])
    low, high = narrow.axes[0].get_xlim()
    assert high - low == pytest.approx(1.2 * spread, rel=0.05)


def test_curves_are_of_what_was_measured():
    figure = plots.along(way_of(2).journey.metrics, 1.0)
    assert len(figure.axes) == 4
    ess, acceptance = figure.axes[1:3]
    assert len(ess.lines[0].get_xdata()) == 4
    assert list(acceptance.lines[0].get_xdata()) == [1, 2, 3]  # nothing moved at the start
    log_z = figure.axes[3]
    assert list(log_z.lines[-1].get_ydata()) == [1.0, 1.0]
    anew = plots.along(way_of(2, (0.0, 1.0, 0.0, 1.0), [0, 0, 1, 1]).journey.metrics)
    assert list(anew.axes[1].lines[-1].get_xdata()) == [2, 2]
    replicas = [{"beta": 1.0, "swaps": 0.3, "acceptance": 0.6, "log_z": float("nan")}] * 3
    (only,) = plots.along(replicas).axes
    assert len(only.lines) == 2
    with pytest.raises(ValueError, match="must hold numbers"):
        plots.along([{}])


def material(way):
    x = np.zeros((10, 2))
    return Material("r", "a source", ("x₁", "x₂"), x, way=way)


def test_the_page_shows_the_way_first_and_old_runs_have_none():
    page = render(material(way_of(2)))
    assert "From the start to the energy" in page
    assert page.count("<img") == 2
    assert "From the start" not in render(material(None))
