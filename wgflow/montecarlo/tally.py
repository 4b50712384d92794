"""Sums over the sweeps of parallel tempering, and ``log Z`` from them.

Between neighbours, ``W = -Δβ U`` of points of the lower and W' of points of the upper one are
works of a change of β both ways. For any shift c (Bennett 1976; Meng and Wong 1996)

    Z_{k+1}/Z_k = e^c E_k[σ(W - c)] / E_{k+1}[σ(c - W')],

with the least variance at ``c = log Z_{k+1}/Z_k``; and the means of ``e^W`` and ``e^{-W'}``, the
stepping stones, are exact too, so that logarithms of them bound ``log Z`` in the mean. Sums are
kept for each chain: chains are independent, whatever the autocorrelation along them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from wgflow.likelihood.annealing import OVERLAP, LogZ, refuted
from wgflow.montecarlo.replicas import Walkers, exchange_ratios


class Tally(NamedTuple):
    """Sums over sweeps, float64, of K replicas of C chains.

    Attributes:
        sweeps: how many.
        acceptance: of moves, (K-1,), means over chains.
        rejection: of exchanges of neighbours, (K-1,), means over chains.
        curvature: see `wgflow.montecarlo.ladder.curvature`; only of the warm-up.
        forward, backward: logarithms of the sums of ``e^W`` and ``e^{-W'}``, (K-1, C).
        up, down: those of ``σ(W - c)`` and ``σ(c - W')``, (K-1, C).
    """

    sweeps: int
    acceptance: Tensor
    rejection: Tensor
    curvature: Tensor
    forward: Tensor
    backward: Tensor
    up: Tensor
    down: Tensor

    def added(self, walkers: Walkers, betas: Tensor, shifts: Tensor, moved: Tensor) -> "Tally":
        """One sweep more: where chains stand, and the acceptance of their moves, (K-1, C)."""
        work = -betas.diff()[:, None] * walkers.slopes()[:-1]
        back = -betas.diff()[:, None] * walkers.slopes()[1:]
        rejected = 1 - exchange_ratios(walkers, betas).clamp(max=0).exp()
        c = shifts[:, None]
        return self._replace(
            sweeps=self.sweeps + 1,
            acceptance=self.acceptance + moved.double().mean(1),
            rejection=self.rejection + rejected.mean(1),
            forward=torch.logaddexp(self.forward, work),
            backward=torch.logaddexp(self.backward, -back),
            up=torch.logaddexp(self.up, logsigmoid(work - c)),
            down=torch.logaddexp(self.down, logsigmoid(c - back)),
        )

    def stones(self) -> tuple[Tensor, Tensor]:
        """Logarithms of ``Z_{k+1}/Z_k`` from below and from above, in the mean, (K-1,)."""
        count = math.log(self.sweeps * self.forward.shape[1])
        return self.forward.logsumexp(1) - count, count - self.backward.logsumexp(1)

    def log_z(self, shifts: Tensor, base: float) -> LogZ:
        """The estimate with its error from chains, and the sandwich of stepping stones.

        Where V is infinite, or as good as, in a part of the start, points above never see it, and
        the upper bound stays that much too high. As of `wgflow.likelihood.annealing`, half of the
        sandwich is the least error where works of two neighbours do not overlap, and the value
        is NaN where bounds contradict each other or the value.
        """
        chains = self.up.shape[1]
        up, down = (side.logsumexp(1) - math.log(chains) for side in (self.up, self.down))
        value = float((shifts + up - down).sum())
        shares = (self.up - up[:, None]).exp() - (self.down - down[:, None]).exp()
        error = float(shares.sum(0).std()) / math.sqrt(chains)
        lower, upper = (float(side.sum()) for side in self.stones())
        if float(self.up.logsumexp(1).min()) < math.log(OVERLAP):
            error = max(error, (upper - lower) / 2)
        if not math.isfinite(value) or refuted(value, error, lower, upper):
            value, error = math.nan, math.inf
        return LogZ(base + value, error, base + lower, base + upper)


def empty(walkers: Walkers, curvature: Tensor) -> Tally:
    """Of no sweeps; a curvature gives shape and device."""
    pairs = walkers.base.double()[1:]
    zero, none = torch.zeros_like(pairs[:, 0]), torch.full_like(pairs, -torch.inf)
    return Tally(0, zero, zero, torch.zeros_like(curvature), none, none, none, none)
