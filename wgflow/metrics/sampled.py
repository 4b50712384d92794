"""Scores of samples of a given energy: shares of its modes, and distances to exact draws."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import ot
import torch
from torch import Tensor

from wgflow.energies.base import Energy
from wgflow.metrics.pairwise import flat_pair
from wgflow.metrics.samples import (
    EnergyDistance,
    Metric,
    Scored,
    SlicedWasserstein,
    mode_occupancy,
    occupancy_error,
    with_floor,
)


class Shares(NamedTuple):
    """Of points whose nearest center is each of K.

    Attributes:
        shares: (K,), summing to one.
        errors: standard errors, (K,).
    """

    shares: Tensor
    errors: Tensor


def mode_shares(x: Tensor, centers: Tensor, size: float | None = None) -> Shares:
    """Shares of equally weighted points, with the binomial error of so many independent ones.

    Args:
        x: points, (batch, *event).
        centers: (K, *event).
        size: how many independent points they are worth; None for all.

    Raises:
        ValueError: on empty, non-finite or differently shaped arguments, or a size that is not
            positive.
    """
    shares = mode_occupancy(x, centers)
    return Shares(shares, occupancy_error(shares, float(len(x) if size is None else size)))


def mode_shares_of_chains(chains: Tensor, centers: Tensor) -> Shares:
    """Shares of positions along independent chains, and errors from the differences of chains.

    So they hold whatever the autocorrelation is, for chains that have forgotten their starts.

    Args:
        chains: (kept, chains, *event).
        centers: (K, *event).

    Raises:
        ValueError: for fewer than two chains, or as of `mode_shares`.
    """
    count = chains.shape[1]
    if count < 2:
        raise ValueError(f"`chains` must be 2 or more: got {count}.")
    each = torch.stack([mode_occupancy(chains[:, c], centers) for c in range(count)])
    return Shares(each.mean(0), each.std(0) / math.sqrt(count))


@dataclass(frozen=True)
class EnergyWasserstein:
    """``W₂`` between V at the points and V at the reference, in nats; any event shape.

    It sees neither where points are nor what shares modes have: read it beside others.

    Args:
        energy: V.
        chunk: points that V is evaluated at in one call.

    Raises:
        ValueError: on empty, non-finite or differently shaped samples, or where V is not finite.
    """

    energy: Energy
    chunk: int = 10_000

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance, a scalar."""
        flat_pair(x, y)
        values = [self._values(side) for side in (x, y)]
        square: Any = ot.wasserstein_1d(*values, p=2)
        return square[0].sqrt()

    def _values(self, x: Tensor) -> Tensor:
        values = torch.cat([self.energy(part) for part in x.split(self.chunk)]).double()
        if infinite := int((~values.isfinite()).sum()):
            raise ValueError(
                f"`energy` must be finite at all points: got {infinite} of {len(x)} where it is "
                "not."
            )
        return values[:, None]


def distances(
    x: Tensor, reference: Tensor, second_reference: Tensor, energy: Energy
) -> dict[str, Scored]:
    """``energy_distance``, ``sliced_w2`` and ``energy_w2``, each beside its floor.

    Args:
        x, reference, second_reference: as of `wgflow.metrics.samples.with_floor`.
        energy: V.

    Raises:
        ValueError: as of the metrics, and if the second reference has fewer points than x.
    """
    metrics: dict[str, Metric] = {
        "energy_distance": EnergyDistance(),
        "sliced_w2": SlicedWasserstein(),
        "energy_w2": EnergyWasserstein(energy),
    }
    return {name: with_floor(m, x, reference, second_reference) for name, m in metrics.items()}
