"""Do long chains stay with the data? Langevin chains of a run of images, from noise and from data.

    python -m benchmarks.long_run DIR --steps 10000 --chains 64

From noise the chains take the way to the data first. At a few lengths: the potential V = εE (of
energies of levels of noise E itself), the share of pixels outside the range of the data by more
than four widths of the wells, and the kernel distance to test images in the features of the
classifier, without the thermal noise: after 20 steps of descent, or as the mean of what is under
it. Chains keep much of where they began, so how that distance changed since their first step is
known better than the distance itself: its error is a jackknife over chains. Pictures are written
beside the table.

The steps of ULA are as large as an eighth of the variance of the noise, which makes it 7 % too
large. Crank-Nicolson's are twice as large and exact, so that chains are further after as many.
"""

import argparse
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import line, table
from wgflow.config import MIXED
from wgflow.data.arrays import write_points
from wgflow.energies.noise_levels import denoised
from wgflow.energies.precision import halved
from wgflow.flows import HeatFlow, MatchedPath
from wgflow.flows.path import SHARE
from wgflow.metrics.features import extract
from wgflow.metrics.fidelity import Estimate, kernel_distance
from wgflow.runs.image_scores import classifier_of, sharp
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.samplers import ULA, CrankNicolson, Sampler, iterate
from wgflow.samplers.descent import anneal

LENGTHS = (1, 100, 300, 1000, 3000, 10_000)
COLUMNS = (
    *("start", "steps", "accepted", "V", "pixels outside"),
    *("kernel ± error", "change ± error"),
)
STEP = 0.025
"""Of the path's unit time."""


class Chains(NamedTuple):
    """How long chains of a run are made, in standardised units.

    Attributes:
        scale: ε of V, or 1.
        width: of the wells.
        begin: points at the end of the way from noise.
        clean: takes the thermal noise off.
    """

    scale: float
    width: float
    begin: Callable[[int, torch.Generator], Tensor]
    clean: Callable[[Tensor], Tensor]


def chains_of(run: Run) -> Chains:
    """Chains in wells of matched paths, or at the lowest level of noise."""
    energy, flow = run.energy.energy, run.flow
    if isinstance(flow, HeatFlow):
        lowest = flow.levels.lowest
        way = HeatFlow(energy, flow.levels, langevin=1)
        return Chains(
            1.0,
            lowest,
            lambda n, g: way.sample(run.like(n), generator=g),
            lambda x: denoised(energy, x, lowest),
        )
    assert isinstance(flow, MatchedPath)
    eps, path = flow.paths.temperature, flow

    def begin(count: int, generator: torch.Generator) -> Tensor:
        return path.sample(run.like(count), generator=generator)

    def clean(x: Tensor) -> Tensor:
        *_, end = anneal(energy, x, [0.0] * 20, step=STEP * eps)
        return end

    return Chains(eps, path.paths.variance**0.5, begin, clean)


def changed(first: Tensor, now: Tensor, real: Tensor) -> Estimate:
    """The kernel distance of ``now`` less that of ``first``, features of the same chains."""

    def change(keep: Tensor) -> Tensor:
        ends = (kernel_distance(x[keep], real).value for x in (now, first))
        return next(ends) - next(ends)

    count = len(now)
    everyone = torch.arange(count)
    without = torch.stack([change(everyone[everyone != k]) for k in range(count)])
    error = ((count - 1) * without.var(correction=0)).sqrt()
    return Estimate(change(everyone), error)


def sampler_of(name: str, width: float) -> Sampler[Any]:
    """A sampler for laws with noise of a width."""
    if name == "ula":
        return ULA(SHARE * width**2)
    return CrankNicolson(width**2 / 4, width=width, adaptation=0.0)


def chains(run: Run, start: str, kind: str, count: int, steps: int, out: Path) -> None:
    dataset, energy, how = sharp(run), run.energy.energy, chains_of(run)
    generator = torch.Generator().manual_seed(0)
    if start == "noise":
        x = how.begin(count, generator)
    else:
        x = dataset.standardise(dataset.test[:count])
    features = classifier_of(dataset)
    real = extract(features, dataset.test[1000:3000].clamp(0, 1))
    pictures, taken, first = [], 0, None
    sampler, accepted = sampler_of(kind, how.width), 0.0
    for state, info in islice(iterate(sampler, energy, x, generator=generator), steps):
        taken += 1
        accepted += float(info.acceptance.mean())
        if taken not in LENGTHS:
            continue
        images = dataset.unstandardise(how.clean(state.x)).clamp(0, 1)
        found = extract(features, images)
        first = found if first is None else first
        distance, change = kernel_distance(found, real), changed(first, found, real)
        v, outside = how.scale * state.energy, (state.x.abs() > 1 + 4 * how.width).double().mean()
        energies = f"{v.mean():.1f} ± {v.std():.1f}"
        kernels = (f"{e.value:.3f} ± {e.error:.3f}" for e in (distance, change))
        cells = (start, taken, f"{accepted / taken:.2f}", energies, f"{outside:.1e}", *kernels)
        print(line(cells), flush=True)
        pictures.append(images[:16].numpy())
    write_points(out / f"long-{start}.png", np.concatenate(pictures), across=16)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", help="a run folder, or the name of a pretrained energy")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--start", nargs="*", default=["noise", "data"], help="where chains begin")
    parser.add_argument("--sampler", choices=["ula", "crank-nicolson"], default="ula")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    a.out.mkdir(parents=True, exist_ok=True)
    run = load(a.run)
    print(table(COLUMNS, []))
    with halved(run.config.dtype == MIXED):
        for start in a.start:
            chains(run, start, a.sampler, a.chains, a.steps, a.out)


if __name__ == "__main__":
    main()
