"""A mixture of Gaussians q fitted to points of π whose log-density is known as well.

Points alone leave an error: after maximum likelihood the mean square of ``r = log q - log π`` is
the number of parameters over that of points. Here the mean of ``e^r - 1 - r`` over the points is
minimised. ``E_π[e^r]`` is 1, the integral of q, so that its expectation is ``E_π[-r] = KL(π‖q)``
too; but with ``e^r - 1`` as a control variate no term of it is negative, and all are zero where q
is π. What such a q can be, it becomes, whatever the noise of the points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians

STRAIGHT = 3.0
"""r beyond which the loss is a straight line: points there would outweigh all others."""

ROUNDS, MEMORY = 100, 20
"""Iterations of L-BFGS at most, and those that it remembers."""

LARGEST = 2**24
"""Numbers in the whitened points of all components, beyond which it would take minutes."""

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]
"""Log-weights (K,), means (K, d), and of each lower factor of the precision the logarithm of the
diagonal, (K, d), and what is below it, (K, d, d)."""


def informed(families: Sequence[Gaussians], x: Points, log_p: Values) -> Gaussians | None:
    """The Gaussians after minimising the mean of ``e^r - 1 - r``; None if there is too much to do.

    Args:
        families: where to begin. Those of kernels, which share a covariance, are left out, and
            those with less than a point for each component.
        x: points of π, (n, d).
        log_p: ``log π`` there, normalised, (n,).
    """
    own = [f for f in families if len(f.covariances) == len(f.weights) < len(x) * f.weights.sum()]
    if not own or len(x) * sum(map(_count, own)) * x.shape[1] > LARGEST:
        return None
    parameters = _parameters(own)
    settings = {"max_iter": ROUNDS, "history_size": MEMORY, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([p.requires_grad_() for p in parameters], **settings)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = divergence(log_density(parameters, x) - log_p)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return _gaussians([p.detach() for p in parameters])


def divergence(log_ratio: Values) -> Tensor:
    """The mean of ``e^r - 1 - r``, with a straight line beyond `STRAIGHT`."""
    low = log_ratio.clamp(max=STRAIGHT)
    return (low.exp() - 1 - low + (log_ratio - low) * math.expm1(STRAIGHT)).mean()


def log_density(parameters: Parameters, x: Points) -> Values:
    """``log q(x)`` of Gaussians by their factors, (n,)."""
    log_weights, means, diagonal, below = parameters
    factor = torch.tril(below, -1) + torch.diag_embed(diagonal.exp())
    at_means = torch.einsum("kd,kde->ke", means, factor)
    squares = (torch.einsum("nd,kde->nke", x, factor) - at_means).square().sum(2)
    heights = log_weights.log_softmax(0) + diagonal.sum(1) - x.shape[1] / 2 * math.log(2 * math.pi)
    return (heights - squares / 2).logsumexp(1)


def _count(family: Gaussians) -> int:
    return len(family.weights)


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
