"""Settings that do not suit each other or this machine, refused before any work."""

import math

import torch

from wgflow._check import shown
from wgflow.config import Config
from wgflow.data.dataset import Dataset


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
    validated = is_known(dataset) or scheme.is_weighted or config.energy.needs_mixture
    if patience is not None and not validated:
        raise ValueError(
            "`training.patience` needs something to validate: expected weighted particles, as of "
            f"near-proximal, or none, got {type(scheme).__name__} with patience {patience}."
        )


def is_known(dataset: Dataset) -> bool:
    """Whether the exact density is known, in so few dimensions that it can be integrated."""
    return dataset.target is not None and math.prod(dataset.event_shape) <= 2
