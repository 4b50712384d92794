"""``log Z`` of an energy in any dimension: annealing both ways, joined by Bennett's ratio.

Along ``E_β = (1-β) E_0 + β E``, from a Gaussian reference (β = 0, known Z_0) to the model (β = 1),
forward works ``W`` of chains started at the reference and reverse works ``W'`` of chains started
at a population of the model obey

    E[e^W] = Z/Z_0,        E[e^{-W'}] = Z_0/Z            (annealed importance sampling, Neal 2001)

so that ``log mean e^W`` is a lower and ``-log mean e^{-W'}`` an upper bound of ``log Z/Z_0`` in
the mean. Forward alone over-states a likelihood; the sandwich cannot hide it (Grosse et al. 2015).
Bennett's acceptance ratio (1976) is the estimate of least variance from both.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from scipy.optimize import root_scalar
from torch import Tensor

from wgflow._check import check_positive
from wgflow._progress import watched
from wgflow._random import Rng
from wgflow.data.targets import Gaussian, Target
from wgflow.energies.base import Energy, Sum, energy_and_grad
from wgflow.samplers import MALA, Sampler, refresh

STEP = 1 / 8
"""Of MALA, in units of the smallest variance: ``1.65²/(2 d^(1/3))`` at d = 1000.

Roberts and Rosenthal (1998).
"""

OVERLAP = 3.0
"""Works of either side that must lie among those of the other for an asymptotic error."""

CHANCE = 7.0
"""Nats by which a bound may be on its wrong side by chance.

