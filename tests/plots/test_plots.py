"""Figures: what they draw is what they were given, and no state is left behind."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from wgflow import plots
from wgflow.data.targets import Gaussian
from wgflow.plots import Box, Chart
from wgflow.plots.style import MODEL
from wgflow.plots.tables import enclosing, inner_box, smoothed

LINE, PLANE = Gaussian([0.5], [[0.25]]), Gaussian([1.0, -1.0], [[1.0, 0.3], [0.3, 0.5]])
BOXES = {
    1: Box(np.array([-3.0]), np.array([4.0])),
    2: Box(np.array([-4.0, -5.0]), np.array([6.0, 3.0])),
}
TARGETS = {1: LINE, 2: PLANE}
RNG = np.random.default_rng(0)
STEPS = np.array([0, 1, 3, 10])
RECORDS = [
    {"step": k, "cpu_seconds": 0.1 * k, "kl": 1 / (k + 1), "ess": 0.9, "dissipation": 2.0**-k}
    for k in range(20)
]


@pytest.fixture(params=[1, 2])
def charts(request):
    target, box = TARGETS[request.param], BOXES[request.param]
    return plots.density_of(target, box, 60), plots.tabulated(target, box, 60)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(plots.png(figure, dpi=40))).convert("RGB"))


@pytest.mark.parametrize("d", [1, 2])
def test_a_chart_holds_the_density_at_its_nodes_and_remembers_its_box(d):
    chart = plots.density_of(TARGETS[d], BOXES[d], 80)
    nodes = np.stack(np.meshgrid(*chart.axes, indexing="ij"), -1).reshape(-1, d)
    exact = TARGETS[d].log_prob(torch.from_numpy(nodes)).exp().reshape(chart.values.shape)
    np.testing.assert_allclose(chart.values, exact, rtol=2e-3, atol=1e-9)
    np.testing.assert_allclose(chart.box.low, BOXES[d].low)
    np.testing.assert_allclose(chart.box.high, BOXES[d].high)


def test_the_plane_is_drawn_with_its_first_axis_to_the_right_and_its_second_up():
    target = Gaussian([3.0, -3.0], [[0.1, 0.0], [0.0, 0.1]])  # lower right
    chart = plots.density_of(target, Box(np.full(2, -5.0), np.full(2, 5.0)), 50)
    axes = plots.compared_densities({"learned": chart}).axes[0]
    image = axes.images[0]
    row, column = np.unravel_index(np.argmax(image.get_array()), (50, 50))
    left, right, bottom, top = image.get_extent()
    assert image.origin == "lower"
    assert left + (column + 0.5) / 50 * (right - left) == pytest.approx(3, abs=0.2)
    assert bottom + (row + 0.5) / 50 * (top - bottom) == pytest.approx(-3, abs=0.2)


def test_true_and_learned_share_one_scale_and_the_difference_is_learned_less_true():
    true = plots.density_of(PLANE, BOXES[2], 40)
    figure = plots.densities(true, true.map(lambda p: 2 * p))
    first, second, gap = (axes.images[0] for axes in figure.axes[:3])
    assert first.get_clim() == second.get_clim()
    np.testing.assert_allclose(gap.get_array(), true.values.T)
    assert gap.get_clim()[0] == -gap.get_clim()[1]


def test_the_landscape_starts_at_its_minimum():
    axes = plots.landscape(plots.tabulated(LINE, BOXES[1], 50)).axes[0]
    heights = axes.lines[0].get_ydata()
    assert min(heights) == 0
    assert max(heights) == plots.DEPTH


def test_curves_draw_only_what_was_recorded_and_skip_what_is_not_a_number():
    records = [*RECORDS, {"step": 20, "kl": "nan"}, {"step": 21, "kl": float("inf")}]
    figure = plots.curves(records)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.lines]
    assert len(titles) == 3
    assert titles[0].startswith("KL(data‖model)")
    assert len(figure.axes[0].lines[0].get_ydata()) == 20
    with pytest.raises(ValueError, match=r"`records` must hold one of .*'kl'.*got none in 1"):
        plots.curves([{"step": 1, "unknown": 2.0}])


def test_compared_curves_run_over_steps_and_over_seconds():
    figure = plots.compared_curves({"a": RECORDS, "b": RECORDS[:10]})
    for axes, key in zip(figure.axes, ("step", "cpu_seconds"), strict=True):
        assert [len(line.get_xdata()) for line in axes.lines] == [20, 10]
        np.testing.assert_allclose(axes.lines[0].get_xdata(), [r[key] for r in RECORDS])
    with pytest.raises(ValueError, match="recorded kl or nll"):
        plots.compared_curves({"a": [{"step": 1}]})


def test_floors_are_ratios():
    axes = plots.floors({"a": (3.0, 2.0), "b": (1.0, 2.0)}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.50×", "0.50×"]


def test_every_figure_is_drawn_and_leaves_no_state(charts):
    density, energy = charts
    d = len(density.axes)
    x, images = RNG.normal(size=(200, 2)), RNG.random((20, 1, 4, 4))
    before = dict(matplotlib.rcParams)
    figures = [
        plots.landscape(energy),
        plots.densities(density, density),
        plots.scatter(x[:, :d], density),
        plots.curves(RECORDS),
        plots.pictures(images, images),
        plots.pictures(np.repeat(images, 3, 1), np.repeat(images, 3, 1)),
        plots.contours(x, x[:50], ["a", "b"], [(0, 1)]),
        plots.columns(x, x, ["a", "b"], np.array([0.1, 0.2]), 0.1),
        plots.occupancy(np.array([0.5, 0.5]), np.array([0.6, 0.4]), np.array([0.1, 0.1])),
        plots.moments(STEPS, RNG.normal(size=(4, 30, 2)), BOXES[2], data=x),
        plots.filmstrip(STEPS, RNG.random((4, 5, 1, 4, 4)), (0.0, 1.0)),
        plots.compared_densities({"a": density, "b": density}),
    ]
    assert dict(matplotlib.rcParams) == before
    for figure in figures:
        assert pixels(figure).std() > 5  # not blank


def test_contours_enclose_their_shares_of_a_gaussian():
    """In the plane the density at the edge of the share m is 1 - m of the highest."""
    u = np.linspace(-6, 6, 241)
    values = np.exp(-0.5 * (u[:, None] ** 2 + u**2))
    np.testing.assert_allclose(enclosing(values, (0.9, 0.5)), [0.1, 0.5], rtol=0.01)


def test_smoothed_points_are_a_density_with_the_mean_of_the_points():
    x = RNG.normal(size=(4000, 2)) * [0.5, 2.0] + [1.0, -3.0]
    chart = smoothed(x, Box(np.array([-2.0, -13.0]), np.array([4.0, 7.0])))
    mass = chart.values * np.prod([axis[1] - axis[0] for axis in chart.axes])
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    means = [(mass.sum(1 - k) * axis).sum() for k, axis in enumerate(chart.axes)]
    np.testing.assert_allclose(means, x.mean(0), atol=0.02)


@pytest.mark.parametrize("value", [0.0, 1.0, -3e6])
def test_one_held_out_row_has_a_box_of_a_width(value):
    row = np.full((1, 2), value, np.float32)
    box = inner_box(row)
    assert (box.low < value).all()
    assert (value < box.high).all()
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None] + row
    assert pixels(plots.columns(x, row, "ab", np.zeros(2), 0.1)).std() > 5
    assert pixels(plots.contours(x, row, "ab", [(0, 1)])).std() > 5


def test_contours_stand_side_by_side_on_the_same_axes():
    x, y = RNG.normal(size=(300, 3)), RNG.normal(size=(80, 3))
    figure = plots.contours(x, y, "abc", [(0, 2), (1, 2)])
    left, right, third, _ = figure.axes
    titles = [axes.get_title(loc="left") for axes in (left, right)]
    assert titles == ["held-out data", "model"]
    assert (left.get_xlabel(), left.get_ylabel(), third.get_xlabel()) == ("a", "c", "b")
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    drawn = [axes.collections[0].get_paths() for axes in (left, right)]
    assert all(drawn)
    far = plots.contours(x + 1e6, y, "abc", [(0, 1)]).axes[1]
    assert not far.collections  # all points are outside of the box


def test_of_many_columns_those_that_fit_worst_are_shown():
    x, distances = RNG.normal(size=(40, 30)), np.full(30, 0.1)
    distances[[3, 29]] = 0.5, 0.23
    names = [f"c{j}" for j in range(30)]
    shown = [axes for axes in plots.columns(x, x, names, distances, 0.1).axes if axes.patches]
    titles = {axes.get_title(loc="left") for axes in shown}
    assert len(titles) == plots.COLUMNS
    assert {"c3: 0.500", "c29: 0.230", "c0: 0.100"} <= titles
    marked = {
        axes.get_title(loc="left") for axes in shown if axes._left_title.get_color() == MODEL
    }
    assert marked == {"c3: 0.500", "c29: 0.230"}


def test_a_dollar_in_a_name_is_no_mathematics():
    x, names = RNG.normal(size=(50, 2)), ("$\\frac{$", "price in $")
    figures = [
        plots.columns(x, x, names, np.zeros(2), 0.1),
        plots.contours(x, x, names, [(0, 1)]),
        plots.scatter(x, plots.density_of(PLANE, BOXES[2], 20), names),
        plots.compared_curves({names[0]: RECORDS, "$a$": RECORDS}),
    ]
    assert all(pixels(figure).std() > 5 for figure in figures)


def test_a_filmstrip_shows_the_first_and_the_last_moment():
    frames = np.stack([np.full((16, 1, 2, 2), k / 20) for k in range(21)])
    rows = plots.filmstrip(np.arange(21), frames, (0.0, 1.0)).axes[::16]
    shown = [float(axes.images[0].get_array().mean()) for axes in rows]
    assert (shown[0], shown[-1]) == (0, 1)
    assert shown == sorted(shown)


def test_a_chart_maps_its_values():
    chart = Chart((np.array([0.0, 1.0]),), np.array([2.0, 3.0]))
    assert chart.map(np.square).values.tolist() == [4, 9]
    assert chart.box.low == -0.5
