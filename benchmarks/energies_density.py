"""Given energies: how good the density is that a user gets, with the defaults.

    pip install .[benchmarks]
    python -m benchmarks.energies_density                  # what is missing, then the table
    python -m benchmarks.energies_density --targets 25-gaussians --particles 16384 --seeds 3

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
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
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
    *("25-gaussians", "mustache", "funnel:2", "funnel:10", "gmm:20", "two-modes"),
    *("dw4", "lj13", "breast-cancer", "eight-schools", "many-well", "spike-and-slab"),
)

DRAWS = 10_000
"""Exact ones, for the errors of the log-density."""

COLUMNS = (
    *("target", "particles", "seed", "V per point", "log Z - truth ± error"),
    *("squared error of log q", "its variance", "KL(p‖q)", "ESS of draws of q", "CPU s"),
)


def measure(data: str, particles: int, seed: int, folder: Path) -> dict[str, Any]:
    """Sample, learn and score; the rest of a row."""
    name, _, dim = data.partition(":")
    target = named(name, int(dim) if dim else None)
    path = free(folder / f"{name}-{target.dim}-{seed}")
    clock = time.process_time()
    run = wgflow.fit_energy(target, out=path, seed=seed, particles=particles)
    found, seconds = run.target, time.process_time() - clock
    assert found is not None
    told = found.table | {"d": target.dim, "seconds": seconds, "log_z_of_q": run.normaliser.value}
    return told | of_density(run, target, seed)


def of_density(run: wgflow.Run, target: TargetEnergy, seed: int) -> dict[str, float]:
    """Errors of the log-density at exact draws of a known law; nothing of others."""
    if target.known is None:
        return {}
    generator = torch.Generator().manual_seed(10**6 + seed)
    u = target.known.sample(DRAWS, dtype=torch.float64, generator=generator)
    r = run.log_prob(u.to(run.dtype)).double() - target.known.log_prob(u)
    square = r.square()
    return {
        "square": float(square.mean()),
        "square_error": float(square.std()) / math.sqrt(len(r)),
        "bias": float(r.mean()),
        "bias_error": float(r.std()) / math.sqrt(len(r)),
    }


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of all rows."""
    return table(COLUMNS, map(line_of, rows))


def line_of(r: Mapping[str, Any]) -> list[object]:
    """The cells of a row; empty where a number was not finite or is not known."""
    log_z, variance = "", ""
    if "target_log_z" in r:
        off = r["target_log_z"] - r.get("target_log_z_true", 0.0)
        log_z = f"{off:.3f} ± {r['target_log_z_error']:.3f}"
        log_z += "" if "target_log_z_true" in r else " (log Z)"
    if "square" in r:
        variance = f"{r['square'] - r['bias'] ** 2:.3g}"
    first = [r["data"], r["particles"], r["seed"], f"{r['target_evaluations']:.0f}", log_z]
    ess = f"{r['proposal_ess']:.3g}" if "proposal_ess" in r else ""
    return [
        *first,
        _with_error(r, "square"),
        variance,
        _with_error(r, "target_kl"),
        ess,
        f"{r['seconds']:.0f}",
    ]


def _with_error(r: Mapping[str, Any], name: str) -> str:
    return f"{r[name]:.3g} ± {r[f'{name}_error']:.1g}" if name in r else ""


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--targets", nargs="*", default=TARGETS, help="NAME or NAME:DIM")
    parser.add_argument("--particles", type=int, default=8192)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("runs/energies"), help="runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/energies_density.jsonl"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cases = list(_cases(a.targets, a.particles, a.seeds))
    with threadpool_limits(1), Progress(console=Console(stderr=True)) as bar:
        tracked = bar.track(cases, description="rows")
        rows = measured(a.out, tracked, lambda **case: measure(**case, folder=a.data))
    print(shown(rows))


def _cases(targets: Sequence[str], particles: int, seeds: int) -> Iterator[dict[str, Any]]:
    for seed, data in product(range(seeds), targets):
        yield {"data": data, "particles": particles, "seed": seed}


if __name__ == "__main__":
    main()
