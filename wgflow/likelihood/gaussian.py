"""Closed forms on Gaussians: what every sampler and scheme is tested against.

The target is ``N(b, A⁻¹)``, the distribution of ``E(x) = (x-b)ᵀA(x-b)/2``. Langevin dynamics is
``dX = -∇E dt + √2 dW`` and its Euler step, ULA, ``x ← x - ε∇E(x) + √(2ε) ξ``. Give float64
tensors to get float64 answers; every answer has the dtype and the device of its arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive


@dataclass(frozen=True, eq=False)
class GaussianLaw:
    """The distribution ``N(m, S)`` in R^d; ``S = 0`` is a point.

    Args:
        mean: ``m``, shape (d,).
        covariance: ``S``, shape (d, d), symmetric and positive semi-definite.

    Raises:
        ValueError: on other shapes, or a covariance that is not one.
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        expected = (*self.mean.shape, *self.mean.shape)
        got = tuple(self.covariance.shape)
        if self.mean.ndim != 1 or got != expected:
            mean = tuple(self.mean.shape)
            raise ValueError(f"`covariance` must be {expected} for mean {mean}: got {got}.")
        psd_sqrt(self.covariance)


def spectral(matrix: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``f(M) = V f(Λ) Vᵀ`` of a symmetric ``M = V Λ Vᵀ``, shape (d, d)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * function(values)) @ vectors.mT


def psd_sqrt(matrix: Tensor) -> Tensor:
    """The positive semi-definite ``R`` with ``R R = M``, shape (d, d).

    Eigenvalues that are negative within rounding, ``d · eps · λ_max``, count as zero.

    Raises:
        ValueError: if M is not symmetric or has a truly negative eigenvalue.
    """
    largest = matrix.abs().max()
    rounding = len(matrix) * torch.finfo(matrix.dtype).eps * largest
    if not (matrix - matrix.mT).abs().max() <= 10 * rounding:
        worst = float((matrix - matrix.mT).abs().max())
        raise ValueError(f"A covariance must be symmetric: got a gap of {worst}.")
    smallest = torch.linalg.eigvalsh(matrix)[0]
    if smallest < -10 * rounding:
        got = float(smallest)
        raise ValueError(f"A covariance must be positive semi-definite: got an eigenvalue {got}.")
    return spectral(matrix, lambda values: values.clamp(min=0).sqrt())


def ou_law(start: GaussianLaw, target: GaussianLaw, time: float) -> GaussianLaw:
    """The distribution of Langevin dynamics (Ornstein-Uhlenbeck) at a time t.

    ``m_t = b + e^{-At}(m_0 - b)`` and ``S_t = A⁻¹(I - e^{-2At}) + e^{-At} S_0 e^{-At}``.

    Raises:
        ValueError: for t < 0, different dimensions, or a singular target.
    """
    _check_pair(start, target)
    _check_definite(target)
    if not time >= 0:
        raise ValueError(f"A time must not be negative: expected >= 0, got {time}.")
    decay = spectral(target.covariance, lambda s: torch.exp(-time / s))
    grown = spectral(target.covariance, lambda s: -s * torch.expm1(-2 * time / s))
    return _moved(start, target, decay, grown)


def ula_law(start: GaussianLaw, target: GaussianLaw, step: float, steps: int) -> GaussianLaw:
    """The distribution after n steps of ULA: an order-one biased Ornstein-Uhlenbeck.

    With ``M = I - εA`` and ``S_∞`` of `ula_stationary`: ``m_n = b + Mⁿ(m_0 - b)`` and
    ``S_n = (I - M²ⁿ) S_∞ + Mⁿ S_0 Mⁿ``.

    Args:
        start: ``N(m_0, S_0)``.
        target: ``N(b, A⁻¹)``.
        step: ``ε``, in units of time.
        steps: ``n >= 0``.

    Raises:
        ValueError: as `ula_stationary`, and for n < 0.
    """
    _check_pair(start, target)
    check_nonnegative(steps=steps)
    decay = spectral(target.covariance, lambda s: (1 - step / s) ** steps)
    stationary = ula_stationary(target, step).covariance
    return _moved(start, target, decay, stationary - decay @ stationary @ decay)


def heun_law(start: GaussianLaw, target: GaussianLaw, step: float, steps: int) -> GaussianLaw:
    """The distribution after n steps of the stochastic Heun scheme, `wgflow.samplers.heun`.

    With ``z = ελ`` for an eigenvalue λ of A, a step is ``x ← (1-z+z²/2) x + (1-z/2) √(2ε) ξ``
    about b, whose stationary variance is ``(2-z)/(2-z+z²/2) / λ``: biased at order two.

    Args:
        start, target, step, steps: as of `ula_law`.

    Raises:
        ValueError: as `ula_law`.
    """
    _check_pair(start, target)
    check_nonnegative(steps=steps)
    smallest = _check_definite(target)
    if not 0 < step < 2 * smallest:
        raise ValueError(f"`step` must be between 0 and {2 * smallest}: got {step}.")
    decay = spectral(target.covariance, lambda s: (1 - step / s + (step / s) ** 2 / 2) ** steps)
    stationary = spectral(target.covariance, _heun_variance(step))
    return _moved(start, target, decay, stationary - decay @ stationary @ decay)


def ula_stationary(target: GaussianLaw, step: float) -> GaussianLaw:
    """The distribution ULA converges to: variance ``2/(λ(2 - ελ))`` per eigenvalue λ of A.

    Raises:
        ValueError: if the target is singular, or ε is outside ``0 < ε < 2/λ_max``, where the
            chain does not converge.
    """
    smallest = _check_definite(target)
    if not 0 < step < 2 * smallest:
        raise ValueError(f"`step` must be between 0 and {2 * smallest}: got {step}.")
    covariance = spectral(target.covariance, lambda s: 2 * s / (2 - step / s))
    return GaussianLaw(target.mean, _symmetric(covariance))


