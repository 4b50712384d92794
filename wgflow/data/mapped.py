"""Whether maps of columns are in the way of mixtures of Gaussians."""

import torch
from torch import Tensor

from wgflow.data.gaussianise import GAIN, fitted
from wgflow.data.mixtures import judged

ROWS = 4096
"""Points at most that tell."""


def likelier_unmapped(x: Tensor, *, seed: int = 0) -> bool:
    """Whether the stacked mixture of points as they are has the greater likelihood, by `GAIN`.

    `wgflow.data.gaussianise.fitted` chooses maps by the likelihood of one Gaussian. Where parts of
    very different widths are around the same place, as a spike in a slab or along a funnel, it
    takes them for heavy tails; a mixture has a Gaussian for each.

    Args:
        x: points in random order, (n, d); unseen ones of them tell.
        seed: of the mixtures.
    """
    x = x[:ROWS].double()
    maps = fitted(x)
    if maps is None:
        return False
    mapped = _nats(maps.forward(x), seed) + float(maps.log_derivative(x).sum(1).mean())
    return _nats(x, seed) > mapped + GAIN


def _nats(x: Tensor, seed: int) -> float:
    """The mean log-density of unseen points, in their own units."""
    unit = x.std(0, correction=0)
    found = judged((x - x.mean(0)) / unit, torch.arange(len(x)), seed=seed)
    return float(found.unseen.mean() - unit.log().sum())
