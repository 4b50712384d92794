"""Where a run stands: its counters, and a checkpoint of it read again."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from wgflow.distributed.islands import part
from wgflow.distributed.ranks import Ranks
from wgflow.schemes import Scheme
from wgflow.storage import checkpoint, folder
from wgflow.training.binding import binding, check_bound
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
        start: that of the energy that it started from, if it is kept.
    """

    step: int = 0
    radius: float = Limits.radius
    history: History = History()
    rollbacks: int = 0
    best: float = math.inf
    stale: int = 0
    start: float = math.inf


def read_state(path: Path, scheme: Scheme[Any], device: str, ranks: Ranks | None = None) -> Any:
    """The latest checkpoint of a run: progress, learner, carry, clock, files, islands.

    Of ranks that go on with it, each gets its own part; the first reads it for all.

    Raises:
        ValueError: the file is no whole checkpoint of this run.
    """
    file, types = path / folder.CHECKPOINT, (*scheme.carry_types, History, Progress)
    packed = checkpoint.read(file) if ranks is None else ranks.lead(lambda: checkpoint.read(file))
    with checkpoint.refusing(file):
        state = checkpoint.unpack(packed, types, device=device)
        check_bound(file, state.get("run"), binding(path))
        return state if ranks is None else part(state, ranks)
