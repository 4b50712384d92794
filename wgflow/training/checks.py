"""Settings that do not suit each other or this machine, refused before any work."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wgflow._check import shown
from wgflow.config import Config
from wgflow.data.dataset import Dataset
from wgflow.samplers.particles import Particles
from wgflow.training.flat import is_flat, is_known


def check_device(name: str) -> None:
    """Raise ValueError unless the device is there, and computes in double precision."""
    try:
        float(torch.zeros(1, device=name, dtype=torch.float64))
    except Exception as error:  # each backend of PyTorch has errors of its own
        found = ", ".join(["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))])
        raise ValueError(
            "`device` must compute in double precision on this machine, which has "
            f"{found}: got {shown(name)}."
        ) from error


def check_units(event_shape: tuple[int, ...], shift: Tensor, scale: Tensor) -> None:
    """Raise ValueError unless shift and scale, read from a file, are those of such events."""
    good = all(type(side) is int and side > 0 for side in event_shape)
    for values in (shift, scale):
        good = good and values.is_floating_point() and bool(values.isfinite().all())
        good = good and values.shape in ((), event_shape)
    if not good or not (scale > 0).all():
        raise ValueError(
            "`shift` and `scale` in a checkpoint must be finite numbers, of the shape of a point: "
            f"got shapes {tuple(shift.shape)}, {tuple(scale.shape)} for points {event_shape}."
        )


def check_particles(particles: Particles | None, event_shape: Sequence[int]) -> None:
    """Raise ValueError unless a population, read from a file, is one of such events."""
    if particles is None:
        return
    x, log_weight = particles.x, particles.log_weight
    parts = (*particles.state, log_weight, particles.log_z)
    if any(not isinstance(part, Tensor) or part.is_complex() for part in parts):
        raise ValueError("Particles in a checkpoint must be tensors of real numbers: got others.")
    if x.shape != (*log_weight.shape, *event_shape) or log_weight.ndim != 1 or not len(x):
        raise ValueError(
            f"Particles in a checkpoint must be points of shape {tuple(event_shape)} with a "
            f"weight each: got {tuple(x.shape)} and {tuple(log_weight.shape)}."
        )


def check_levels(config: Config) -> None:
    """Raise ValueError unless a scheme of noise has an energy of the levels that are scored.

    And unless such an energy learns its levels from the scheme, or starts from one that did.
    """
    levels, scheme = config.energy.noise_levels, config.scheme
    if levels is not None and not (scheme.learns_levels or config.init):
        raise ValueError(
            "`scheme` must learn the noise levels of the energy: expected across-levels, "
            "dual-score-matching, alone or in joint, or the energy of another run to start from "
            "(init), got "
            f"{type(scheme).__name__}."
        )
    if not scheme.adds_noise:
        return
    if levels is None:
        raise ValueError(
            "`energy` must take noise levels for a scheme that adds noise to the data: expected "
            f"energy.kind noisy-unet or noise-mlp, got {type(config.energy).__name__}."
        )
    if config.energy.needs_mixture and not config.data.smoothing:
        return  # so little noise that the data themselves are scored
    if config.data.smoothing != levels.lowest:
        raise ValueError(
            f"`data.smoothing` must be the lowest noise level, energy.lowest = {levels.lowest}: "
            f"got {config.data.smoothing}."
        )


def check_patience(patience: int | None, dataset: Dataset, config: Config) -> None:
    """Raise ValueError for patience with a run that has nothing to validate."""
    scheme = config.scheme
    flat = is_known(dataset) or is_flat(dataset)
    validated = flat or scheme.is_weighted or config.energy.needs_mixture
    if patience is not None and not validated:
        raise ValueError(
            "`training.patience` needs something to validate: expected weighted particles, as of "
            f"near-proximal, or none, got {type(scheme).__name__} with patience {patience}."
        )
