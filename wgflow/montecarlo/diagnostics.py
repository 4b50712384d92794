"""What chains say of themselves: whether they agree, and how many independent points they hold.

By ArviZ, after Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021.
"""

from typing import Any

import numpy as np
import torch
from arviz_stats.base.array import array_stats
from torch import Tensor

LEAST = 4
"""Positions along a chain that these take."""


def split_rhat(chains: Tensor) -> Tensor:
    """Rank-normalised split ``R̂`` of each coordinate, (d,), float64; 1 for chains that agree.

    It is the larger one of positions and of their distances to the median. Above 1.01 chains have
    not forgotten where they started.

    Args:
        chains: positions, (kept, chains, d).

    Raises:
        ValueError: for fewer than two chains or four positions, or some that are not finite.
    """
    if len(chains) < LEAST or chains.shape[1] < 2:
        raise ValueError(
            f"`chains` must be {LEAST} positions or more of 2 chains or more: "
            f"got shape {tuple(chains.shape)}."
        )
    if not chains.isfinite().all():
        raise ValueError("`chains` must be finite: got positions that are not.")
    found = array_stats.rhat(_array(chains), chain_axis=1, draw_axis=0, method="rank")
    return torch.as_tensor(found, dtype=torch.float64)


def effective_size(chains: Tensor) -> float:
    """Independent points that positions (kept, chains, d) are worth, the least of coordinates.

    One for each chain where there are fewer than four positions, and never more than positions.
    """
    kept, count, _ = chains.shape
    if kept < LEAST:
        return float(count)
    found: Any = array_stats.ess(_array(chains), chain_axis=1, draw_axis=0, method="bulk")
    return min(float(kept * count), float(found.min()))


def _array(chains: Tensor) -> np.ndarray:
    return chains.detach().double().cpu().numpy()
