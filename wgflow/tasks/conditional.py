"""Conditionals of a density of vectors: draws and densities of some columns given the others.

With the known coordinates fixed, E is the energy of the hidden ones up to its normaliser

    p(x_A | x_B) = e^{-E(x_A, x_B)} / Z_B,        Z_B = ∫ e^{-E(x_A, x_B)} dx_A,

whatever E was learned by. Where one or two columns are hidden both are by quadrature. Where more
are, chains are annealed from the conditional of a Gaussian mixture, which has a closed form, and
Z_B is enclosed by works both ways.
"""

import difflib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.column import Column
from wgflow.data.columns import Columns
from wgflow.data.incomplete import point_of
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.quadrature import tabulate
from wgflow.tasks.restriction import Restriction, restricted

log = logging.getLogger(__name__)

CHAINS = 1000
"""Annealed for draws, and each way for a normaliser."""


@runtime_checkable
class Density(Protocol):
    """A density of vectors in the units of data, such as `wgflow.runs.run.Run`.

    Its ``energy`` is E of points in those units, and ``energy.energy`` that of standardised ones,
    into which coordinates are transformed one by one.

    Attributes:
        columns: names of the coordinates.
        mixture: in standardised units, roughly the density: where chains start.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, (d,)."""
        ...

    @property
    def mixture(self) -> Any:
        """A `GaussianMixture` over R^d."""
        ...

    @property
    def energy(self) -> Any:
        """E, (batch, d) -> (batch,)."""
        ...

    def standardise(self, x: Points) -> Points:
        """Points in standardised units."""
        ...

    def unstandardise(self, u: Points) -> Points:
        """Points in the units of the data."""
        ...


