"""A mixture of Gaussians q fitted to points of π whose log-density is known as well.

Points alone leave an error: after maximum likelihood the mean square of ``r = log q - log π`` is
the number of parameters over that of points. Here

    KL(π‖q) = ∫ (q - π - π r) dx

is estimated, since q and π both have the integral 1, with half of the points of π and half of a
density b near it, each over the mixture ``μ = (π + b)/2`` of both. The integrand is nowhere
negative, and zero where q is π: a control variate, after which no noise of points is left in the
minimum. Points of b find the mass that q has where π has none.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians

OUTSIDE = -1e6
"""``log π`` at least, so that infinite energies are numbers."""

ROUNDS, MEMORY = 100, 20
"""Iterations of L-BFGS at most, and those that it remembers."""

LARGEST = 2**25
"""Numbers in the whitened points of all components, beyond which it would take minutes."""

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]
"""Log-weights (K,), means (K, d), and of each lower factor of the precision the logarithm of the
diagonal, (K, d), and what is below it, (K, d, d)."""


class Weighed(NamedTuple):
    """Points of ``μ = (π + b)/2``.

    Attributes:
        x: (n, d).
        log_p: ``log π``, normalised, (n,).
        log_base: ``log b``.
    """

    x: Points
    log_p: Values
    log_base: Values


def informed(families: Sequence[Gaussians], points: Weighed) -> Gaussians | None:
    """The Gaussians after minimising `divergence`; None if there is too much to do.

    Args:
        families: where to begin. Those of kernels, which share a covariance, are left out, and
            those with less than a point for each component.
        points: of which half are those of π.
    """
    count, d = points.x.shape
    rows = [float(f.weights.sum()) * count / 2 for f in families]
    pairs = zip(families, rows, strict=True)
    own = [f for f, n in pairs if len(f.covariances) == len(f.weights) <= n]
    if not own or count * d * sum(len(f.weights) for f in own) > LARGEST:
        return None
    parameters = _parameters(own)
    settings = {"max_iter": ROUNDS, "history_size": MEMORY, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([p.requires_grad_() for p in parameters], **settings)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = divergence(log_density(parameters, points.x), points)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return _gaussians([p.detach() for p in parameters])


def divergence(log_q: Values, points: Weighed) -> Tensor:
    """The mean of ``(q - π - π r)/μ``: KL(π‖q) in expectation, and nowhere negative."""
    log_p = points.log_p.clamp(min=OUTSIDE)
    log_mean = torch.logaddexp(log_p, points.log_base) - math.log(2)
    share = (log_p - log_mean).exp()
    return ((log_q - log_mean).exp() - share * (1 + log_q - log_p)).mean()


def log_density(parameters: Parameters, x: Points) -> Values:
    """``log q(x)`` of Gaussians by their factors, (n,)."""
    log_weights, means, diagonal, below = parameters
    factor = torch.tril(below, -1) + torch.diag_embed(diagonal.exp())
    at_means = torch.einsum("kd,kde->ke", means, factor)
    squares = (torch.einsum("nd,kde->nke", x, factor) - at_means).square().sum(2)
    heights = log_weights.log_softmax(0) + diagonal.sum(1) - x.shape[1] / 2 * math.log(2 * math.pi)
    return (heights - squares / 2).logsumexp(1)


def _parameters(families: Sequence[Gaussians]) -> Parameters:
    weights, means, covariances = (
        torch.cat(parts).double() for parts in zip(*families, strict=True)
    )
    factor = torch.linalg.cholesky(torch.linalg.inv(covariances))
    diagonal = factor.diagonal(dim1=1, dim2=2).log()
    return weights.log(), means.clone(), diagonal, torch.tril(factor, -1)


def _gaussians(parameters: Sequence[Tensor]) -> Gaussians:
    log_weights, means, diagonal, below = parameters
    factor = torch.tril(below, -1) + torch.diag_embed(diagonal.exp())
    return Gaussians(log_weights.softmax(0), means, torch.cholesky_inverse(factor))
