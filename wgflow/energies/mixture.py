"""A mixture of Gaussians along the heat flow: normalised, and sampled exactly, at every level."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians
from wgflow.energies.microbatch import full_batch
from wgflow.energies.pairs import log_sum_exp, products

PAIRS = 2**17
"""Numbers that an evaluation holds at a time: on CPUs, which have small caches."""


class Family(nn.Module):
    """``Σ_k a_k N(x; m_k, C_k + σ²I)`` of Gaussians, by ``C_k = U_k diag(v_k) U_kᵀ``.

    Args:
        gaussians: weights, means and covariances.
    """

    log_weights: Tensor
    means: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(self, gaussians: Gaussians) -> None:
        super().__init__()
        variances, axes = torch.linalg.eigh(gaussians.covariances.double())
        self.register_buffer("log_weights", gaussians.weights.double().log())
        self.register_buffer("means", gaussians.means.double())
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances.clamp(min=0))

    @classmethod
    def empty(cls, count: int, covariances: int, dim: int) -> "Family":
        """A family of that size, whose values come with a state."""
        eye = torch.eye(dim).expand(covariances, dim, dim)
        return cls(Gaussians(torch.ones(count), torch.zeros(count, dim), eye))

    def log_density(self, x: Tensor, variance: Tensor) -> Tensor:
        """``log Σ_k a_k N(x; m_k, C_k + σ²I)``, (batch,), of x and σ², (batch,), float64."""
        size = max(1, (PAIRS if x.is_cpu else 8 * PAIRS) // len(self.means))
        part = self._shared if len(self.axes) == 1 else self._own
        split = zip(x.split(size), variance.split(size), strict=True)
        return torch.cat([part(*rows) for rows in split])

    def _own(self, x: Tensor, variance: Tensor) -> Tensor:
        """Of a covariance for each mean: one coordinate after another, (K, batch) each."""
        log_weights, means = self.log_weights.double(), self.means.double()
        axes, variances = self.axes.double(), self.variances.double()
        centers = torch.einsum("ki,kij->jk", means, axes)
        log = (log_weights - x.shape[1] * math.log(2 * math.pi) / 2)[:, None]
        for axis, center, own in zip(axes.unbind(2), centers, variances.T, strict=True):
            spread = own[:, None] + variance
            along = torch.addmm(-center[:, None], axis, x.T)
            log = log - (along.square() / spread + spread.log()) / 2
        return log_sum_exp(log.T)

    def _shared(self, x: Tensor, variance: Tensor) -> Tensor:
        """Of one covariance: products for all means at once, and what they share only once."""
        spread = self.variances.double() + variance[:, None]
        norm = (spread.log().sum(1) + x.shape[1] * math.log(2 * math.pi)) / 2
        axes = self.axes[0].double()
        along, means, weights = x @ axes, self.means.double() @ axes, 1 / spread
        half = means**2 / 2
        shared = (weights * along**2).sum(1) / 2 + norm
        own, other = torch.cat([weights * along, weights], 1), torch.cat([means, -half], 1)
        return log_sum_exp(products(own, other, self.log_weights.double())) - shared

    def draw(self, index: Tensor, noise: Tensor, variance: Tensor) -> Tensor:
        """Points of the components ``index``, (batch,), from standard noise, (batch, d)."""
        axes, shared = self.axes.double(), len(self.axes) == 1
        variances = self.variances.double()[torch.zeros_like(index) if shared else index]
        scaled = (variances + variance[:, None]).sqrt() * noise
        moved = scaled @ axes[0].T if shared else _turned(scaled, axes, index)
        return self.means.double()[index] + moved


def _turned(points: Tensor, axes: Tensor, index: Tensor) -> Tensor:
    """``U_k z`` of points z of components k: as products of as many matrices as there are."""
    order = index.argsort(stable=True)
    counts = index.bincount(minlength=len(axes)).tolist()
    parts = zip(points[order].split(counts), axes, strict=True)
    turned = torch.empty_like(points)
    turned[order] = torch.cat([part @ own.T for part, own in parts])
    return turned


class NoisyMixture(nn.Module):
    """``E(x, λ) = -log Σ_k a_k N(x; m_k, C_k + σ²I)``, λ = log σ², of flattened events.

    The heat flow of a mixture of Gaussians is one: at every level this is normalised, log Z = 0.
    In double precision, since energies are small differences of large squares.

    Args:
        families: Gaussians, whose weights sum to one.
    """

    def __init__(self, families: Sequence[Gaussians]) -> None:
        super().__init__()
        self.families = nn.ModuleList(map(Family, families))
        self.register_load_state_dict_pre_hook(_sized)

    def forward(self, x: Points, level: Values) -> Values:
        """``E(x, λ)``."""
        points, variances = x.flatten(1).double(), level.double().exp()
        values = torch.stack([family.log_density(points, variances) for family in self.parts])
        return -values.logsumexp(0).to(x.dtype)

    def sample(self, like: Tensor, level: Values, *, generator: Rng = None) -> Points:
        """Points of the shape of ``like``, each at its own level."""
        weights = torch.cat([family.log_weights for family in self.parts]).exp()
        index = torch.multinomial(weights, len(like), replacement=True, generator=generator)
        return self.drawn(like, index, level, generator)

    def drawn(self, like: Tensor, index: Tensor, level: Values, generator: Rng) -> Points:
        """Points of components, (batch,), counted through the families."""
        noise = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
        flat, variance, first = noise.flatten(1).double(), level.double().exp(), 0
        x = torch.empty_like(flat)
        for family in self.parts:
            count = len(family.means)
            own = (index >= first) & (index < first + count)
            x[own] = family.draw(index[own] - first, flat[own], variance[own])
            first += count
        return x.to(like.dtype).reshape(like.shape)

    @property
    def parts(self) -> list[Family]:
        """The families."""
        return [family for family in self.families if isinstance(family, Family)]


def _sized(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Make the families of a mixture that a state has: their number is known from it alone."""
    found, key = [], f"{prefix}families.{{}}.{{}}"
    while (means := state.get(key.format(len(found), "means"))) is not None:
        covariances = len(state[key.format(len(found), "axes")])
        family = Family.empty(len(means), covariances, means.shape[1])
        found.append(family.to(means.device, means.dtype))
    module.families = nn.ModuleList(found)


def mixture_of(energy: Any) -> NoisyMixture | None:
    """The mixture that an energy starts from, of a product the first; None if there is none."""
    plain = full_batch(energy)
    modules = plain.modules() if isinstance(plain, nn.Module) else ()
    return next((part for part in modules if isinstance(part, NoisyMixture)), None)
