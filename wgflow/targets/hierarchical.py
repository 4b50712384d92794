"""The posterior of a hierarchical model, with exact draws: where sampling is hard, truth is known.

Reference: Rubin, Estimation in parallel randomized experiments, 1981; the priors are those of
Gelman, Bayesian Analysis 1 (2006) and of the usual implementations since.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import LOG_2PI, Dtype, Target

EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
"""Effects of coaching in eight schools, and their standard errors (Rubin 1981, table 1)."""

LOG_SCALES = np.linspace(-25.0, 15.0, 20_001)
"""Nodes of log τ for its marginal, which is smooth, on steps of .002."""


class HierarchicalNormal(Target):
    """``y_j ~ N(θ_j, σ_j²)``, ``θ_j ~ N(μ, τ²)``, ``μ ~ N(0, m²)``, τ half-Cauchy of scale s.

    Of ``x = (μ, log τ, θ_1, ..., θ_J)``, the *centred* coordinates: for small τ all θ are near μ,
    a funnel. ``E = -log p(x, y)`` with all constants, so that ``Z = p(y)``. Given τ all is normal,
    so that ``p(y | τ)`` is known, the marginal of log τ on nodes, and draws are exact up to its
    interpolation.

    Args:
        effects: ``y_j``.
        errors: ``σ_j > 0``, as many.
        mean_scale: m.
        scale: s.

    Raises:
        ValueError: a scale is not positive, or effects and errors are not as many.
    """

    effects: Tensor
    errors: Tensor

    def __init__(
        self,
        effects: Sequence[float] = EFFECTS,
        errors: Sequence[float] = ERRORS,
        mean_scale: float = 5.0,
        scale: float = 5.0,
    ) -> None:
        super().__init__(2 + len(effects))
        check_positive(mean_scale=mean_scale, scale=scale, errors=min(errors, default=0.0))
        if len(effects) != len(errors):
            raise ValueError(f"`errors` must be {len(effects)}: got {len(errors)}.")
        self.mean_scale, self.scale = mean_scale, scale
        self.register_buffer("effects", torch.tensor(effects, dtype=torch.float64))
        self.register_buffer("errors", torch.tensor(errors, dtype=torch.float64))
        joint = self._log_joint(torch.from_numpy(LOG_SCALES)).numpy()
        mass = np.exp(joint - joint.max())
        steps = (mass[1:] + mass[:-1]) / 2 * np.diff(LOG_SCALES)
        self.log_z = float(joint.max() + np.log(steps.sum()))
        self._cumulative = np.concatenate([[0.0], steps.cumsum() / steps.sum()])

    def energy(self, x: Points) -> Values:
        """``-log p(y, θ, μ, log τ)``."""
        mu, log_tau, theta = x[:, 0], x[:, 1], x[:, 2:]
        y, errors = self.effects.to(x), self.errors.to(x)
        seen = ((y - theta) / errors).square() / 2 + errors.log() + LOG_2PI / 2
        # Of θ - μ over τ, where τ itself may underflow.
        spread = ((theta - mu[:, None]) * (-log_tau).exp()[:, None]).square() / 2
        spread = spread + log_tau[:, None] + LOG_2PI / 2
        return (seen + spread).sum(1) - self._log_prior(log_tau) + self._mean_energy(mu)

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """log τ by its distribution function, then μ and all θ, which are normal."""
        device = self.origin.device
        u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        found = np.interp(u.cpu().numpy(), self._cumulative, LOG_SCALES)
        log_tau = torch.from_numpy(found).to(device)
        noise = self._noise(n, torch.float64, generator)
        precision, mean = self._given(log_tau)
        mu = mean + noise[:, 0] * precision.rsqrt()
        tau_square = (2 * log_tau).exp()[:, None]
        kept = tau_square / (tau_square + self.errors.square())
        theta = mu[:, None] + kept * (self.effects - mu[:, None])
        theta = theta + self.errors * kept.sqrt() * noise[:, 2:]
        x = torch.cat([mu[:, None], log_tau[:, None], theta], 1)
        return x.to(dtype or torch.get_default_dtype())

    def _given(self, log_tau: Tensor) -> tuple[Tensor, Tensor]:
        """Precision and mean of μ given τ and y."""
        weight = 1 / ((2 * log_tau).exp()[:, None] + self.errors.square())
        precision = self.mean_scale**-2 + weight.sum(1)
        return precision, weight @ self.effects / precision

    def _log_joint(self, log_tau: Tensor) -> Tensor:
        """``log p(y, log τ)``."""
        variance = (2 * log_tau).exp()[:, None] + self.errors.square()
        precision, mean = self._given(log_tau)
        square = (self.effects.square() / variance).sum(1) - precision * mean.square()
        volume = (variance.log() + LOG_2PI).sum(1) + (self.mean_scale**2 * precision).log()
        return self._log_prior(log_tau) - (square + volume) / 2

    def _log_prior(self, log_tau: Tensor) -> Tensor:
        """Of log τ: ``log [2τ / πs(1 + τ²/s²)]``, with τ² that may overflow."""
        away = log_tau - math.log(self.scale)
        return math.log(2 / math.pi) + away - torch.nn.functional.softplus(2 * away)

    def _mean_energy(self, mu: Tensor) -> Tensor:
        """``-log N(μ; 0, m²)``."""
        return (mu / self.mean_scale).square() / 2 + math.log(self.mean_scale) + LOG_2PI / 2
