"""Given energies: samples, log Z and shares of modes, at equal numbers of evaluations of V.

    pip install .[benchmarks]
    python -m benchmarks.energies --data FOLDER                    # everything: hours
    python -m benchmarks.energies --only "annealed SMC" "near-proximal flow" --targets gmm:20 dw4
    python -m benchmarks.energies --particles 2000 --targets gmm:10

Every method returns as many equally weighted points, in double precision on one thread. Annealed
SMC and the other methods of the package take what evaluations of V they need; single chains and
the samplers of other libraries get as many per point as annealed SMC took on that target, with a
gradient or without. Evaluations are counted, and stand beside each score.

Energy distance: the U-statistic of ``2E|X-Y| - E|X-X'| - E|Y-Y'|``, of mean zero for exact
points; beside its floor, that of as many exact draws. Published rows are half of the V-statistic,
which for n exact points on both sides is E|X-X'|/n, of their floors; "as published" is ours in
that form. Sliced W2 and, of particles, energy-W2 likewise. Shares of modes: the largest error.
log Z: value less truth, where it is known; the sandwich of bounds, where there is one.

Reference draws, FOLDER: ``dw4.npy``, ``lj13.npy`` (of any shape with as many numbers a row as
points have), ``german_credit10k.npy`` and its ``german.data-numeric``. They are halved: points
are scored against the first half, and the floor is that of the second. Particles are exchanged at
random on both sides. Energy-W2 of 1000 against 1000 is the mean over blocks.

Each finished row is appended to a JSON-lines file and is not repeated when the command is given
again; take a line out to have it measured anew.
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.energies_methods import BUDGET, samplers
from benchmarks.energies_shown import shown
from benchmarks.rows import measured
from wgflow.metrics.pairwise import pairwise_distances
from wgflow.metrics.sampled import EnergyWasserstein, mode_shares
from wgflow.metrics.samples import EnergyDistance, Metric, SlicedWasserstein, halves
from wgflow.montecarlo.base import Counted, Problem, Sampled
from wgflow.storage.folder import read_lines
from wgflow.targets.base import TargetEnergy
from wgflow.targets.catalogue import named

TARGETS = (
    *("mustache", "gmm:20", "gmm:50", "gmm:100", "25-gaussians", "two-modes"),
    *("dw4", "lj13", "breast-cancer", "german-credit", "funnel:10", "eight-schools"),
    *("many-well", "spike-and-slab"),
)
DRAWS = {"dw4": "dw4.npy", "lj13": "lj13.npy", "german-credit": "german_credit10k.npy"}
TABLE = "german.data-numeric"
BLOCK = 1000
"""Points of either side of energy-W2 as published."""


class Bench:
    """What is measured, and where reference draws are.

    Args:
        data: folder of reference draws; None without them.
        out: file of rows, where the evaluations of annealed SMC are looked up.
    """

    def __init__(self, data: Path | None, out: Path) -> None:
        self.data, self.out = data, out
        self.exact = cache(self._exact)
        self.floors = cache(self._floors)

    def target(self, name: str) -> TargetEnergy:
        """A target by NAME or NAME:DIM."""
        name, _, dim = name.partition(":")
        file = None
        if name == "german-credit":
            if self.data is None:
                raise SystemExit(f"german-credit needs --data, a folder with {TABLE}.")
            file = self.data / TABLE
        return named(name, int(dim) if dim else None, file)

    def cases(
        self, only: Iterable[str], targets: Iterable[str], particles: int, seeds: int
    ) -> Iterator[dict[str, Any]]:
        """The keys of the rows; annealed SMC first where others get its evaluations."""
        for seed in range(seeds):
            for target in targets:
                known = samplers(target)
                chosen = [name for name in known if name in set(only)]
                if any(known[name].budgeted for name in chosen) and BUDGET not in chosen:
                    chosen.insert(0, BUDGET)
                for name in chosen:
                    case = {"name": name, "data": target, "particles": particles, "seed": seed}
                    yield case

    def measure(self, name: str, data: str, particles: int, seed: int) -> dict[str, Any]:
        """Sample and score; the rest of a row."""
        target, sampler = self.target(data), samplers(data)[name]
        budget = self.budget(data, particles, seed) if sampler.budgeted else math.nan
        energy = Counted(target.reduced)
        like = torch.empty(0, target.free, dtype=torch.float64)
        start = time.process_time()
        try:
            found = sampler.sample(Problem(energy, target.start, like), particles, budget, seed)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        row: dict[str, Any] = {"d": target.dim, "seconds": time.process_time() - start}
        row["evaluations"] = energy.evaluations / particles
        if lost := int((~found.x.isfinite()).any(1).sum()):
            return row | {"error": f"{lost} of {particles} points are not finite"}
        return row | of_log_z(target, found) | self.of_points(data, target, found, seed)

    def budget(self, data: str, particles: int, seed: int) -> float:
        """Evaluations per point of annealed SMC on that target."""
        same = {"name": BUDGET, "data": data, "particles": particles, "seed": seed}
        for row in read_lines(self.out):
            if same.items() <= row.items() and "evaluations" in row:
                return float(row["evaluations"])
        raise SystemExit(f"{self.out} has no row of {BUDGET} that succeeded on {data}.")

    def of_points(
        self, data: str, target: TargetEnergy, found: Sampled, seed: int
    ) -> dict[str, Any]:
        """Shares of modes, and distances to exact draws."""
        x = exchanged(target, target.lift(found.x), 1)
        row: dict[str, Any] = {"ess": _finite(found.ess / len(x))}
        if target.modes is not None and target.modes.masses is not None:
            shares = mode_shares(x, target.modes.centers.to(x)).shares.double()
            row["shares"] = shares.tolist()
            row["share_error"] = float((shares - target.modes.masses.double()).abs().max())
        exact = self.exact(data, len(x), seed)
        if exact is None:
            return row
        first, _ = exact
        for name, metric in metrics(target).items():
            row[name] = float(metric(x[: len(first)], first))
        row |= self.floors(data, len(x), seed)
        spread = row["energy_distance_floor_published"]
        row["energy_distance_published"] = row["energy_distance"] / 2 + spread
        if target.system is not None:
            row |= energy_w2_of_blocks(target, x, first)
        return row

    def _exact(self, data: str, count: int, seed: int) -> tuple[Tensor, Tensor] | None:
        """Two sets of exact draws, in random order; None where there are none."""
        target = self.target(data)
        if target.known is not None:
            generator = torch.Generator().manual_seed(10**6 + seed)
            u = target.known.sample(2 * count, dtype=torch.float64, generator=generator)
            first, second = target.lift(u).chunk(2)
            return first, second
        if self.data is None or data not in DRAWS:
            return None
        rows = torch.from_numpy(np.load(self.data / DRAWS[data])).double()
        x = target.lift(target.project(rows.reshape(len(rows), target.dim)))
        first, second = halves(exchanged(target, x, 2), seed=seed)
        return first[:count], second[:count]

    def _floors(self, data: str, count: int, seed: int) -> dict[str, float]:
        """Of every metric, that of exact draws; and the published kind, E|X-X'|/n."""
        exact = self.exact(data, count, seed)
        assert exact is not None
        first, second = exact
        found = {
            f"{name}_floor": float(metric(second, first))
            for name, metric in metrics(self.target(data)).items()
        }
        some = min(2000, len(first))
        mean = float(pairwise_distances(first[:some], second[:some]).mean())
        return found | {"energy_distance_floor_published": mean / len(first)}


