"""Ladders of parallel tempering, found in warm-up: values of β, step sizes, preconditioners."""

import math

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from wgflow.montecarlo.replicas import Ladder, Walkers

PRECONDITIONERS = ("none", "diagonal", "full")

FEWEST, MOST = 4, 200
"""Replicas, where their number is found in warm-up."""

FLOOR = 1e-4
"""Rejection counted of each pair at least, so that the barrier rises everywhere."""

OUTLIER = 4.0
"""Gradients longer than so many medians count as if they were of this length."""

RIDGE = 1e-6
"""Added to curvatures, in units of their mean."""


def first_ladder(walkers: Walkers, precondition: str) -> Ladder:
    """Values of β in equal ratios up to 1, from where the start feels V; the scale of the start.

    At the second value of β the quartiles of ``βU`` over draws of the start are a nat apart.

    Raises:
        ValueError: where V is infinite at all draws.
    """
    slopes = walkers.slopes().flatten()
    finite = slopes[slopes.isfinite()]
    if not len(finite):
        raise ValueError("`start` must cover the support of V: got V = inf at all its draws.")
    low, high = np.quantile(finite.cpu().numpy(), [0.25, 0.75])
    replicas, _, d = walkers.x.shape
    first = min(1 / (replicas - 1), 1 / max(high - low, 1e-12))
    rest = torch.logspace(math.log10(first), 0, replicas - 1, dtype=torch.float64)
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), rest]).to(slopes.device)
    start = curvature(walkers, torch.zeros_like(betas), precondition)
    factor, size = preconditioner(start, walkers.x.shape[1], precondition)
    return Ladder(betas, d**-0.25 * size, factor)


def replicas_for(rejection: Tensor) -> int:
    """Twice the communication barrier, plus one: pairs then reject every second exchange.

    That is where round trips are most for the work (Syed et al. 2021, section 5.3).
    """
    return min(MOST, max(FEWEST, math.ceil(2 * float(rejection.sum())) + 1))


def equal_rejection(betas: Tensor, rejection: Tensor, replicas: int) -> tuple[Tensor, Tensor]:
    """Values of β between which exchanges are rejected equally often, and where to take them.

    The sum of rejections Λ(β) is the communication barrier up to β; new values are its equal
    parts, by a monotone cubic between the old ones (Syed et al. 2021, algorithm 4).

    Args:
        betas: old values, (K,).
        rejection: probabilities between neighbours, (K-1,).
        replicas: how many new ones.

    Returns:
        betas: new values, (replicas,).
        index: the old replica nearest in Λ to each, (replicas,).
    """
    rates = rejection.double().cpu().numpy() + FLOOR
    barrier = np.concatenate([[0.0], rates.cumsum()])
    parts = np.linspace(0, barrier[-1], replicas)
    new = PchipInterpolator(barrier, betas.cpu().numpy())(parts)
    new[0], new[-1] = 0.0, 1.0
    index = np.abs(parts[:, None] - barrier).argmin(1)
    return torch.as_tensor(new).to(betas), torch.as_tensor(index).to(betas.device)


def curvature(walkers: Walkers, betas: Tensor, precondition: str) -> Tensor:
    """Mean ``g gᵀ`` of ``g = ∇E_β`` over chains, (K, d, d), or its diagonal, (K, 1, d), float64.

    Under π_β it is the mean of ``∇²E_β``: the inverse of the covariance if that law is Gaussian,
    and that within a mode where there are several. Lengths are cut at `OUTLIER` medians.
    """
    grad = walkers.tempered(betas)[1].double()
    length = torch.linalg.vector_norm(grad, dim=2, keepdim=True)
    limit = OUTLIER * length.median(1, keepdim=True).values
    grad = grad * (limit / length.clamp_min(1e-300)).clamp(max=1)
    if precondition == "full":
        return grad.mT @ grad / grad.shape[1]
    return grad.square().mean(1, keepdim=True)


def preconditioner(mean: Tensor, draws: int, precondition: str) -> tuple[Tensor, Tensor]:
    """``A Aᵀ = S⁻¹/s²`` of curvatures S, as in `Ladder`, of unit determinant; and sizes s, (K,).

    A full S is shrunk to its diagonal by ``d/(d + draws)``. Without preconditioning A is one.
    """
    d = mean.shape[2]
    if precondition != "full":
        ridge = RIDGE * mean.mean(2, keepdim=True).clamp_min(1e-300)
        factor = (mean + ridge).rsqrt()
        size = factor.log().mean(2, keepdim=True).exp()
        factor = torch.ones_like(factor) if precondition == "none" else factor / size
        return factor, size[:, 0, 0]
    diagonal = torch.diag_embed(mean.diagonal(dim1=1, dim2=2))
    share = d / (d + draws)
    ridge = RIDGE * diagonal.sum((1, 2), keepdim=True).clamp_min(1e-300) / d
    mean = (1 - share) * mean + share * diagonal + ridge * torch.eye(d).to(mean)
    factor = torch.linalg.inv(torch.linalg.cholesky(mean)).mT
    size = factor.diagonal(dim1=1, dim2=2).log().mean(1).exp()
    return factor / size[:, None, None], size
