"""What is drawn into one pair of axes: a density, points, histograms, an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from wgflow.plots.charts import Box, Chart
from wgflow.plots.style import DATA, DENSITY, MODEL


def ends(chart: Chart, axis: int) -> tuple[float, float]:
    """Where a chart begins and ends along an axis."""
    return float(chart.box.low[axis]), float(chart.box.high[axis])


def aspect(box: Box) -> float:
    """Height of a box over its width."""
    width, height = box.high - box.low
    return height / width


def plane(axes: Axes, box: Box, names: Sequence[str]) -> None:
    """Limits and labels of two coordinates."""
    axes.set(xlim=(box.low[0], box.high[0]), ylim=(box.low[1], box.high[1]))
    axes.set(xlabel=names[0], ylabel=names[1])
    # One unit looks equally long on both axes, unless that would make a sliver.
    axes.set_aspect("equal" if 0.25 < aspect(box) < 4 else "auto")


def curve(axes: Axes, chart: Chart, name: str, color: str = DATA, **options: Any) -> None:
    """A function of the line."""
    axes.plot(chart.axes[0], chart.values, color=color, **options)
    axes.set(xlabel=name, xlim=ends(chart, 0))


def heat(axes: Axes, chart: Chart, names: Sequence[str], **options: Any) -> AxesImage:
    """A function of the plane, as colours."""
    (left, bottom), (right, top) = chart.box
    extent = (left, right, bottom, top)
    image = axes.imshow(chart.values.T, origin="lower", extent=extent, **options)
    plane(axes, chart.box, names)
    return image


def shade(axes: Axes, chart: Chart, names: Sequence[str], top: float) -> AxesImage | None:
    """A density: the curve of it, or its shades up to ``top``."""
    if len(chart.axes) == 2:
        options = {"vmin": 0, "vmax": top, "interpolation": "bilinear"}
        return heat(axes, chart, names, cmap=DENSITY, **options)
    axes.fill_between(chart.axes[0], chart.values, color=DATA, alpha=0.2, lw=0)
    curve(axes, chart, names[0])
    axes.set(ylim=(0, 1.1 * top))
    return None


def dots(axes: Axes, x: np.ndarray, color: str, size: float) -> None:
    """Points of the plane."""
    axes.scatter(x[:, 0], x[:, 1], s=size, color=color, alpha=0.55, lw=0)


def histograms(axes: Axes, x: np.ndarray, y: np.ndarray, box: Box, axis: int) -> None:
    """One coordinate of the model and of the data, as fractions of all points."""
    low, high = float(box.low[axis]), float(box.high[axis])
    for values, color in ((y, DATA), (x, MODEL)):
        inside = values[(values >= low) & (values <= high)]
        shown = {"range": (low, high), "weights": np.full(len(inside), 1 / len(values))}
        axes.hist(inside, 30, **shown, color=color, alpha=0.25)
        axes.hist(inside, 30, **shown, color=color, histtype="step", lw=1.2)
    axes.set(yticks=[])


def picture(axes: Axes, image: np.ndarray, limits: tuple[float, float]) -> None:
    """An image (channels, height, width), grey unless it has three channels."""
    low, high = limits
    channels = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    shown = channels[0] if len(channels) != 3 else np.moveaxis(channels, 0, -1)
    axes.imshow(shown, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#e8ebf0")
