"""What a run knows about its own chains: units, step sizes, where to begin, which precision."""

from typing import Any

import torch
from torch import Tensor

from wgflow.flows import heat
from wgflow.flows import heat_uses
from wgflow._tensor import Points
from wgflow.config import MIXED
from wgflow.tasks.denoise import flow_back
from wgflow.samplers.descent import cooling
from wgflow.tasks.inpaint import bridge
from wgflow.energies.noise_levels import denoised
from wgflow.energies.precision import halved
from wgflow.runs.run import Run
from wgflow.samplers import MALA, ULA, Sampler
from wgflow._check import check_choice
from wgflow.samplers.kinetic import KineticState
from wgflow.schemes import matching

STEP = 1e-3
"""Langevin step in squared standardised units, where nothing is known."""

HOT = 10.0
"""A temperature to cool from, where nothing is known."""

SHARE = 1 / 8
"""Of the variance of a well of energy matching, that a Langevin step takes."""

CHUNK = 256
"""Points at a time."""

SIDES = ("left", "right", "top", "bottom", "center")
"""What may be hidden of images."""

STARTS = ("path", "noise")
"""Where chains of inpainting may begin."""


def langevin_step(run: Run) -> float:
    """A Langevin step for chains of a run, in squared standardised units: stable, not the best.

    Of a run with particles, what they settled to; of energy matching, an eighth of the variance
    ``ε(1-t*)`` of the wells at the data; of levels of noise, an eighth of that of the lowest.
    """
    if run.levels is not None:
        return SHARE * run.levels.lowest**2
    if run.particles is not None:
        state = run.particles.state
        step = float(state.step_size)
        return step**2 / 2 if isinstance(state, KineticState) else step
    paths = matching(run.config.scheme)
    if paths is None or paths.cutoff == 1:
        return STEP
    return SHARE * paths.temperature * (1 - paths.cutoff)


def hottest(run: Run) -> float:
    """A temperature at which chains of a run cross between modes.

    Of energy matching, that at which the wells at the data, of variance ``ε(1-t*)``, are as wide
    as the noise ``N(0, s²)`` of its paths; otherwise ten.
    """
    paths = matching(run.config.scheme)
    if paths is None or paths.cutoff == 1:
        return HOT
    return max(1.0, paths.noise**2 / (paths.temperature * (1 - paths.cutoff)))


def to_units(run: Run, x: Points) -> Points:
    """Points of the data, (batch, *event), in the standardised units of a run."""
    if tuple(x.shape[1:]) != run.event_shape:
        raise ValueError(
            "Points have the shape that the run learned: expected "
            f"{run.event_shape} after the first axis, got {tuple(x.shape)}."
        )
    return ((x - run.energy.shift) / run.energy.scale).to(x)


def from_units(run: Run, u: Points) -> Points:
    """Standardised points of a run in the units of the data; leading axes may be any."""
    return (run.energy.shift + run.energy.scale * u).to(u)


def beginning(
    run: Run,
    start: str | None,
    steps: int,
    known: Tensor,
    hidden: Tensor,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Options of `wgflow.tasks.inpaint.inpaint`: where chains begin, or how they cool.

    Args:
        run: the run.
        start: one of `STARTS`; None for ``path`` where the run learned some.
        steps: of the path or of the cooling.
        known: the points of all chains, (chains, *event), in standardised units.
        hidden: the mask.
        generator: source of randomness.

    Raises:
        ValueError: when the start is unknown, or is a path and the run learned none.
    """
    start = start or ("path" if run.leads else "noise")
    check_choice("start", start, STARTS)
    if start == "noise":
        return {"temperatures": cooling(hottest(run), steps)}
    if run.levels is not None:
        visits = max(1, min(steps // heat.DETERMINISTIC, heat_uses.VISITS))
        options = {"steps": steps // visits, "visits": visits, "generator": generator}
        return {"start": heat_uses.bridge(run.leading, run.levels, known, hidden, **options)}
    paths = matching(run.config.scheme)
    if paths is None:
        raise ValueError(
            "Only energies matched to paths lead from noise to the data: expected the scheme "
            "energy-matching, joint or dual-score-matching, or --start noise."
        )
    noise = paths.noise * torch.randn(known.shape, generator=generator, dtype=known.dtype)
    energy = run.energy.energy
    begin = bridge(energy, known, hidden, noise, temperature=paths.temperature, steps=steps)
    return {"start": begin}


def flown(run: Run, y: Points, sigma: Tensor) -> dict[str, Tensor]:
    """Points denoised along the learned paths, if the run has any; all in standardised units.

    By an energy of levels of noise in one step, where all coordinates have the same noise; less
    than of the lowest level, or more than of the highest, is taken for that.
    """
    if run.levels is not None:
        level = sigma.flatten()[:1]
        if not (sigma == level).all():
            return {}
        level = level.clamp(run.levels.lowest, run.levels.highest)
        means = [denoised(run.energy.energy, part, level) for part in y.split(CHUNK)]
        return {"flow": torch.cat(means)}
    paths = matching(run.config.scheme)
    if paths is None:
        return {}
    energy, temperature = run.energy.energy, paths.temperature
    return {"flow": flow_back(energy, y, sigma, temperature=temperature, noise=paths.noise)}


def side(name: str, event_shape: tuple[int, ...]) -> Tensor:
    """True in one half of an image, or in the middle quarter, (*event,).

    Raises:
        ValueError: for points that are no images, or a side that is none of `SIDES`.
    """
    check_choice("side", name, SIDES)
    if len(event_shape) != 3:
        raise ValueError(
            f"Sides are of images: expected a mask FILE.npy of shape {event_shape}, got {name!r}."
        )
    _, height, width = event_shape
    h, w = height // 2, width // 2
    rows, columns = {
        "left": (slice(None), slice(0, w)),
        "right": (slice(None), slice(w, None)),
        "top": (slice(0, h), slice(None)),
        "bottom": (slice(h, None), slice(None)),
        "center": (slice(h // 2, h // 2 + h), slice(w // 2, w // 2 + w)),
    }[name]
    mask = torch.zeros(event_shape, dtype=torch.bool)
    mask[:, rows, columns] = True
    return mask


def sampler_of(run: Run, name: str) -> Sampler[Any]:
    """The sampler ``mala`` or ``ula`` with a step that suits the run."""
    check_choice("sampler", name, ("mala", "ula"))
    step = langevin_step(run)
    return MALA(step) if name == "mala" else ULA(step)


def precision(run: Run, sampler: str) -> torch.autocast:
    """Half precision for ULA, where the run learned in it; acceptance needs the digits."""
    return halved(run.config.dtype == MIXED and sampler == "ula")