def jko_scale(scale: Tensor, precision: Tensor | float, step: float) -> Tensor:
    """The standard deviation s' after one JKO step from N(0, s²) towards N(0, 1/λ), in 1-D.

    ``s' = argmin KL(N(0,s'²)‖N(0,1/λ)) + (s'-s)²/(2h)``, so it is the positive root of the
    stationarity equation ``λs' - 1/s' + (s'-s)/h = 0``:
    ``s' = [s + √(s² + 4h(1+hλ))] / (2(1+hλ))``. Implicit Euler: every h > 0 is stable.

    Args:
        scale: ``s >= 0``, any shape.
        precision: ``λ > 0``, broadcasting against s.
        step: ``h > 0``.

    Raises:
        ValueError: outside these ranges.
    """
    precision = torch.as_tensor(precision, dtype=scale.dtype, device=scale.device)
    check_positive(step=step)
    if not ((precision > 0).all() and (scale >= 0).all()):
        raise ValueError(
            f"`precision` must be > 0 and `scale` ≥ 0: got {precision.tolist()} and "
            f"{scale.tolist()}."
        )
    stiff = 1 + step * precision
    return (scale + torch.sqrt(scale**2 + 4 * step * stiff)) / (2 * stiff)


def bures(p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """The Wasserstein distance ``W₂`` (Bures) between Gaussians, a scalar in the units of x.

    ``W₂² = |m_p-m_q|² + tr(S_p + S_q - 2(S_p^½ S_q S_p^½)^½)``, computed as the Procrustes
    problem ``min_U ‖S_p^½ - S_q^½ U‖²`` over rotations: never negative, and no digits are lost
    when they are close. Singular covariances are allowed.

    Raises:
        ValueError: for different dimensions.
    """
    _check_pair(p, q)
    root_p, root_q = psd_sqrt(p.covariance), psd_sqrt(q.covariance)
    left, _, right = torch.linalg.svd(root_p @ root_q)
    rotation = right.mT @ left.mT
    return torch.hypot(
        torch.linalg.vector_norm(p.mean - q.mean),
        torch.linalg.matrix_norm(root_p - root_q @ rotation),
    )


def optimal_matrix(p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """``T = S_p^-½ (S_p^½ S_q S_p^½)^½ S_p^-½``: symmetric, with ``T S_p T = S_q``; (d, d).

    Raises:
        ValueError: for different dimensions, or a singular ``S_p``.
    """
    _check_pair(p, q)
    _check_definite(p)
    root = psd_sqrt(p.covariance)
    inverse = spectral(p.covariance, torch.rsqrt)
    middle = psd_sqrt(_symmetric(root @ q.covariance @ root))
    return _symmetric(inverse @ middle @ inverse)


def optimal_map(x: Tensor, p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """The optimal transport of p to q at points x of shape (batch, d): ``m_q + T(x - m_p)``.

    Raises:
        ValueError: as `optimal_matrix`.
    """
    return q.mean + (x - p.mean) @ optimal_matrix(p, q)


def gaussian_kl(p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """``KL(p‖q) = ½[tr(S_q⁻¹S_p) + Δᵀ S_q⁻¹ Δ - d + log det S_q - log det S_p]``, in nats.

    ``Δ = m_p - m_q``.

    Raises:
        ValueError: for different dimensions, or a singular one.
    """
    precision = _precision(p, q)
    gap = p.mean - q.mean
    spread = torch.trace(precision @ p.covariance) - len(gap)
    volumes = torch.logdet(q.covariance) - torch.logdet(p.covariance)
    return (spread + gap @ precision @ gap + volumes) / 2


def gaussian_fisher(p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """Relative Fisher information ``E_p|∇log p - ∇log q|²``, the dissipation of ``KL(p‖q)``.

    ``= tr(B S_p B) + |S_q⁻¹Δ|²`` with ``B = S_q⁻¹ - S_p⁻¹`` and ``Δ = m_p - m_q``; a scalar in
    nats per unit of time.

    Raises:
        ValueError: for different dimensions, or a singular one.
    """
    precision = _precision(p, q)
    gap = precision - torch.linalg.inv(p.covariance)
    drift = precision @ (p.mean - q.mean)
    return torch.trace(gap @ p.covariance @ gap) + drift @ drift


def _heun_variance(step: float) -> Callable[[Tensor], Tensor]:
    return lambda s: s * (2 - step / s) / (2 - step / s + (step / s) ** 2 / 2)


def _moved(start: GaussianLaw, target: GaussianLaw, decay: Tensor, grown: Tensor) -> GaussianLaw:
    mean = target.mean + decay @ (start.mean - target.mean)
    return GaussianLaw(mean, _symmetric(grown + decay @ start.covariance @ decay))


def _precision(p: GaussianLaw, q: GaussianLaw) -> Tensor:
    """``S_q⁻¹`` of two that can be compared."""
    _check_pair(p, q)
    _check_definite(p)
    _check_definite(q)
    return torch.linalg.inv(q.covariance)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _check_pair(p: GaussianLaw, q: GaussianLaw) -> None:
    if p.mean.shape != q.mean.shape:
        raise ValueError(f"Dimensions must be equal: got {len(p.mean)} and {len(q.mean)}.")


def _check_definite(law: GaussianLaw) -> float:
    values = torch.linalg.eigvalsh(law.covariance)
    if not values[0] > len(values) * torch.finfo(values.dtype).eps * values[-1]:
        raise ValueError(f"A covariance must be nonsingular: got {float(values[0])}.")
    return float(values[0])
