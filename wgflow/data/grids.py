"""Values on a grid: its step, and uniform noise within its cells, so that a density exists."""

import numpy as np
import torch

from wgflow._random import Rng

DECIMALS = 9
"""Most decimal places of a grid."""

CELLS = 10**6
"""Most steps of a grid that is not decimal, such as that of standardised integers."""

CLOSE = 1e-4
"""How far values may be from such a grid, in steps: they were rounded."""

ATOM = 0.05
"""Share of values on no grid that are one and the same, beyond which a density is ill-defined."""

NOISE = 2**16
"""Values of the noise, all inside the cell, so that rounding cannot move a value out of it."""


def step_of(values: np.ndarray) -> float | None:
    """The greatest step r of a grid ``x_min + r k``, k an integer, that holds all values (n,).

    Only values that repeat are on a grid: integers, or numbers of which fewer than half as many
    are distinct as there are. Of numbers the grid is decimal, as of 0.25 or 20, or else even, as
    of integers that were standardised. None without a grid, as of 20,000 measurements of eight
    digits, which hardly repeat, or of equal values.
    """
    levels = np.unique(values)
    if len(levels) < 2:
        return None
    if values.dtype.kind in "iu":
        return float(np.gcd.reduce(np.diff(levels)))
    if 2 * len(levels) >= len(values):
        return None
    return _decimal_step(levels) or _even_step(levels.astype(np.float64))


def atom_of(values: np.ndarray) -> tuple[float, float]:
    """The most frequent value of (n,), and the share that has it; 0 where it is one of a pair."""
    levels, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    share = counts[most] / len(values) if counts[most] > 2 else 0.0
    return float(levels[most]), float(share)


def atoms(rows: torch.Tensor) -> list[tuple[float, float]]:
    """`atom_of` each column of (n, d), whose values on a grid have their noise."""
    return [atom_of(column) for column in rows.T.cpu().numpy()]


def uniform_noise(rows: int, columns: int, *, generator: Rng = None) -> np.ndarray:
    """``u ~ U(0, 1)`` of 16 bits, (rows, columns), float64; that of a row not of later ones."""
    drawn = torch.randint(NOISE, (rows, columns), generator=generator)
    return (drawn.numpy() + 0.5) / NOISE


def on_grid(x: np.ndarray, low: float, high: float, step: float) -> np.ndarray:
    """``x_min + r ⌊(x - x_min)/r⌋``: cells of points x, no further out than the values seen."""
    cells = np.floor((np.asarray(x, np.float64) - low) / step)
    cells = np.clip(cells, 0, np.rint((high - low) / step))
    places = max(_places(step), _places(low))
    return np.round(low + step * cells, places) if places <= DECIMALS else low + step * cells


def _decimal_step(levels: np.ndarray) -> float | None:
    """The greatest decimal number that all gaps of ascending levels are multiples of."""
    for places in range(DECIMALS + 1):
        scaled = np.rint(levels.astype(np.float64) * 10**places)
        if np.abs(scaled).max() >= 2**53:
            return None
        # In the type of the values: 0.1 in single precision is not 0.1 in double.
        if np.array_equal((scaled / 10**places).astype(levels.dtype), levels):
            return float(np.gcd.reduce(np.diff(scaled).astype(np.int64))) / 10**places
    return None


def _even_step(levels: np.ndarray) -> float | None:
    """The smallest gap of ascending levels, if all gaps are multiples of it but for rounding."""
    width = levels[-1] - levels[0]
    gaps = np.diff(levels)
    cells = (levels - levels[0]) / gaps[gaps > width / CELLS].min(initial=width)
    if np.abs(cells - np.rint(cells)).max() > CLOSE:
        return None
    return float(width / np.rint(cells[-1]))


def _places(number: float) -> int:
    """Decimal places of a number as it is written, more than `DECIMALS` where it has no few."""
    known = (n for n in range(DECIMALS + 1) if round(number, n) == number)
    return next(known, DECIMALS + 1)
