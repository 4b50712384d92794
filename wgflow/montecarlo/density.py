"""A density learned from particles, normalised, with exact and stratified draws."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians
from wgflow.data.targets import Dtype, Target
from wgflow.energies.mixture import NoisyMixture


class Block(NamedTuple):
    """Coordinates that are independent of all others, and the density of them.

    Attributes:
        columns: of x, (k,).
        families: Gaussians of dimension k, whose weights sum to one.
    """

    columns: Tensor
    families: list[Gaussians]


class LearnedDensity(Target):
    """``q(x) = Π_b Σ_k a_bk N(x_b; m_bk, C_bk)``: a product of mixtures of blocks of coordinates.

    Args:
        blocks: each coordinate is in one of them.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__(sum(len(columns) for columns, _ in blocks))
        self.blocks = list(blocks)
        self.mixtures = nn.ModuleList(NoisyMixture(families) for _, families in blocks)

    def energy(self, x: Points) -> Values:
        """``-log q(x)``."""
        clean = x.new_full((len(x),), -torch.inf)
        parts = zip(self.blocks, self.mixtures, strict=True)
        return torch.stack([mixture(x[:, b.columns], clean) for b, mixture in parts]).sum(0)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """Draws of which component k of a block has ``⌊n a_k⌋`` or ``⌈n a_k⌉``.

        Systematic: each draw is one of q, and so the means of functions are unbiased, of a smaller
        variance than those of independent draws. The same is true of the first and the second
        half. In either the order is that of the components of the only block, or random.
        """
        x = torch.empty(n, self.dim, dtype=dtype, device=self.origin.device)
        for (columns, _), mixture in zip(self.blocks, self.mixtures, strict=True):
            part = _stratified(cast(NoisyMixture, mixture), x[:, columns], generator)
            x[:, columns] = part if len(self.blocks) == 1 else _shuffled(part, generator)
        return x


def _stratified(mixture: NoisyMixture, like: Tensor, generator: Rng) -> Tensor:
    """Draws of a mixture, of every other component of the strata first and then of the rest."""
    n = len(like)
    weights = torch.cat([f.log_weights for f in mixture.parts]).exp()
    u = torch.rand(1, generator=generator, dtype=torch.float64).to(weights.device)
    pointers = (torch.arange(n, device=weights.device) + u) / n * weights.sum()
    index = torch.searchsorted(weights.cumsum(0), pointers).clamp_(max=len(weights) - 1)
    index = torch.cat([index[0::2], index[1::2]])
    return mixture.drawn(like, index, like.new_full((n,), -torch.inf), generator)


def _shuffled(x: Tensor, generator: Rng) -> Tensor:
    """Either half in random order."""
    halves = x.tensor_split([(len(x) + 1) // 2])
    return torch.cat([half[torch.randperm(len(half), generator=generator)] for half in halves])