By Markov's inequality either is by a nats with probability ``exp(-a)`` at most, so one of them by
7 with ``2 exp(-7)``, .2 %, if the points of the model are samples of it.
"""


class LogZ(NamedTuple):
    """An estimate of ``log Z`` in nats: value, standard error, and the sandwich around it.

    The lower bound is exact whatever the points of the model are. Where it exceeds the upper one
    by more than twice `CHANCE`, or a bound lies beyond the value and its error by more than once,
    they are not samples of the model: the value is NaN, the error infinite.
    """

    value: float
    error: float
    lower: float
    upper: float


def log_z(
    energy: Energy,
    model: Tensor,
    reference: Target,
    *,
    temperatures: int = 200,
    sampler: Sampler | None = None,
    stiffness: float | None = None,
    generator: Rng = None,
) -> LogZ:
    """``log Z`` of ``energy`` from equally weighted samples of its distribution and a reference.

    A model much narrower than the reference is cooled: with its stiffness κ the path has equal
    steps of ``log(1 + βκ)``, the logarithm of the stiffness at β, and exact MALA steps of
    ``1/(8 (1 + βκ))``, about the best in a thousand dimensions.

    Args:
        energy: E.
        model: points of ``exp(-E)/Z``, (batch, *event); as many chains start from the reference.
        reference: a Gaussian about as wide as the model, or wider if its stiffness is given.
        temperatures: number of intermediate distributions, plus one; 1 is importance sampling.
        sampler: the transport at each of them; MALA by default.
        stiffness: κ, the curvature of ``E - E_0`` where it is largest, in that of ``E_0``; None
            for a model as wide as the reference.
        generator: source of randomness.

    Raises:
        ValueError: for fewer than two points or no temperature, a stiffness that is not positive
            or comes with a sampler, or when a work is not finite.
    """
    check_positive(temperatures=temperatures)
    if len(model) < 2:
        raise ValueError(f"`model` must have 2 points or more: got {len(model)}.")
    if stiffness is not None:
        check_positive(stiffness=stiffness)
        if sampler is not None:
            raise ValueError(f"`sampler` must be None with a stiffness: got {sampler}.")
    flat = reference.sample(len(model), dtype=model.dtype, generator=generator)
    start = flat.to(model.device).reshape(model.shape)

    def flat_reference(x: Tensor) -> Tensor:
        return reference(x.flatten(1))

    if stiffness is None:
        betas, steps, sampler = schedule(temperatures), None, sampler or MALA()
    else:
        betas, sampler = geometric(temperatures, stiffness), MALA(adaptation=0.0)
        steps = [STEP / (1 + beta * stiffness) for beta in betas]
    anneal = partial(work, flat_reference, energy, sampler=sampler, generator=generator)
    forward = anneal(start, betas, step_sizes=steps)
    backward = -anneal(model, betas[::-1], step_sizes=steps and steps[::-1])
    return joined(forward, backward, reference.log_z)


def joined(forward: Tensor, backward: Tensor, base: float = 0.0) -> LogZ:
    """The estimate from works down and up, both counted downwards, and its sandwich.

    Args:
        forward, backward: works, (chains,), float64.
        base: ``log Z`` of the reference.

    Raises:
        ValueError: when a work is not finite.
    """
    if not (forward.isfinite().all() and backward.isfinite().all()):
        raise ValueError("Works of annealing must be finite: got others.")
    value, error = bennett(forward, backward)
    lower, upper = sandwich(forward, backward)
    if refuted(value, error, lower, upper):
        value, error = math.nan, math.inf
    return LogZ(base + value, error, base + lower, base + upper)


def refuted(value: float, error: float, lower: float, upper: float) -> bool:
    """Whether the bounds contradict each other, or the value, by more than chance allows."""
    beyond = max(lower - value, value - upper) - error
    return lower - upper > 2 * CHANCE or beyond > CHANCE


def moment_match(x: Tensor, weights: Tensor) -> Gaussian:
    """The Gaussian with the mean and covariance of weighted points, on flattened events.

    A thousandth of the mean variance is added to the diagonal, so that it is never singular.
    """
    flat = x.flatten(1).double()
    w = weights.double()
    mean = w @ flat
    centred = flat - mean
    covariance = (w[:, None] * centred).T @ centred
    ridge = 1e-3 * covariance.diagonal().mean()
    return Gaussian(mean, covariance + ridge * torch.eye(len(mean)).to(covariance))


def schedule(temperatures: int) -> list[float]:
    """β from 0 to 1, dense at both ends: a logistic curve on [-4, 4], rescaled."""
    t = torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64).sigmoid()
    return ((t - t[0]) / (t[-1] - t[0])).tolist()


def geometric(temperatures: int, stiffness: float) -> list[float]:
    """β from 0 to 1, ``1 + βκ`` in equal ratios."""
    t = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64)
    rise = torch.expm1(t * math.log1p(stiffness))
    return (rise / rise[-1]).tolist()


def work(
    start: Energy,
    end: Energy,
    x: Tensor,
    betas: list[float],
    sampler: Sampler,
    *,
    step_sizes: list[float] | None = None,
    generator: Rng = None,
) -> Tensor:
    """Log-weights W of `annealed` chains, float64 (batch,)."""
    options = {"step_sizes": step_sizes, "generator": generator}
    return annealed(start, end, x, betas, sampler, **options)[1]


def annealed(
    start: Energy,
    end: Energy,
    x: Tensor,
    betas: list[float],
    sampler: Sampler,
    *,
    step_sizes: list[float] | None = None,
    generator: Rng = None,
) -> tuple[Tensor, Tensor]:
    """Chains moved from ``exp(-E_0)`` to ``exp(-E)``, (batch, *event), and their log-weights.

    ``W = Σ_j (β_{j+1} - β_j)(E_0 - E)(x_j)``, float64 (batch,). Each change of β is weighed where
    the chains stand, then they move once at the new β, by a step of the size of that β if there is
    one. Averages with weights ``e^W`` are consistent for the end.
    """
    state = sampler.init(Sum([start, end], [1 - betas[0], betas[0]]), x, generator=generator)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for k, beta in enumerate(watched(betas[1:], "Annealing for log Z"), 1):
        energy = Sum([start, end], [1 - beta, beta])
        fresh = changed(start, energy, state, betas[k - 1], beta)
        if step_sizes is not None:
            fresh = fresh._replace(step_size=fresh.step_size.new_tensor(step_sizes[k]))
        total += (state.energy - fresh.energy).double()
        state, info = sampler.step(energy, fresh, generator=generator)
        total += info.log_weight.double()
    return state.x, total


def changed(start: Energy, energy: Energy, state: Any, old: float, new: float) -> Any:
    """Chains of ``E_old`` under ``E_new``, without another evaluation of E.

    Both lie on one line through ``E_0``: ``E_new = E_old + (new - old)/old · (E_old - E_0)``.
    From the reference itself nothing is known of E, and it is evaluated.
    """
    if old == 0:
        return refresh(energy, state)
    value, grad = energy_and_grad(start, state.x)
    share = (new - old) / old
    return state._replace(
        energy=state.energy + share * (state.energy - value),
        grad=state.grad + share * (state.grad - grad),
    )


def bennett(forward: Tensor, backward: Tensor) -> tuple[float, float]:
    """Bennett's ratio: the root c of ``Σ σ(c - W_i) = Σ σ(W'_j - c)``, and its standard error.

    W are works of chains started at the reference, W' of chains started at the model, both
    counted in the forward direction. The variance is the asymptotic one of the estimating
    equation (delta method). Where fewer than `OVERLAP` works of a side, the sums above, lie among
    those of the other, it says nothing, and the error is half of the `sandwich` at least.

    Raises:
        ValueError: for fewer than two works on a side.
    """
    if min(len(forward), len(backward)) < 2:
        raise ValueError("`forward` and `backward` must have 2 works each or more: got fewer.")
    # With n works a side; for n ≠ m the root is shifted by log(m/n).
    shift = math.log(len(backward) / len(forward))

    def sides(c: float) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(forward - c + shift), torch.sigmoid(c - shift - backward)

    def excess(c: float) -> float:
        up, down = sides(c)
        return float(up.sum() - down.sum())

    both = torch.cat([forward, backward])
    low, high = float(both.min()) - 50, float(both.max()) + 50
    c = root_scalar(excess, bracket=(low, high), xtol=1e-10).root
    up, down = sides(c)
    shared, rest = float(up.sum()), (1 - up, 1 - down)
    up, down = (side / torch.maximum(up.max(), down.max()) for side in (up, down))  # no underflow
    slope = float((up * rest[0]).sum() + (down * rest[1]).sum())
    noise = float(up.var() * len(up) + down.var() * len(down))
    error = math.sqrt(noise) / slope if slope > 0 else math.inf
    if shared < OVERLAP:
        lower, upper = sandwich(forward, backward)
        error = max(error, (upper - lower) / 2)
    return c, error


def sandwich(forward: Tensor, backward: Tensor) -> tuple[float, float]:
    """``log mean e^W`` and ``-log mean e^{-W'}``: below and above ``log Z``, in the mean."""
    lower = float(forward.logsumexp(0)) - math.log(len(forward))
    upper = math.log(len(backward)) - float((-backward).logsumexp(0))
    return lower, upper
