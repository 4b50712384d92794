"""What a run takes of the memory, told before it begins."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from wgflow.config import DTYPES, Config, to_table
from wgflow.data.dataset import Dataset
from wgflow.data.memory import check_memory

WEIGHTS = 6
"""Copies of a network: weights, gradient, two moments, running average, and the best of these."""

POINTS = 4
"""Copies of particles that are held, of positions, gradients, and both of a proposal."""

COUNTS = ("size", "held_out", "draws")
"""Settings of dynamics that count particles, or draws beside them."""


def check_budget(config: Config, dataset: Dataset) -> None:
    """Raise ValueError where network, particles and batches do not fit into the free memory.

    At least that much: what a network keeps on the way is known of perceptrons alone.
    """
    dim = math.prod(dataset.event_shape)
    width = torch.finfo(DTYPES[config.dtype]).bits / 8
    weights, kept = config.energy.weights(dim), config.energy.kept(dim)
    parts = config.training.accumulate
    batch = min(config.training.batch_size, len(dataset.train))
    needs = {"the network (energy)": WEIGHTS * width * weights}
    needs["batches (training.batch_size)"] = width * batch * (dim + kept / parts)
    for key, count in _particles(to_table(config.scheme), "scheme"):
        needs[f"particles ({key})"] = width * count * (POINTS * dim + kept / parts)
    check_memory(needs, config.device)


def _particles(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, int]]:
    """Counts of particles in the settings of a scheme, by their dotted keys."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _particles(value, f"{path}.{key}")
        elif key in COUNTS:
            yield f"{path}.{key}", value
