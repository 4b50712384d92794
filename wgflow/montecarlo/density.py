"""A density learned from particles, normalised, with exact and stratified draws."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians
from wgflow.data.targets import Dtype, Target
from wgflow.energies.mixture import NoisyMixture


class LearnedDensity(Target):
    """``q(x) = Σ_k a_k N(x; m_k, C_k)``, a stacked mixture: see `wgflow.data.mixtures.stacked`.

    Args:
        families: Gaussians, whose weights sum to one.
    """

    def __init__(self, families: Sequence[Gaussians]) -> None:
        super().__init__(families[0].means.shape[1])
        self.mixture = NoisyMixture(families)

    def energy(self, x: Points) -> Values:
        """``-log q(x)``."""
        return self.mixture(x, x.new_full((len(x),), -torch.inf))

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """Draws of which component k has ``⌊n a_k⌋`` or ``⌈n a_k⌉``, in either half alike.

        Systematic: each draw is one of q, and so the means of functions are unbiased, of a smaller
        variance than those of independent draws. The order is that of the components, first of
        every other draw and then of the rest.
        """
        like = torch.empty(n, self.dim, dtype=dtype, device=self.origin.device)
        weights = torch.cat([f.log_weights for f in self.mixture.parts]).exp()
        u = torch.rand(1, generator=generator, dtype=torch.float64).to(weights.device)
        pointers = (torch.arange(n, device=weights.device) + u) / n * weights.sum()
        index = torch.searchsorted(weights.cumsum(0), pointers).clamp_(max=len(weights) - 1)
        index = torch.cat([index[0::2], index[1::2]])
        return self.mixture.drawn(like, index, like.new_full((n,), -torch.inf), generator)
