"""Energies of known distributions: exact samples, exact ``log Z`` and exact log-density.

A target is an energy like any other, ``(batch, d) -> (batch,)``, that also knows what a learned
energy is compared with. Constants are kept in double precision and follow the dtype of ``x``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values

LOG_2PI = math.log(2 * math.pi)

TINY = 1e-300
"""Weight of a part that underflows."""

Dtype = torch.dtype | None
"""Of points; None for that of torch."""


class Target(nn.Module, ABC):
    """A distribution ``p(x) = exp(-E(x)) / Z`` on R^d with ``log Z`` and a sampler.

    A subclass writes ``energy`` and ``sample``; ``log_z`` is 0 where the energy is normalised.

    Args:
        dim: ``d``.
    """

    log_z: float = 0.0
    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(dim, dtype=torch.float64))

    @property
    def dim(self) -> int:
        """``d``."""
        return len(self.origin)

    @abstractmethod
    def energy(self, x: Points) -> Values:
        """``E(x)``, in the dtype of x."""

    @abstractmethod
    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``n`` independent points, shape (n, d)."""

    def forward(self, x: Tensor) -> Tensor:
        """``E(x)``. Raises ValueError unless x has shape (batch, d)."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"`x` must have shape (batch, {self.dim}): got {tuple(x.shape)}.")
        return self.energy(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x) = -E(x) - log Z``, exact and normalised."""
        return -self(x) - self.log_z

    def _noise(self, n: int, dtype: Dtype, generator: Rng) -> Tensor:
        device = self.origin.device
        return torch.randn(n, self.dim, dtype=dtype, device=device, generator=generator)


class Gaussian(Target):
    """``E(x) = ½ (x-m)ᵀ C⁻¹ (x-m)``, so that ``log Z = ½ log det(2πC)``.

    Args:
        mean: ``m``, shape (d,).
        covariance: ``C``, shape (d, d), symmetric positive definite.
    """

    mean: Tensor
    factor: Tensor
    whiten: Tensor

    def __init__(self, mean: Tensor | Sequence, covariance: Tensor | Sequence) -> None:
        m = _double(mean, 1, "mean")
        super().__init__(len(m))
        factor = _cholesky(torch.as_tensor(covariance, dtype=torch.float64), (len(m), len(m)))
        self.register_buffer("mean", m)
        self.register_buffer("factor", factor)
        self.register_buffer("whiten", torch.linalg.inv(factor))
        self.log_z = float(factor.diagonal().log().sum()) + 0.5 * self.dim * LOG_2PI

    def energy(self, x: Points) -> Values:
        """``½ |L⁻¹(x-m)|²`` with ``C = LLᵀ``."""
        u = (x - self.mean.to(x.dtype)) @ self.whiten.to(x.dtype).T
        return 0.5 * u.square().sum(1)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = m + L z``."""
        z = self._noise(n, dtype, generator)
        return self.mean.to(z.dtype) + z @ self.factor.to(z.dtype).T


class GaussianMixture(Target):
    """``E(x) = -log Σ_k a_k N(x; m_k, C_k)``, normalised.

    Args:
        means: ``m_k``, shape (K, d).
        std: ``σ`` for ``C_k = σ²I``, one for all parts.
        covariances: ``C_k``, shape (K, d, d); either this or ``std``.
        weights: ``a_k > 0``, normalised to sum to one; default equal.
    """

    means: Tensor
    weights: Tensor
    factors: Tensor
    whiten: Tensor
    log_scale: Tensor

    def __init__(
        self,
        means: Tensor | Sequence,
        std: float | None = None,
        *,
        covariances: Tensor | Sequence | None = None,
        weights: Tensor | Sequence | None = None,
    ) -> None:
        m = _double(means, 2, "means")
        super().__init__(m.shape[-1])
        shape = (len(m), self.dim, self.dim)
        factors = _cholesky(_covariances(std, covariances, shape), shape)
        self.register_buffer("means", m)
        self.register_buffer("weights", _weights(weights, len(m)))
        self.register_buffer("factors", factors)
        self.register_buffer("whiten", torch.linalg.inv(factors))
        log_det = factors.diagonal(dim1=1, dim2=2).log().sum(1)
        self.register_buffer("log_scale", self.weights.log() - log_det - 0.5 * self.dim * LOG_2PI)

    def energy(self, x: Points) -> Values:
        """``-log Σ_k a_k N(x; m_k, C_k)``."""
        means, whiten, log_scale = (
            t.to(x.dtype) for t in (self.means, self.whiten, self.log_scale)
        )
        u = torch.einsum("kij,bkj->bki", whiten, x[:, None] - means)
        return -torch.logsumexp(log_scale - 0.5 * u.square().sum(2), 1)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x = m_k + L_k z`` with ``k ~ a``."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = self._noise(n, dtype, generator)
        factors = self.factors.to(z.dtype)
        return self.means.to(z.dtype)[k] + (factors[k] @ z[:, :, None])[:, :, 0]

    def conditional(self, x: Tensor, hidden: Tensor) -> "GaussianMixture":
        """``p(x_A | x_B)`` of the hidden coordinates A given the known ones B, a mixture again.

        Its parts are ``N(m_A + G (x_B - m_B), C_AA - G C_BA)`` with ``G = C_AB C_BB⁻¹``, and their
        weights proportional to ``a_k N(x_B; m_B, C_BB)``.

        Args:
            x: a point, (d,); its hidden coordinates do not matter.
            hidden: A, (d,), bool; some of the coordinates and not all.
        """
        a, b = hidden.nonzero().flatten(), (~hidden).nonzero().flatten()
        c = self.factors @ self.factors.mT
        factor = torch.linalg.cholesky(c[:, b][:, :, b])
        gap = (x.double()[b] - self.means[:, b])[:, :, None]
        u = torch.linalg.solve_triangular(factor, gap, upper=False)
        w = torch.linalg.solve_triangular(factor, c[:, b][:, :, a], upper=False)
        means = self.means[:, a] + (w.mT @ u)[:, :, 0]
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        weights = (self.weights.log() - log_det - u.square().sum((1, 2)) / 2).softmax(0)
        covariances = c[:, a][:, :, a] - w.mT @ w
        return GaussianMixture(means, covariances=covariances, weights=weights.clamp_min(TINY))


class TargetMixture(Target):
    """``E(x) = -log Σ_j a_j p_j(x)`` of any targets, normalised.

    Args:
        parts: targets of the same dimension; they may be unnormalised.
        weights: ``a_j > 0``, normalised to sum to one; default equal.
    """

    weights: Tensor

    def __init__(self, parts: Sequence[Target], weights: Tensor | Sequence | None = None) -> None:
        dims = {part.dim for part in parts}
        if len(dims) != 1:
            raise ValueError(f"`parts` must have one dimension: got {sorted(dims)}.")
        super().__init__(dims.pop())
        self.parts = nn.ModuleList(parts)
        self.register_buffer("weights", _weights(weights, len(parts)))

    def energy(self, x: Points) -> Values:
        """``-log Σ_j a_j p_j(x)``."""
        values = torch.stack([part.log_prob(x) for part in self._targets])
        return -torch.logsumexp(values + self.weights.log().to(x.dtype)[:, None], 0)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``x ~ p_j`` with ``j ~ a``, in an order independent of ``j``."""
        j = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        counts = torch.bincount(j, minlength=len(self.parts)).tolist()
        draws = [
            part.sample(count, dtype=dtype, generator=generator)
            for part, count in zip(self._targets, counts, strict=True)
        ]
        # `j` is itself in random order: its ranks send each part's points to their places.
        return torch.cat(draws)[j.argsort(stable=True).argsort()]

    @property
    def _targets(self) -> list[Target]:
        return [part for part in self.parts if isinstance(part, Target)]


