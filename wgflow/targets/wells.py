"""Independent double wells: more modes than there can be points, with exact draws."""

import numpy as np
import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import LOG_2PI, Dtype, Target

NODES = np.linspace(-4.0, 4.0, 20_001)
"""Of the coordinate in wells; beyond, ``e^{-w}`` is below 10⁻⁶⁰."""


class ManyWell(Target):
    """``E(x) = Σ_i w(x_{2i-1}) + x_{2i}²/2``, ``w(s) = s⁴ - 6s² - s/2``: ``2^{d/2}`` modes.

    Each pair has a double well, of which the right one has .844 of the mass, and a normal
    coordinate. ``log Z`` is d/2 times that of a pair, whose integral is a sum over nodes.

    Reference: Midgley et al., Flow annealed importance sampling bootstrap, ICLR 2023; the pair is
    that of Noé et al., Boltzmann generators, Science 365 (2019).

    Args:
        dim: d, even.

    Raises:
        ValueError: d is odd or below 2.
    """

    def __init__(self, dim: int = 32) -> None:
        if dim < 2 or dim % 2:
            raise ValueError(f"`dim` must be even and at least 2: got {dim}.")
        super().__init__(dim)
        well = _well(torch.from_numpy(NODES))
        mass = (float(well.min()) - well).exp().numpy()
        steps = (mass[1:] + mass[:-1]) / 2 * np.diff(NODES)
        log_z = float(np.log(steps.sum())) - float(well.min())
        self.log_z = dim // 2 * (log_z + LOG_2PI / 2)
        self._cumulative = np.concatenate([[0.0], steps.cumsum() / steps.sum()])

    def energy(self, x: Points) -> Values:
        """``Σ_i w(x_{2i-1}) + x_{2i}²/2``."""
        return (_well(x[:, 0::2]) + x[:, 1::2].square() / 2).sum(1)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """Wells by their distribution function, exact up to its interpolation."""
        x = self._noise(n, torch.float64, generator)
        wells = x[:, 0::2]
        u = torch.rand(wells.shape, generator=generator, device=x.device, dtype=x.dtype)
        found = np.interp(u.cpu().numpy(), self._cumulative, NODES)
        x[:, 0::2] = torch.from_numpy(found).to(x.device)
        return x.to(dtype or torch.get_default_dtype())


def _well(s: Tensor) -> Tensor:
    return s.pow(4) - 6 * s.square() - s / 2
