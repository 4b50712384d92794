"""Where a run stands: its counters, its particles, and both as a checkpoint has them."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from wgflow.distributed.islands import part
from wgflow.distributed.ranks import Ranks
from wgflow.samplers.particles import Particles
from wgflow.schemes import Carry, Pair
from wgflow.storage import checkpoint, folder
from wgflow.training.health import History, Limits
from wgflow.training.learner import RECORDS


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
        step: learning steps done.
        radius: beyond which a particle counts as lost, see `wgflow.training.health.Limits`.
        history: what the health monitor remembers.
        rollbacks: how often the run went back.
        best: least validation metric so far.
        stale: validations since then.
    """

    step: int = 0
    radius: float = Limits.radius
    history: History = History()
    rollbacks: int = 0
    best: float = math.inf
    stale: int = 0


STATE = (*RECORDS, History, Progress)
"""The named tuples of a checkpoint."""


def populations(carry: Any) -> tuple[Particles | None, Particles | None]:
    """The particles of a carry: those that train, and those held out."""
    match carry:
        case Carry(particles=particles, held_out=held_out):
            return particles, held_out
        case Pair(equilibrium=equilibrium):
            return populations(equilibrium)
    return None, None


def alive(carry: Any) -> list[Particles]:
    """The populations that a carry has."""
    return [p for p in populations(carry) if p is not None]


def read_state(path: Path, device: str) -> dict[str, Any]:
    """The latest checkpoint of a run: progress, learner, carry, clock, files, islands."""
    return checkpoint.load(path / folder.CHECKPOINT, STATE, device=device)


def recall(path: Path, device: str, ranks: Ranks) -> dict[str, Any]:
    """The same as one rank goes on from it; the first reads it for all."""
    packed = ranks.lead(lambda: checkpoint.read(path / folder.CHECKPOINT))
    return part(checkpoint.unpack(packed, STATE, device=device), ranks)
