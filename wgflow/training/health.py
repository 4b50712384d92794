"""Health of a run: recognises divergence, and says what, where and by how much.

A learning run of an energy diverges in few ways: a number stops being finite; the energies of
data and particles drift apart without end; the weights of the particles collapse at every step,
so that the population represents nothing; or the particles leave the region of the data. Every
check is made after every step; what it remembers of past steps is a visible value.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from wgflow.samplers.particles import Particles

Metrics = Mapping[str, float]
Tensors = Mapping[str, Iterable[Tensor]]
"""Tensors by the name of their group."""


@dataclass(frozen=True)
class Limits:
    """What a healthy run stays within.

    Args:
        gap: ``|E_d - E_particles|`` may reach this multiple of ``√d + m``, in nats, where √d is
            the scale on which energies of d coordinates fluctuate and m the mean of past gaps.
        memory: steps over which m is a mean. Long, so that a gap that grows steadily outruns it.
        ess: effective fraction of the particles, before resampling; healthy runs stay above 0.1.
        patience: consecutive steps below ``ess`` that make a collapse.
        radius: root mean square of the coordinates beyond which a particle is outside, in the
            standardised units of training. By Chebyshev's inequality at most 1/36 of any data
            lies beyond 6.
        share: share of the population, by weight, that may be outside.
        rise: a validation, in nats, may exceed the best so far by this multiple of ``1 + √d``.
            The particles can hide in a well that they dug themselves; test points cannot.
    """

    gap: float = 10.0
    memory: int = 1000
    ess: float = 0.02
    patience: int = 10
    radius: float = 6.0
    share: float = 0.05
    rise: float = 5.0


class History(NamedTuple):
    """What the monitor remembers.

    Attributes:
        seen: healthy steps seen.
        gap: mean of ``|E_d - E_particles|`` over them.
        thin: consecutive steps with an effective fraction below the limit, up to now.
    """

    seen: int = 0
    gap: float = 0.0
    thin: int = 0


class Trouble(NamedTuple):
    """What the monitor found: at ``step``, ``what`` had ``value`` beyond its ``limit``."""

    step: int
    what: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.what} at step {self.step}: {self.value:.4g}, limit {self.limit:.4g}"


def examine(
    limits: Limits,
    history: History,
    step: int,
    metrics: Metrics,
    populations: Sequence[Particles],
    tensors: Tensors,
) -> tuple[History, Trouble | None]:
    """The history after a step, and the first trouble found in it, if any.

    Args:
        limits: what is healthy.
        history: of the steps before.
        step: number of the step, for the message.
        metrics: of the step; ``energy_gap`` and ``ess`` are checked where present.
        populations: particles after the step.
        tensors: by name of their group, all that the next step depends on.
    """
    history = history._replace(thin=_thin(limits, history, metrics))
    checks = (
        *_finite(step, metrics, populations, tensors),
        *_runaway(limits, history, step, metrics, populations),
        *_collapse(limits, history, step, metrics),
        *_escape(limits, step, populations),
    )
    if checks:
        return history, checks[0]
    return _remember(limits, history, metrics), None


def reach(limits: Limits, particles: Sequence[Particles]) -> float:
    """A radius that the first particles, drawn from the confinement, respect: three scales.

    It is never below ``limits.radius``.
    """
    start = [float(p.x.square().mean().sqrt()) for p in particles]
    return max([limits.radius, *(3 * scale for scale in start)])


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)


def risen(limits: Limits, step: int, value: float, best: float, dim: int) -> Trouble | None:
    """The verdict on a validation of points with ``dim`` coordinates, against the best so far."""
    limit = limits.rise * (1 + math.sqrt(dim))
    if value - best > limit:
        return Trouble(step, "rise of nll over its best", value - best, limit)
    return None


def _finite(
    step: int, metrics: Metrics, populations: Sequence[Particles], tensors: Tensors
) -> Iterator[Trouble]:
    for name, value in metrics.items():
        if not math.isfinite(value):
            yield Trouble(step, f"{name} not finite", value, math.inf)
    groups = {"positions of particles": [p.x for p in populations]}
    groups |= {"weights of particles": [p.log_weight for p in populations]}
    for what, group in (groups | dict(tensors)).items():
        bad = sum(int((~tensor.isfinite()).sum()) for tensor in group)
        if bad:
            yield Trouble(step, f"number of {what} not finite", bad, 0)


def _runaway(
    limits: Limits,
    history: History,
    step: int,
    metrics: Metrics,
    populations: Sequence[Particles],
) -> Iterator[Trouble]:
    dim = max((p.x[0].numel() for p in populations), default=1)
    gap = abs(metrics.get("energy_gap", 0.0))
    # The first gap is no anomaly: particles of an energy learned elsewhere start far away.
    past = history.gap if history.seen else gap
    limit = limits.gap * (math.sqrt(dim) + past)
    if gap > limit:
        yield Trouble(step, "runaway energy gap |E_d - E_particles|", gap, limit)


def _collapse(limits: Limits, history: History, step: int, metrics: Metrics) -> Iterator[Trouble]:
    if history.thin >= limits.patience:
        what = f"effective fraction of the particles in {history.thin} consecutive steps"
        yield Trouble(step, what, metrics["ess"], limits.ess)


def _escape(limits: Limits, step: int, populations: Sequence[Particles]) -> Iterator[Trouble]:
    for p in populations:
        outside = p.x.flatten(1).square().mean(1).sqrt() > limits.radius
        share = float(p.weights @ outside.to(p.weights.dtype))
        if share > limits.share:
            what = f"share of particles beyond radius {limits.radius:.3g}"
            yield Trouble(step, what, share, limits.share)


def _thin(limits: Limits, history: History, metrics: Metrics) -> int:
    return history.thin + 1 if metrics.get("ess", 1.0) < limits.ess else 0


def _remember(limits: Limits, history: History, metrics: Metrics) -> History:
    if "energy_gap" not in metrics:
        return history
    seen = history.seen + 1
    change = abs(metrics["energy_gap"]) - history.gap
    return history._replace(seen=seen, gap=history.gap + change / min(seen, limits.memory))
