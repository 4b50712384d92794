"""The contract of flows: how a learned energy carries noise to the data, and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.energies.conditional import LogProb
from wgflow.likelihood.annealing import LogZ

F = TypeVar("F", bound="Flow")

CHUNK = 256
"""Points that a flow carries at a time, which bounds the memory."""

DEFAULT_STEP = 1e-3
"""Langevin step in squared standardised units, where nothing is known."""

DEFAULT_TEMPERATURE = 10.0
"""Temperature at which chains cross between modes, where nothing is known."""

TIMES = (0.2, 0.4, 0.6, 0.8)
"""Times t of the paths ``(1-t) noise + t data`` at which `Flow.reconstruction_error` starts."""


class ClassGuidance(NamedTuple):
    """Guidance to a class by a classifier of noisy points.

    Attributes:
        log_prob: ``log p(c|x)`` of points on their way.
        label: c.
        scale: guidance scale k > 0; 1 is Bayes' rule where noise and data are independent.
    """

    log_prob: LogProb
    label: int
    scale: float


@dataclass(frozen=True, eq=False)
class Flow(ABC):
    """A learned flow between noise and data: an energy, and how to follow it.

    Points are in the units of the energy.

    Args:
        energy: E of points; also of the noise level, where the flow has levels.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """Fields that `configured` changes."""

    energy: Any

    @abstractmethod
    def sample(self, like: Points, *, generator: Rng = None) -> Points:
        """Fresh points of the shape, dtype and device of ``like``, carried from noise."""

    @abstractmethod
    def trajectory(self, like: Points, *, generator: Rng = None) -> Iterator[Points]:
        """The points of `sample` on their way, from the noise to the data, (batch, *event)."""

    @abstractmethod
    def denoise(self, y: Points, sigma: Tensor) -> Points | None:
        """An estimate of x given ``y = x + σξ``; None where σ (of one event) cannot be handled."""

    @abstractmethod
    def bridge(
        self, x: Points, hidden: Tensor, *, steps: int = 80, generator: Rng = None
    ) -> Points:
        """x with its hidden coordinates drawn by the flow, consistent with the known ones.

        Args:
            x: points with known coordinates, (batch, *event).
            hidden: True where a coordinate is hidden, (*event,), bool.
            steps: gradients per point.
            generator: source of the noise.

        Raises:
            ValueError: on a mask of another shape, or no steps.
        """

    @abstractmethod
    def interpolate(self, a: Tensor, b: Tensor, points: int) -> Points | None:
        """A path from a to b, (points, *event), through the noise; None where there is none."""

    @abstractmethod
    def reconstruction_error(self, x: Points, *, generator: Rng = None) -> Tensor:
        """``|x̂ - x|²`` after noise was added to x and removed, (batch, times), float64.

        It is small only near the data, whatever E(x) is (after Graham et al. 2023). The noise is
        that of the paths at the times `TIMES`.
        """

    @abstractmethod
    def log_z(self, like: Points, held_out: Any, *, generator: Rng = None) -> LogZ | None:
        """``log Z`` of the energy by annealing along the flow; None where the flow bounds none.

        Args:
            like: a tensor of the shape, dtype and device of one point, (1, *event).
            held_out: `Particles` that never entered a gradient; None without any.
            generator: source of randomness.
        """

    @abstractmethod
    def sample_class(self, like: Points, guide: ClassGuidance, *, generator: Rng = None) -> Points:
        """`sample`, guided to a class."""

    @abstractmethod
    def legs(self, generator: Rng = None) -> list[Callable[[Points], Points]]:
        """`sample` in parts, between which draws can be classified and dropped.

        The first maps ``like`` to points on the way, the others go on from there. Empty where
        draws cannot be classified on the way.
        """

    @abstractmethod
    def langevin_step(self, settled: float | None) -> float:
        """A Langevin step for chains at the data, in squared units; stable rather than optimal.

        Args:
            settled: the step that the particles of the run adapted to, if it has some.
        """

    @property
    @abstractmethod
    def highest_temperature(self) -> float:
        """A temperature at which chains cross between modes."""

    @abstractmethod
    def check_product(self, other: "Flow | None") -> None:
        """Raise ValueError unless an energy with the other flow can be multiplied with this."""

    def configured(self: F, **options: Any) -> F:
        """The same flow with other options. Raises ValueError for one that it does not have."""
        for name in options:
            if name not in self.options:
                raise ValueError(
                    f"`{name}` must be an option of {type(self).__name__}: expected one of "
                    f"{', '.join(self.options)}."
                )
        return replace(self, **options)
