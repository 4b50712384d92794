"""What a page shows, gathered from a run folder as plain values."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from wgflow import plots
from wgflow.data.dataset import Dataset
from wgflow.data.foreign import load_array
from wgflow.data.targets import GaussianMixture, Target
from wgflow.metrics.samples import mode_occupancy, occupancy_error
from wgflow.montecarlo.journey import Journey
from wgflow.plots import Chart
from wgflow.runs.run import Run
from wgflow.runs.sampled import SampledTarget
from wgflow.storage import folder
from wgflow.training.recorder import read_frames

Records = list[dict[str, Any]]
Read = TypeVar("Read")

log = logging.getLogger(__name__)

PATHS, STAGES = 200, 9
"""Number of trajectories of a flow that are shown, and of frames."""


class Film(NamedTuple):
    """Particles ``x`` (frames, particles, *event) after ``steps`` (frames,) of a clock."""

    steps: np.ndarray
    x: np.ndarray
    clock: str = "training steps"


class Way(NamedTuple):
    """Particles on their way to a given energy, and where they came to.

    Attributes:
        journey: frames and metrics.
        samples: at the end, (count, d), of the same coordinates.
        log_z: of the energy.
    """

    journey: Journey
    samples: np.ndarray
    log_z: float


class Occupancy(NamedTuple):
    """Per mode its weight, its fraction of the samples, and the standard error of the latter."""

    weights: np.ndarray
    sampled: np.ndarray
    error: np.ndarray


class View(NamedTuple):
    """Energy and densities on a grid, for data of one or two dimensions."""

    energy: Chart
    learned: Chart
    true: Chart
    truth: str


@dataclass(frozen=True, eq=False)
class Material:
    """All that a page shows, as plain values; None or empty where the run has none.

    Args:
        name: of the run folder.
        source: of the data.
        names: of the coordinates of a vector.
        reference: held-out points (n, *event).
        samples: points drawn from the model.
        film: the particles over time.
        way: of the particles to a given energy.
        view: energy and densities on a grid.
        occupancy: of the modes.
        scores: flat, with ``_error`` and ``_floor`` beside them.
        records: of training, one per logged step.
        events: rollbacks, early stops, interruptions.
        config: the text of the configuration.
        environment: facts about the machine.
    """

    name: str
    source: str
    names: tuple[str, ...]
    reference: np.ndarray
    samples: np.ndarray | None = None
    film: Film | None = None
    way: Way | None = None
    view: View | None = None
    occupancy: Occupancy | None = None
    scores: Mapping[str, float] | None = None
    records: Records = field(default_factory=list)
    events: Records = field(default_factory=list)
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictorial(self) -> bool:
        """Whether a point is an image."""
        return self.reference.ndim == 4

    @property
    def dimension(self) -> int:
        """Number of coordinates of a point."""
        return math.prod(self.reference.shape[1:])


def gather(run: Run) -> Material:
    """Read the run folder, and tabulate the energy where it can be drawn."""
    data, path = run.dataset, run.path
    x = _samples(path / folder.SAMPLES, data)
    return Material(
        name=path.resolve().name,
        source=data.name if run.target is None else f"samples of the energy {run.target.name}",
        names=_names(data),
        reference=data.test.numpy(),
        samples=x,
        film=_film(run),
        way=_way(run.target),
        view=_view(run) if math.prod(data.event_shape) <= 2 else None,
        occupancy=None if x is None else _occupancy(data.target, x),
        scores=_or_none(folder.read_scores, path) or None,
        records=folder.read_lines(path / folder.METRICS),
        events=folder.read_lines(path / folder.EVENTS),
        config=(path / folder.CONFIG).read_text(encoding="utf-8"),
        environment=_or_none(folder.read_record, path / folder.ENVIRONMENT) or {},
    )


def _samples(file: Path, data: Dataset) -> np.ndarray | None:
    """The samples in a file; None where there is none, or one of something else."""
    x = _or_none(load_array, file)
    if x is None or x.dtype.kind != "f" or x.shape[1:] != data.event_shape:
        return None
    return x if len(x) and np.isfinite(x).all() else None


def _or_none(read: Callable[[Path], Read], file: Path) -> Read | None:
    """What a file holds; None, with the reason logged, where it is damaged or missing."""
    try:
        return read(file)
    except ValueError as error:
        if file.exists():
            log.warning("%s", error)
        return None


def _way(target: SampledTarget | None) -> Way | None:
    """The way to a given energy; None where there is none, or its file is damaged."""
    if target is None:
        return None
    try:
        journey = target.journey
    except ValueError as error:
        log.warning("%s", error)
        return None
    if journey is None or not journey.frames:
        return None
    return Way(journey, target.free.double().numpy(), target.normaliser.value)


def vectors(x: np.ndarray) -> np.ndarray:
    """Points as vectors, (n, d)."""
    return x.reshape(len(x), -1)


def _names(data: Dataset) -> tuple[str, ...]:
    subscripts = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    count = math.prod(data.event_shape)
    unnamed = tuple(f"x{j + 1}".translate(subscripts) for j in range(count))
    return data.columns or (("x",) if count == 1 else unnamed)


def _view(run: Run) -> View:
    data = run.dataset
    test = data.test.reshape(len(data.test), -1)
    box, dtype = plots.box_of(test.double().numpy()), test.dtype
    points = 400 if test.shape[1] == 1 else 160

    def energy(x: Tensor) -> Tensor:
        return run.energy(x.reshape(-1, *data.event_shape))

    drawn = plots.tabulated(energy, box, points, dtype=dtype)
    learned = plots.density_of(energy, box, points, dtype=dtype)
    if data.target is None:
        return View(
            drawn, learned, _histogram(test.numpy(), learned), "Histogram of held-out data"
        )
    true = plots.tabulated(data.target.log_prob, box, points).map(np.exp)
    return View(drawn, learned, true, plots.TRUTH)


def _histogram(x: np.ndarray, like: Chart, bins: int = 40) -> Chart:
    """A histogram of few wide bins as a density at the many nodes of a chart."""
    edges = [np.linspace(a, b, bins + 1) for a, b in zip(*like.box, strict=True)]
    heights, _ = np.histogramdd(x, edges, density=True)
    for axis, nodes in enumerate(like.axes):
        index = np.searchsorted(edges[axis], nodes, side="right") - 1
        heights = heights.take(index, axis)
    return Chart(like.axes, heights)


def _occupancy(target: Target | None, samples: np.ndarray) -> Occupancy | None:
    if not isinstance(target, GaussianMixture):
        return None
    means, weights = target.means.cpu().double(), target.weights.cpu().double()
    sampled = mode_occupancy(torch.from_numpy(samples).double(), means)
    error = occupancy_error(weights, float(len(samples)))
    return Occupancy(weights.numpy(), sampled.numpy(), error.numpy())


def _film(run: Run) -> Film | None:
    """The particles of training; trajectories from noise where the scheme has a flow instead."""
    if frames := read_frames(run.path, run.steps):
        return Film(np.array(list(frames)), np.stack(list(frames.values())))
    if run.flow is None:
        return None
    stages = list(run.trajectory(PATHS, generator=torch.Generator().manual_seed(run.config.seed)))
    steps = np.linspace(0, len(stages) - 1, STAGES).round().astype(int)
    x = torch.stack([stages[step] for step in steps])
    return Film(steps, x.numpy(), "evaluations of the gradient")
