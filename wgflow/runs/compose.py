"""Products and powers of the densities of runs, without training."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from wgflow._tensor import Points, Values
from wgflow.energies.base import Energy, Rescaled, Sum, Tempered, energy_at
from wgflow.runs.run import Run


class Counted(nn.Module):
    """An energy that counts the points at which it is evaluated.

    Args:
        energy: E.
    """

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy
        self.points = 0

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x)``."""
        self.points += len(x)
        return energy_at(self.energy, x, level)


def compose(
    runs: Sequence[Run], *, coefficients: Sequence[float] | None = None, temperature: float = 1.0
) -> Run:
    """The first run with the energy ``Σ_j c_j E_j(x)/T``, that is ``p ∝ Π_j p_j^{c_j/T}``.

    Energies are added in the units of the data. Samples start as those of the first run: at noise,
    or at its population reweighted to the new energy, which needs the two to overlap. The heat
    flow follows the product of the noise levels, which differs from the noisy product; where
    ``Σ_j c_j/T < 1`` it would leave noise, so it follows the energy scaled to a sum of one, and
    Langevin steps at the lowest level do the rest.

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
            "`runs` must have points of one shape: got "
            f"{', '.join(map(str, shapes)) or 'no runs'}."
        )
    first = runs[0]
    for run in runs:
        check_columns(first, run)
    if first.flow is not None:
        for run in runs:
            first.flow.check_product(run.flow)
    product = Tempered(Sum([run.energy for run in runs], coefficients), temperature)
    energy, shares = standardised(product, first), coefficients or [1.0] * len(runs)
    total = sum(c / run.temperature for c, run in zip(shares, runs, strict=True))
    flatter = max(1.0, temperature / total) if total > 0 else 1.0
    return replace(first, energy=energy, composed=True, temperature=flatter)


def check_columns(first: Run, other: Run) -> None:
    """Raise ValueError for runs of tables whose coordinates mean different things."""
    if first.schema is None or other.schema is None:
        return
    pairs = list(zip(first.schema.columns, other.schema.columns, strict=True))
    differ = [(a, b) for a, b in pairs if (a.name, a.categories) != (b.name, b.categories)]
    if differ:
        a, b = differ[0]
        raise ValueError(
            "`runs` must have the same columns in the same order, with the same categories: got "
            f"{a.name!r} {list(a.categories)} and {b.name!r} {list(b.categories)}."
        )


def standardised(energy: Energy, run: Run) -> Rescaled:
    """An energy in the units of the data, written as one of the standardised units of a run."""
    inner = run.energy.undone(energy)
    return run.energy.around(inner).eval().requires_grad_(False)


def counted(run: Run) -> tuple[Run, Counted]:
    """The run with an energy that counts, and the counter."""
    counter = Counted(run.energy.energy)
    return replace(run, energy=run.energy.around(counter).requires_grad_(False)), counter
