"""Islands: the shares of a run that its ranks have, and how what they find is put together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

from wgflow.config import Config
from wgflow.distributed.ranks import Ranks
from wgflow.samplers.particles import Particles


def share(config: Config, ranks: Ranks) -> Config:
    """The configuration of one rank: its device, and its part of what is counted in total.

    Raises:
        ValueError: a total cannot be divided by the number of ranks.
    """
    device = config.device if ranks.device is None else ranks.device
    return replace(_divided(config, ranks.size, ""), device=device)


def _divided(record: Any, size: int, path: str) -> Any:
    changes = {}
    for f in fields(record):
        value, key = getattr(record, f.name), f"{path}.{f.name}".lstrip(".")
        if f.metadata.get("divided"):
            if value % size:
                raise ValueError(
                    f"`{key}` must be a multiple of {size}, the number of ranks: got {value}."
                )
            changes[f.name] = value // size
        elif is_dataclass(value):
            changes[f.name] = _divided(value, size, key)
    return replace(record, **changes)


def combine(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a run from those of its islands, of those that have one.

    They are means, with two exceptions. Z is the mean of the islands' Z, so ``log Z``, and with it
    the ``nll``, is the logarithm of a mean of exponentials. With weights ``w_ij / K`` the
    effective fraction of all particles, ``1/(N Σ (w_ij/K)²)``, is the harmonic mean.
    """
    first, *others = found
    if not others:
        return dict(first)
    names = dict.fromkeys(name for each in found for name in each)
    return {name: _combined(name, [m[name] for m in found if name in m]) for name in names}


def _combined(name: str, values: Sequence[float]) -> float:
    x = np.array(values)
    if name == "nll" or name.endswith("log_z"):
        return float(np.logaddexp.reduce(x)) - math.log(len(x))
    if name.endswith("ess"):
        return float(1 / (1 / x).mean())
    return float(x.mean())


def join(islands: Sequence[Particles | None]) -> Particles | None:
    """All particles as one population; None if there are none.

    Every island keeps its share 1/K of the weight, and the mean of their Z is banked, as if each
    had just been resampled.
    """
    parts = [p for p in islands if p is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    z = torch.stack([p.log_z for p in parts])
    weights = [p.log_weight.log_softmax(0) + math.log(len(p.log_weight)) for p in parts]
    columns = zip(*(p.state for p in parts), strict=True)
    rows = (torch.stack(c).mean(0) if c[0].ndim == 0 else torch.cat(c) for c in columns)
    state = type(parts[0].state)(*rows)
    return Particles(state, torch.cat(weights), z.logsumexp(0) - math.log(len(z)))


def own(learner: Mapping[str, Any], carry: Any) -> dict[str, Any]:
    """What of a run's state belongs to one rank; the rest is the same on all."""
    return {"carry": carry, "batches": learner["batches"], "generator": learner["generator"]}


def carries(state: Mapping[str, Any]) -> list[Any]:
    """The carries of all ranks in a checkpoint."""
    return [state["carry"], *(island["carry"] for island in state.get("islands", []))]


def part(state: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """The state of one rank, out of a checkpoint.

    Raises:
        ValueError: it was written by another number of ranks.
    """
    count = len(carries(state))
    if count != ranks.size:
        raise ValueError(
            f"A run goes on with as many ranks as it began with: expected {count}, got "
            f"{ranks.size}; choose --devices times --nodes, or the processes of torchrun, so."
        )
    if ranks.first:
        return state
    mine = dict(state["islands"][ranks.rank - 1])
    carry = mine.pop("carry")
    return state | {"carry": carry, "learner": state["learner"] | mine}
