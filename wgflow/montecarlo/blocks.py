"""Blocks of coordinates that look independent, and the density of particles as their product.

Where 16 coordinates are bimodal each, a law has 65,536 modes, more than there are particles, and
no mixture of them all. A product of 16 mixtures of two has.
"""

from collections.abc import Sequence

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from wgflow._tensor import Points
from wgflow.data.mixtures import Gaussians, Judged, judged
from wgflow.montecarlo.density import Block
from wgflow.montecarlo.minima import Mode

DEPENDENT = 0.3
"""Correlation, of coordinates or their squares, from which on they are in one block."""

SHAPED = 0.5
"""Skewness or excess kurtosis below which a coordinate may as well be normal."""

GAIN = 0.05
"""Nats for each unseen particle that a product must bring."""


def density_of(x: Points, groups: Tensor, *, seed: int = 0) -> list[Block]:
    """The density of particles: a stacked mixture, or a product of coarse ones of the blocks.

    Args:
        x: particles, (n, d), equally weighted.
        groups: (n,), of particles that are relatives.
        seed: as of `wgflow.data.mixtures.stacked`.

    Returns:
        Blocks that look independent, where unseen particles are likelier by `GAIN`; else one of
        all coordinates.
    """
    whole = judged(x, groups, seed=seed)
    together = [Block(torch.arange(x.shape[1]), whole.families)]
    parts = looking_independent(x)
    if len(parts) == 1:
        return together
    alone = [judged(x[:, columns], groups, coarse=True, seed=seed) for columns in parts]
    if _gain(alone, whole) < GAIN:
        return together
    pairs = zip(parts, alone, strict=True)
    return [Block(columns, found.families) for columns, found in pairs]


def with_modes(blocks: list[Block], modes: Sequence[Mode]) -> list[Block]:
    """The density with a Gaussian for each mode, of its share; a product stays as it is."""
    if len(blocks) > 1 or not modes:
        return blocks
    ((columns, families),) = blocks
    shares = torch.tensor([mode.share for mode in modes], dtype=torch.float64)
    centers = torch.stack([mode.center for mode in modes]).double().cpu()
    covariances = torch.stack([mode.covariance for mode in modes]).double().cpu()
    others = [f._replace(weights=(1 - shares.sum()) * f.weights) for f in families]
    return [Block(columns, [*others, Gaussians(shares, centers, covariances)])]


def looking_independent(x: Points) -> list[Tensor]:
    """The columns of each block, in order; one block where at most one of several is not normal.

    Blocks are connected by correlations of at least `DEPENDENT`, of coordinates and of their
    squares with each other. They may depend in other ways, which unseen particles must tell.
    """
    u = (x - x.mean(0)) / x.std(0, correction=0)
    features = torch.cat([u, u.square()], 1)
    correlation = features.T.corrcoef().abs().nan_to_num()
    d = x.shape[1]
    linked = correlation.reshape(2, d, 2, d).amax((0, 2)) >= DEPENDENT
    count, labels = connected_components(linked.numpy())
    blocks = [torch.from_numpy((labels == k).nonzero()[0]) for k in range(count)]
    shaped = (u**3).mean(0).abs().maximum(((u**4).mean(0) - 3).abs()) > SHAPED
    if sum(bool(shaped[columns].any()) for columns in blocks) < 2:
        return [torch.arange(d)]
    return blocks


def _gain(alone: list[Judged], whole: Judged) -> float:
    """Of a product over all coordinates together, in nats for each unseen particle."""
    product = torch.stack([found.unseen for found in alone]).sum(0)
    return float((product - whole.unseen).mean())