class Funnel(Target):
    """Neal's funnel: ``v = x_1 ~ N(0, s²)``, ``x_i | v ~ N(0, e^v)``; normalised.

    Reference: Neal, Slice sampling, Annals of Statistics 2003.

    Args:
        dim: ``d ≥ 2``.
        scale: ``s``.
    """

    def __init__(self, dim: int, scale: float = 3.0) -> None:
        super().__init__(dim)
        if dim < 2:
            raise ValueError(f"`dim` must be ≥ 2: got {dim}.")
        check_positive(scale=scale)
        self.scale = scale

    def energy(self, x: Points) -> Values:
        """``v²/2s² + ½ e^{-v} Σ x_i² + (d-1)v/2 + log s + d/2 log 2π``."""
        v, rest = x[:, 0], x[:, 1:]
        mouth = 0.5 * (v / self.scale) ** 2 + math.log(self.scale)
        neck = 0.5 * (-v).exp() * rest.square().sum(1) + 0.5 * (self.dim - 1) * v
        return mouth + neck + 0.5 * self.dim * LOG_2PI

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """``v = s z_1``, ``x_i = e^{v/2} z_i``."""
        z = self._noise(n, dtype, generator)
        v = self.scale * z[:, :1]
        return torch.cat([v, (v / 2).exp() * z[:, 1:]], 1)


def two_gaussians_50d() -> GaussianMixture:
    """Unit Gaussians in R^50 at -10 and +6 on the first axis, with masses 1/4 and 3/4.

    The masses are the test: no particle crosses between them by diffusion. Reference: Carbone,
    Hua, Coste, Vanden-Eijnden, Efficient training of energy-based models using Jarzynski
    equality, NeurIPS 2023.
    """
    means = torch.zeros(2, 50)
    means[:, 0] = torch.tensor([-10.0, 6.0])
    return GaussianMixture(means, 1.0, weights=[0.25, 0.75])


def _double(values: Tensor | Sequence, ndim: int, name: str) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float64)
    if tensor.ndim != ndim:
        raise ValueError(f"`{name}` must have {ndim} axes: got shape {tuple(tensor.shape)}.")
    return tensor


def _weights(weights: Tensor | Sequence | None, count: int) -> Tensor:
    a = _double([1.0] * count if weights is None else weights, 1, "weights")
    if a.shape != (count,) or not (a > 0).all():
        raise ValueError(f"`weights` must be {count} numbers > 0: got {a.tolist()}.")
    return a / a.sum()


def _covariances(
    std: float | None, covariances: Tensor | Sequence | None, shape: tuple[int, ...]
) -> Tensor:
    if covariances is not None:
        if std is not None:
            raise ValueError("A mixture must have `std` or `covariances`: got both.")
        return _double(covariances, 3, "covariances")
    if std is None:
        raise ValueError("A mixture must have `std` or `covariances`: got neither.")
    check_positive(std=std)
    return std**2 * torch.eye(shape[-1], dtype=torch.float64).expand(shape)


def _cholesky(covariance: Tensor, shape: tuple[int, ...]) -> Tensor:
    if covariance.shape != shape:
        raise ValueError(f"`covariance` must have shape {shape}: got {tuple(covariance.shape)}.")
    factor, info = torch.linalg.cholesky_ex(covariance)
    if info.any() or not torch.allclose(covariance, covariance.mT):
        smallest = torch.linalg.eigvals(covariance).real.min()
        raise ValueError(
            "`covariance` must be symmetric positive definite: "
            f"got {smallest:.3g} as its smallest eigenvalue."
        )
    return factor
