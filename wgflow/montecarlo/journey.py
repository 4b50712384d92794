"""What is kept of the way of particles from a start to a target, to be looked at.

A fixed number of frames of a fixed number of points, however many steps a method takes, and the
metrics of every step. It is a value like a method's state, so that a checkpoint holds it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from wgflow.montecarlo.base import Stage
from wgflow.samplers.particles import systematic_indices

FRAMES = 24
"""Frames that are kept, at most."""

POINTS, NUMBERS = 1000, 2**18
"""Points of a frame, and numbers: of many coordinates there are fewer points."""


class Frame(NamedTuple):
    """Equally weighted points at one inverse temperature.

    Attributes:
        step: after so many steps.
        beta: the inverse temperature.
        x: (points, d), float32.
    """

    step: int
    beta: float
    x: Tensor


class Journey(NamedTuple):
    """Frames and metrics so far.

    Attributes:
        every: steps between two frames, a power of two.
        frames: in order; of replicas, which are at all inverse temperatures at once, one each.
        metrics: of the method before its first step and after each, by name.
    """

    every: int = 1
    frames: tuple[Frame, ...] = ()
    metrics: tuple[dict[str, float], ...] = ()

    def after(self, stages: list[Stage], metrics: dict[str, float]) -> "Journey":
        """The journey with one more step."""
        step = len(self.metrics)
        known = self._replace(metrics=(*self.metrics, metrics))
        if len(stages) > 1:
            return known._replace(frames=_side_by_side(self.frames, stages, step))
        if step % self.every:
            return known
        frames = (*self.frames, framed(stages[0], step))
        if len(frames) <= FRAMES:
            return known._replace(frames=frames)
        every = 2 * self.every
        thinned = tuple(frame for frame in frames if frame.step % every == 0)
        return known._replace(every=every, frames=thinned)


def checked(found: object, d: int) -> Journey:
    """A journey that was read, if it is one, of points of d coordinates; TypeError otherwise."""
    if not (
        isinstance(found, Journey)
        and isinstance(found.every, int)
        and found.every > 0
        and all(_is_frame(frame, d) for frame in found.frames)
        and all(isinstance(v, float | int) for row in found.metrics for v in row.values())
    ):
        raise TypeError(f"no frames of {d} coordinates")
    return found._replace(frames=tuple(found.frames), metrics=tuple(found.metrics))


def _is_frame(frame: object, d: int) -> bool:
    return (
        isinstance(frame, Frame)
        and isinstance(frame.step, int)
        and isinstance(frame.beta, float | int)
        and isinstance(frame.x, Tensor)
        and len(frame.x) > 0
        and frame.x.shape[1:] == (d,)
        and frame.x.is_floating_point()
        and bool(frame.x.isfinite().all())
    )


def framed(stage: Stage, step: int) -> Frame:
    """Some of the particles by their weights, the same ones in every repetition."""
    count = min(POINTS, len(stage.x), max(1, NUMBERS // stage.x.shape[1]))
    generator = torch.Generator().manual_seed(step)
    # In random order, so that whatever part of them is drawn represents all.
    index = systematic_indices(stage.log_weight.cpu(), count, generator=generator)
    index = index[torch.randperm(count, generator=generator)]
    return Frame(step, stage.beta, stage.x[index.to(stage.x.device)].float().cpu())


def _side_by_side(old: tuple[Frame, ...], stages: list[Stage], step: int) -> tuple[Frame, ...]:
    """Frames of some replicas, which grow as long as inverse temperatures stay."""
    some = torch.linspace(0, len(stages) - 1, min(FRAMES, len(stages))).round().long().unique()
    new = [framed(stages[i], step) for i in some.tolist()]
    if [frame.beta for frame in new] != [frame.beta for frame in old]:
        return tuple(new)
    most = min(POINTS, max(1, NUMBERS // new[0].x.shape[1]))
    return tuple(
        Frame(step, b.beta, torch.cat([a.x, b.x])[:most]) for a, b in zip(old, new, strict=True)
    )
