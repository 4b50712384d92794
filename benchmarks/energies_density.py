"""Given energies: how good the density is that a user gets, with all defaults.

    pip install .[benchmarks]
    python -m benchmarks.energies_density                          # what is missing, then the table
    python -m benchmarks.energies_density --targets 25-gaussians lj13

`wgflow.fit_energy` samples V and learns a normalised density q of the samples, `Run.log_prob`.
Where the law p is known, with its normaliser, the row tells the mean of ``r = log q - log p`` over
exact draws, which is minus KL(p‖q), and of r², the squared error of the log-density: that of an
unnormalised one, with the best constant, would be the variance of r, ``r² - (mean r)²``. Of every
target the effective fraction of draws of q with weights ``e^{-V}/q``, as a proposal. CPU seconds
are of this process, on one thread: of sampling and of learning. Finished rows are kept in a
JSON-lines file, as those of `benchmarks.tables` are.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

import wgflow
from benchmarks.rows import measured, table
from wgflow.storage.folder import free
from wgflow.targets.base import TargetEnergy
from wgflow.targets.catalogue import named

TARGETS = (
    *("25-gaussians", "mustache", "funnel:2", "funnel:10", "gaussian:10", "gmm:20", "two-modes"),
    *("dw4", "lj13", "breast-cancer"),
)

DRAWS = 10_000
"""Exact ones, for the errors of the log-density."""

COLUMNS = (
    *("target", "d", "V per point", "log Z - truth", "squared error of log q ± error"),
    *("its variance", "KL(p‖q)", "ESS of proposals", "CPU s"),
)


def measure(data: str, seed: int, folder: Path) -> dict[str, Any]:
    """Sample, learn and score; the rest of a row."""
    name, _, dim = data.partition(":")
    target = named(name, int(dim) if dim else None)
    clock = time.process_time()
    run = wgflow.fit_energy(target, out=free(folder / f"{name}-{target.dim}-{seed}"), seed=seed)
    found, seconds = run.target, time.process_time() - clock
    assert found is not None
    row = {"d": target.dim, "seconds": seconds, "steps": run.steps, "particles": found.particles}
    row |= {name: x for name, x in found.table.items() if "distance" not in name and "w2" not in name}
    return row | of_density(run, target, seed)


def of_density(run: wgflow.Run, target: TargetEnergy, seed: int) -> dict[str, float]:
    """Errors of the log-density over exact draws of a known law; nothing of others."""
    if target.known is None:
        return {}
    generator = torch.Generator().manual_seed(10**6 + seed)
    u = target.known.sample(DRAWS, dtype=torch.float64, generator=generator)
    r = run.log_prob(u).double() - target.known.log_prob(u)
    return {
        "mse": float(r.square().mean()),
        "mse_error": float(r.square().std()) / math.sqrt(len(r)),
        "bias": float(r.mean()),
        "bias_error": float(r.std()) / math.sqrt(len(r)),
    }
