"""Runs combined: one density out of several, without learning anything."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from wgflow._tensor import Points, Values
from wgflow.energy import Energy, Rescaled, Sum, Tempered
from wgflow.run import Run
from wgflow.samplers.kinetic import KineticState
from wgflow.schemes import matching

STEP = 1e-3
"""Langevin step in squared standardised units, where nothing is known."""

HOT = 10.0
"""A temperature to cool from, where nothing is known."""

SHARE = 1 / 8
"""Of the variance of a well of energy matching, that a Langevin step takes."""


class Counted(nn.Module):
    """An energy that counts the points it has seen.

    Args:
        energy: E.
    """

    def __init__(self, energy: Energy):
        super().__init__()
        self.energy = energy
        self.points = 0

    def forward(self, x: Points) -> Values:
        """``E(x)``."""
        self.points += len(x)
        return self.energy(x)


def compose(
    runs: Sequence[Run],
    *,
    coefficients: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Run:
    """The first run with the energy ``Σ_j c_j E_j(x)/T``, that is ``p ∝ Π_j p_j^{c_j/T}``.

    Energies are added in the units of the data, whatever units each run standardised to. Samples
    start where those of the first run do: at noise, or at its population reweighted to the new
    energy, which serves as far as the two overlap.

    Args:
        runs: at least one, of points of one shape.
        coefficients: ``c_j``, default all one.
        temperature: T > 0.

    Raises:
        ValueError: on no runs, runs of other points, or numbers out of their ranges.
    """
    shapes = list(dict.fromkeys(run.event_shape for run in runs))
    if len(shapes) != 1:
        raise ValueError(
            "Densities are multiplied over the same points: expected one shape of points, "
            f"got {', '.join(map(str, shapes)) or 'no runs'}."
        )
    first = runs[0]
    product = Tempered(Sum([run.energy for run in runs], coefficients), temperature)
    return replace(first, energy=standardised(product, first))


def standardised(energy: Energy, run: Run) -> Rescaled:
    """An energy in the units of the data, written as one of the standardised units of a run."""
    shift, scale = run.energy.shift, run.energy.scale
    inner = Rescaled(energy, -shift / scale, 1 / scale)
    return Rescaled(inner, shift, scale).eval().requires_grad_(False)


def counted(run: Run) -> tuple[Run, Counted]:
    """The run with an energy that counts, and the counter."""
    counter = Counted(run.energy.energy)
    energy = Rescaled(counter, run.energy.shift, run.energy.scale).requires_grad_(False)
    return replace(run, energy=energy), counter


def langevin_step(run: Run) -> float:
    """A Langevin step for chains of a run, in squared standardised units: stable, not the best.

    Of a run with particles, what they settled to; of energy matching, an eighth of the variance
    ``ε(1-t*)`` of the wells at the data.
    """
    if run.particles is not None:
        state = run.particles.state
        step = float(state.step_size)
        return step**2 / 2 if isinstance(state, KineticState) else step
    paths = matching(run.config.scheme)
    if paths is None or paths.cutoff == 1:
        return STEP
    return SHARE * paths.temperature * (1 - paths.cutoff)


def hottest(run: Run) -> float:
    """A temperature at which chains of a run cross between modes.

    Of energy matching, that at which the wells at the data, of variance ``ε(1-t*)``, are as wide
    as the noise ``N(0, s²)`` of its paths; otherwise ten.
    """
    paths = matching(run.config.scheme)
    if paths is None or paths.cutoff == 1:
        return HOT
    return max(1.0, paths.noise**2 / (paths.temperature * (1 - paths.cutoff)))


def to_units(run: Run, x: Points) -> Points:
    """Points of the data, (batch, *event), in the standardised units of a run."""
    if tuple(x.shape[1:]) != run.event_shape:
        raise ValueError(
            "Points have the shape that the run learned: expected "
            f"{run.event_shape} after the first axis, got {tuple(x.shape)}."
        )
    return ((x - run.energy.shift) / run.energy.scale).to(x)


def from_units(run: Run, u: Points) -> Points:
    """Standardised points of a run in the units of the data; leading axes may be any."""
    return (run.energy.shift + run.energy.scale * u).to(u)
