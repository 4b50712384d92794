"""Fresh samples of an energy that is a tilt of a distribution with exact draws."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_positive
from wgflow._progress import watched
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.targets import Dtype, Target
from wgflow.energies.base import Tilted
from wgflow.likelihood import from_reference
from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Counted, Problem, run

COPIES = 0.02
"""Share of copies among samples from which draws of the reference are too few."""

SAMPLES = 1024
"""Samples whose draws find out how many they need."""

FEWEST = 4096 * from_reference.ROUNDS
"""Draws at least, for log Z."""

MOST = 32 * from_reference.ROUNDS
"""Draws for a sample up to which they cost less than a population that anneals."""

ERROR = 0.05
"""Of log Z from those draws, beyond which it is annealed for."""

LEAST = 512
"""Particles of a population, whose moves are tuned on them."""

KEPT = 0.9
"""Effective fraction that each change of β keeps."""

CHAINS, AROUND = 4096, 0.25
"""Particles that ``log Z`` is from, and the share of them that are annealed both ways."""


class Reach(NamedTuple):
    """How far a reference q is from the model.

    Attributes:
        rounds: draws of q for each sample that leave hardly a copy; None for too many.
        log_z: from the weights of draws of q.
    """

    rounds: int | None
    log_z: LogZ


def reach(energy: Tilted, like: Tensor, *, generator: Rng = None) -> Reach:
    """How many draws of the reference a sample needs, and what they say of ``log Z``.

    They are ``ROUNDS`` of `wgflow.likelihood.from_reference`, or as many doublings of it as are
    needed, `MOST` at most. With weights w of mean one a draw is expected ``w/R`` times among
    samples from R draws each, so that ``E[max(w - R, 0)]`` is the share of copies. It is that of
    as many draws as `SAMPLES` have: of fewer the heaviest is not seen.
    """
    tilt, rounds, v = energy.relative(), from_reference.ROUNDS, like.new_empty(0)
    while True:
        lacking = max(FEWEST, SAMPLES * rounds) - len(v)
        if lacking > 0:
            v = torch.cat([v, from_reference.drawn(tilt, like, lacking, generator)[1]])
        w = (-v).double().softmax(0) * len(v)
        copies, fewest = (float((w - r).clamp(min=0).mean()) for r in (rounds, MOST))
        if copies <= COPIES or fewest > COPIES or rounds == MOST:
            log_z = from_reference.log_z_from_reference(v, generator=generator)
            return Reach(rounds if copies <= COPIES else None, log_z)
        rounds *= 2


def draw(
    energy: Tilted, like: Tensor, count: int, *, rounds: int | None, generator: Rng = None
) -> Points:
    """``count`` points of ``p ∝ e^{-E}``.

    They are draws of the reference q, resampled by their weights ``e^{-E}/q``,
    `wgflow.likelihood.from_reference.draw`. Where `reach` finds that these would be copies, a
    population goes from q to p by `AnnealedSMC`, whose moves follow gradients.

    Args:
        energy: E.
        like, count, generator: as there.
        rounds: draws of q for each point; None for the population.

    Raises:
        ValueError: as there.
    """
    if rounds is not None:
        tilt = energy.relative()
        return from_reference.draw(tilt, like, count, rounds=rounds, generator=generator)
    check_positive(count=count)
    parts = []
    for start in watched(range(0, count, from_reference.CHUNK), "Sampling"):
        size = min(from_reference.CHUNK, count - start)
        # Chains for log Z, which is not asked for: as few as there can be.
        method = AnnealedSMC(max(size, LEAST), KEPT, around=1e-9)
        x = run(method, _problem(energy, like), generator=generator).x
        order = torch.randperm(len(x), generator=generator)[:size]
        parts.append(x[order.to(x.device)].view(-1, *like.shape[1:]))
    return torch.cat(parts)


def log_z(energy: Tilted, like: Tensor, known: Reach, *, generator: Rng = None) -> LogZ:
    """``log Z``, with bounds from below and above in the mean.

    From weights of draws of the reference, or where these are too uneven by `AnnealedSMC`.

    Args:
        energy, like, generator: as of `draw`.
        known: `reach` of the energy.
    """
    if known.log_z.error <= ERROR:
        return known.log_z
    method = AnnealedSMC(CHAINS, KEPT, around=AROUND)
    return run(method, _problem(energy, like), generator=generator).log_z


def _problem(energy: Tilted, like: Tensor) -> Problem:
    event, tilt = like.shape[1:], energy.relative()
    own = tilt if tilt.is_from_reference else energy
    at = Counted(lambda x: own(x.view(-1, *event)))
    return Problem(at, Reference(energy, like), like[:0].flatten(1), tilt.is_from_reference)


class Reference(Target):
    """The reference q of an energy, as a distribution of points (batch, d).

    Args:
        tilted: the energy.
        like: a tensor of the shape, dtype and device of one point, (1, *event).
    """

    def __init__(self, tilted: Tilted, like: Tensor) -> None:
        super().__init__(math.prod(like.shape[1:]))
        self.tilted, self.like = tilted, like

    def energy(self, x: Points) -> Values:
        """``-log q``."""
        return self.tilted.reference_energy(x.view(-1, *self.like.shape[1:]))

    def sample(self, n: int, *, dtype: Dtype = None, generator: Rng = None) -> Tensor:
        """Draws of q."""
        x, _ = self.tilted.reference(self.like, n, generator=generator)
        return x.flatten(1).to(dtype or x.dtype)