@dataclass(frozen=True, eq=False)
class ConditionalDensity:
    """``p(x_A | x_B)`` of the hidden columns A given the values of the known ones B.

    Made by `wgflow.Run.conditional`.

    Attributes:
        density: of all columns.
        x: a row, (d,), in the units of the data: the known values, and anything valid elsewhere.
        hidden: A, (d,), bool.
        chains: annealed where more than two columns are hidden, at least so many.

    Raises:
        ValueError: the energy is infinite at x, or there are no chains.
    """

    density: Density
    x: Tensor
    hidden: Tensor
    chains: int = CHAINS

    def __post_init__(self) -> None:
        check_positive(chains=self.chains)
        with torch.no_grad():
            if not self.density.energy(self.x[None]).isfinite():
                raise ValueError(f"Columns must have values that they can have: got {self.known}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the hidden columns, in the order of draws."""
        names = zip(self.density.columns, self.hidden.tolist(), strict=True)
        return tuple(name for name, hidden in names if hidden)

    @property
    def known(self) -> dict[str, float]:
        """Values of the known columns, by name."""
        cells = zip(self.density.columns, self.x.tolist(), self.hidden.tolist(), strict=True)
        return {name: value for name, value, hidden in cells if not hidden}

    def sample(self, n: int, *, generator: Rng = None) -> Tensor:
        """``n`` draws of the hidden columns, (n, hidden), in the units of the data.

        Those of one or two columns are independent. Others are half of as many chains or fewer,
        resampled by their weights and moved on by exact steps.

        Raises:
            ValueError: unless n is positive.
        """
        check_positive(n=n)
        v = self._restriction.sample(n, self.chains, generator=generator)
        u = self._standardised.expand(n, -1).clone()
        u[:, self.hidden] = v
        return self.density.unstandardise(u)[:, self.hidden]

    def log_prob(self, rest: Tensor) -> Values:
        """``log p(x_A | x_B) = -E(x_A, x_B) - log Z_B``, (batch,), in nats.

        In the units of the data; its error is `normaliser`'s.

        Args:
            rest: hidden columns, (batch, hidden), in the order of `columns`.

        Raises:
            ValueError: on another shape, or where the bounds of the normaliser refute it.
        """
        if rest.ndim != 2 or rest.shape[1] != len(self.columns):
            raise ValueError(
                f"`rest` must have shape (batch, {len(self.columns)}), a column for each of "
                f"{', '.join(self.columns)}: got {tuple(rest.shape)}."
            )
        z = self.normaliser
        if not math.isfinite(z.value):
            raise ValueError(
                "The normaliser must be known for log p(x_A|x_B): its bounds "
                f"{z.lower:.4g} and {z.upper:.4g} contradict it; try more `chains`."
            )
        return (-tabulate(self.density.energy, self.complete(rest)) - z.value).to(rest)

    def complete(self, rest: Tensor) -> Points:
        """Whole rows, (batch, d): the known values, and ``rest`` in the hidden columns."""
        x = self.x.to(rest).expand(len(rest), -1).clone()
        x[:, self.hidden] = rest
        return x

    @cached_property
    def normaliser(self) -> LogZ:
        """``log Z_B`` in the units of the data, its standard error, and bounds of it.

        Where one or two columns are hidden the error is the change by twice the spacing.
        """
        generator = torch.Generator().manual_seed(0)
        found = self._restriction.log_z(self.chains, generator=generator)
        # dx_A = dv Π_A dx/du, and E is in the units of all columns: those of B stay.
        change = float(_log_slopes(self.density, self.x[None])[0, ~self.hidden].sum())
        return LogZ(found.value + change, found.error, found.lower + change, found.upper + change)

    @cached_property
    def _standardised(self) -> Tensor:
        return self.density.standardise(self.x[None])

    @cached_property
    def _restriction(self) -> Restriction:
        energy = self.density.energy.energy
        return restricted(energy, self._standardised, self.hidden, self.density.mixture)


def known_row(
    known: Mapping[str | int, Any], columns: Columns, usual: Tensor
) -> tuple[Tensor, Tensor]:
    """A row with the known values, and what of it is hidden, both (d,).

    Args:
        known: values by the name or the index of their column.
        columns: all of them.
        usual: the values elsewhere, (d,).

    Raises:
        ValueError: for an unknown column or one given twice, a value that is none of its column,
            or where no column or all are known.
    """
    names = columns.names
    x, hidden = usual.clone(), torch.ones(len(names), dtype=torch.bool)
    for key, value in known.items():
        j = _place(key, names)
        if not hidden[j]:
            raise ValueError(f"`known` must have each column once: got {names[j]!r} twice.")
        x[j], hidden[j] = point_of(columns.columns[j], value), False
        _tell_range(columns.columns[j], float(x[j]))
    if hidden.all() or not hidden.any():
        got = "none" if hidden.all() else "all"
        raise ValueError(f"`known` must have some of the columns {_listed(names)}: got {got}.")
    return x, hidden


def _tell_range(column: Column, x: float) -> None:
    """Say it where a coordinate lies beyond all rows, so that the density there is a guess."""
    if not column.low <= x <= column.high + (column.resolution or 0.0):
        log.warning(
            "%r = %.6g lies beyond the rows that were learned from, %.6g to %.6g: the density of "
            "the other columns is extrapolated.",
            column.name,
            x,
            column.low,
            column.high,
        )


def _place(key: Any, names: Sequence[str]) -> int:
    """The index of a column by its name or index."""
    if isinstance(key, str) and key in names:
        return names.index(key)
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(names):
        return key
    near = difflib.get_close_matches(str(key), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {_listed(names)}."
    raise ValueError(f"`known` must be columns by name or index: got {key!r}; {hint}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))


def _log_slopes(density: Density, x: Points) -> Tensor:
    """``log |du_j/dx_j|`` of each coordinate at points, (batch, d), float64."""
    with torch.enable_grad():
        x = x.detach().double().requires_grad_()
        (slope,) = torch.autograd.grad(density.standardise(x).sum(), x)
    return slope.abs().log()
