"""Fresh samples of an energy that is a tilt of a distribution with exact draws."""

import math

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
"""Share of copies from which independence steps are too rarely taken."""

TRIED = 1024
"""Draws that tell it."""

LEAST = 512
"""Particles of a population, whose moves are tuned on them."""

KEPT = 0.9
"""Effective fraction that each change of β keeps."""

CHAINS, AROUND = 4096, 0.25
"""Particles that ``log Z`` is from, and the share of them that are annealed both ways."""


def draw(
    energy: Tilted, like: Tensor, count: int, *, rounds: int, generator: Rng = None
) -> Points:
    """``count`` points of ``p ∝ e^{-E}``.

    They are draws of the reference q, resampled by their weights ``e^{-E}/q`` and moved by
    independence steps, `wgflow.likelihood.from_reference.draw`. Where these would leave copies, a
    population goes from q to p by `AnnealedSMC`, whose moves follow gradients.

    Args:
        energy: E.
        like, count, rounds, generator: as there.

    Raises:
        ValueError: as there.
    """
    check_positive(count=count)
    if reaches(energy, like):
        tilt = energy.relative()
        return from_reference.draw(tilt, like, count, rounds=rounds, generator=generator)
    parts = []
    for start in watched(range(0, count, from_reference.CHUNK), "Sampling"):
        size = min(from_reference.CHUNK, count - start)
        # Chains for log Z, which is not asked for: as few as there can be.
        method = AnnealedSMC(max(size, LEAST), KEPT, around=1e-9)
        x = run(method, _problem(energy, like), generator=generator).x
        order = torch.randperm(len(x), generator=generator)[:size]
        parts.append(x[order.to(x.device)].view(-1, *like.shape[1:]))
    return torch.cat(parts)


def log_z(energy: Tilted, like: Tensor, *, generator: Rng = None) -> LogZ:
    """``log Z``, annealed both ways between the reference and the model, with its sandwich.

    By independence steps, `wgflow.likelihood.from_reference.log_z_from_reference`, or where these
    leave copies by `AnnealedSMC`. Arguments as of `draw`.
    """
    if reaches(energy, like):
        tilt = energy.relative()
        return from_reference.log_z_from_reference(tilt, like, generator=generator)
    method = AnnealedSMC(CHAINS, KEPT, around=AROUND)
    return run(method, _problem(energy, like), generator=generator).log_z


def reaches(energy: Tilted, like: Tensor) -> bool:
    """Whether independence steps from the reference leave hardly a copy: a fact of the energy."""
    generator = torch.Generator(like.device).manual_seed(0)
    x = from_reference.draw(energy.relative(), like, TRIED, generator=generator)
    return 1 - len(x.unique(dim=0)) / TRIED <= COPIES


def _problem(energy: Tilted, like: Tensor) -> Problem:
    event = like.shape[1:]
    own = Counted(lambda x: energy(x.view(-1, *event)))
    return Problem(own, Reference(energy, like), like[:0].flatten(1))


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
