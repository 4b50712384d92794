"""Where a run stands: its counters, and a checkpoint of it read again."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from wgflow.distributed.islands import part
from wgflow.distributed.ranks import Ranks
from wgflow.schemes import Scheme
from wgflow.storage import checkpoint, folder
from wgflow.training.health import History, Limits


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


def read_state(path: Path, scheme: Scheme[Any], device: str, ranks: Ranks | None = None) -> Any:
    """The latest checkpoint of a run: progress, learner, carry, clock, files, islands.

    Of ranks that go on with it, each gets its own part; the first reads it for all.
    """
    file, types = path / folder.CHECKPOINT, (*scheme.carry_types, History, Progress)
    if ranks is None:
        return checkpoint.load(file, types, device=device)
    packed = ranks.lead(lambda: checkpoint.read(file))
    return part(checkpoint.unpack(packed, types, device=device), ranks)
