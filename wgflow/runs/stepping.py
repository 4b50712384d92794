"""All steps of a method that samples a given energy, in a folder: stops, kills and the end."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from wgflow._progress import BEGINNING
from wgflow._random import stream
from wgflow.data.arrays import write_points
from wgflow.errors import Interrupted
from wgflow.montecarlo.base import Counted, Method, Problem, Sampled
from wgflow.montecarlo.journey import Frame, Journey, checked
from wgflow.runs import sampled
from wgflow.runs.judged import judged
from wgflow.storage import checkpoint
from wgflow.targets.base import TargetEnergy
from wgflow.training.signals import stopping

EVERY = 20.0
"""Seconds between two checkpoints."""

STREAM = 77
"""Number of the random stream of methods."""

Listener = Callable[[float, dict[str, float]], None]
"""Called before the first step and after each, with the part that is done and the metrics.

Before the first one of them is `BEGINNING`, the seconds that the energies of all particles took.
"""


class Way(NamedTuple):
    """A method on its way, and what is kept of where it was."""

    state: Any
    journey: Journey


def all_steps(
    where: Path, target: TargetEnergy, method: Method[Any], seed: int, listener: Listener | None
) -> None:
    """All steps of the method, from the last checkpoint if there is one, and what it found."""
    like = torch.empty(0, target.free, dtype=torch.float64)
    problem = Problem(Counted(target.reduced), target.start, like)
    generator = stream(seed, STREAM)
    with stopping() as asked:
        begun = time.monotonic()
        way = _restored(where, method, problem, generator)
        saved = time.monotonic()
        if listener is not None:
            metrics = method.metrics(problem, way.state) | {BEGINNING: saved - begun}
            listener(method.progress(way.state), metrics)
        while method.progress(way.state) < 1:
            state = method.step(problem, way.state, generator=generator)
            done, metrics = method.progress(state), method.metrics(problem, state)
            way = Way(state, way.journey.after(method.stages(state), metrics))
            if listener is not None:
                listener(done, metrics)
            if asked.is_set() or time.monotonic() > saved + EVERY:
                _save(where, way, problem, generator)
                saved = time.monotonic()
            if asked.is_set():
                raise Interrupted(
                    f"Stopped with {done:.0%} of the sampling done; "
                    f"continue with: wgflow resume {where.parent}"
                )
    found = method.result(problem, way.state, generator=generator)
    checkpoint.save(where / sampled.JOURNEY, way.journey)
    _write(where, target, problem, found, generator)


def _restored(
    where: Path, method: Method[Any], problem: Problem, generator: torch.Generator
) -> Way:
    file = where / sampled.STATE
    if not file.is_file():
        state = method.init(problem, generator=generator)
        begun = Journey().after(method.stages(state), method.metrics(problem, state))
        return Way(state, begun)
    with checkpoint.refusing(file):
        kept = checkpoint.load(file, (*method.state_types, Journey, Frame))
        generator.set_state(kept["generator"])
        problem.energy.evaluations = kept["evaluations"]
        problem.energy.excluded = kept.get("excluded", 0)
        journey = checked(kept.get("journey", Journey()), problem.like.shape[1])
        return Way(kept["state"], journey)


def _save(where: Path, way: Way, problem: Problem, generator: torch.Generator) -> None:
    energy = problem.energy
    counts = {"evaluations": energy.evaluations, "excluded": energy.excluded}
    tree = way._asdict() | {"generator": generator.get_state()} | counts
    checkpoint.save(where / sampled.STATE, tree)


def _write(
    where: Path,
    target: TargetEnergy,
    problem: Problem,
    found: Sampled,
    generator: torch.Generator,
) -> None:
    evaluations, excluded = problem.energy.evaluations, problem.energy.excluded
    # Neighbours in order may be copies of one particle; learning splits points by order.
    order = torch.randperm(len(found.x), generator=generator)
    x = target.lift(found.x[order])
    if target.system is not None:
        x = target.system.exchanged(x, generator=generator)
    write_points(where / sampled.SAMPLES, x)
    write_points(where / sampled.FREE, target.project(x))
    scores = judged(target, x, found, generator=generator)
    scores |= {"target_excluded": excluded / evaluations} if excluded else {}
    sampled.write(where, sampled.asked_for(where), sampled.record_of(found, evaluations, scores))
    (where / sampled.STATE).unlink(missing_ok=True)