def installed(names: Iterable[str]) -> list[str]:
    """The methods whose library is there; a sentence for each of the others."""
    known, found = samplers(""), []
    for name in names:
        if (library := known[name].library) and find_spec(library) is None:
            print(f"{name} is left out: the module {library} is not installed.")
        else:
            found.append(name)
    return found


def metrics(target: TargetEnergy) -> dict[str, Metric]:
    """Distances of points; those of V where points are particles."""
    plain: dict[str, Metric] = {
        "energy_distance": EnergyDistance(),
        "sliced_w2": SlicedWasserstein(projections=200),
    }
    of_energy = {"energy_w2": EnergyWasserstein(target.energy)}
    return plain if target.system is None else plain | of_energy


def exchanged(target: TargetEnergy, x: Tensor, seed: int) -> Tensor:
    """Points in random order, of particles in random order: all that a symmetry leaves open."""
    generator = torch.Generator().manual_seed(seed)
    x = x[torch.randperm(len(x), generator=generator)]
    return x if target.system is None else target.system.exchanged(x, generator=generator)


def of_log_z(target: TargetEnergy, found: Sampled) -> dict[str, Any]:
    """``log Z``, its bounds, and how far it is from the truth."""
    value, error, lower, upper = map(_finite, found.log_z)
    row = {"log_z": value, "log_z_error": error, "log_z_lower": lower, "log_z_upper": upper}
    if target.known is not None and value is not None:
        row["log_z_off"] = value - target.known.log_z
    return row


def energy_w2_of_blocks(target: TargetEnergy, x: Tensor, exact: Tensor) -> dict[str, float]:
    """Energy-W2 of a thousand points against a thousand, a mean over blocks and its error.

    Its floor is that of each block of exact draws against the next one.
    """
    size = min(BLOCK, len(x), len(exact) // 2)
    metric, blocks = EnergyWasserstein(target.energy), exact.split(size)
    pairs = [(a, b) for a, b in zip(x.split(size), blocks, strict=False) if len(a) == len(b)]
    next_ones = [(a, b) for a, b in pairwise(blocks) if len(a) == len(b)]
    found = {}
    for name, some in {"energy_w2_blocks": pairs, "energy_w2_blocks_floor": next_ones}.items():
        values = torch.stack([metric(a, b) for a, b in some])
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        found |= {name: float(values.mean()), f"{name}_error": _finite(error)}
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    known = list(samplers("gmm"))
    parser.add_argument("--only", nargs="*", default=known, choices=known, help="methods")
    parser.add_argument("--targets", nargs="*", default=TARGETS, help="NAME or NAME:DIM")
    parser.add_argument("--particles", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of reference draws")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/energies.jsonl"))
    a = parser.parse_args()
    methods = installed(a.only)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    bench = Bench(a.data, a.out)
    cases = list(bench.cases(methods, a.targets, a.particles, a.seeds))
    with threadpool_limits(1), Progress(console=Console(stderr=True)) as bar:
        rows = measured(a.out, bar.track(cases, description="rows"), bench.measure)
    print(shown(rows))


if __name__ == "__main__":
    main()
