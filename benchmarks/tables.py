"""Tables: densities of real rows and known mixtures, and one-class outlier detection, in one run.

    pip install .[benchmarks]
    python -m benchmarks.tables                                   # every density: an hour
    python -m benchmarks.tables --only wgflow "spline flow" --sets ccpp mix10 mix60
    python -m benchmarks.tables --sets mix10 mix30 --mixture-seed 3
    python -m benchmarks.tables --adbench FOLDER --seeds 3        # and outliers of ADBench's .npz

One protocol for all. Densities: the mean of ``-log p`` over the rows for tests, in nats and in the
units of the table, with its standard error over rows. Where the density of the data p is known,
the Kullback-Leibler divergence is the mean of ``log p - log q``; the mass of the model q, one if
it is normalised, the mean of ``q/p``; the shares of the modes those of samples and, weighting the
rows for tests by ``q/p``, those of q itself, with the effective share of such rows. Outliers: the
area under the ROC curve (AUROC) of a score learned from a random half of the normal rows, of the
other half and all anomalies; that of `Run.outlier_energy` for WGFlow.

CPU seconds are of this process, on one thread: of learning, with every choice that is made by the
data, and of scoring. Each finished row is appended to a JSON-lines file and is not repeated when
the command is given again; take a line out to have it measured anew.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from benchmarks.rows import measured
from benchmarks.tables_data import (
    DENSITIES,
    Mixture,
    drawn_anew,
    load,
    mixture,
    one_class,
    true_nll,
)
from benchmarks.tables_flows import SplineFlow, WGFlow
from benchmarks.tables_methods import (
    Fitted,
    Gaussian,
    GaussianMixture,
    KernelDensity,
    Method,
    Part,
)
from benchmarks.tables_outliers import IsolationForest, LocalOutliers, Neighbours
from benchmarks.tables_shown import shown
from wgflow.errors import WGFlowError

DENSITY_METHODS: Mapping[str, Method] = {
    "gaussian": Gaussian(),
    "gaussian mixture": GaussianMixture(),
    "kernels": KernelDensity(),
    "spline flow": SplineFlow(),
    "wgflow": WGFlow(),
}
OUTLIER_METHODS: Mapping[str, Method] = {
    "nearest neighbours": Neighbours(),
    "nearest neighbours, mean": Neighbours(mean=True),
    "local outlier factor": LocalOutliers(),
    "isolation forest": IsolationForest(),
    "kernels": KernelDensity(whiten=False),
    "gaussian": Gaussian(shrink=True),
    "spline flow": SplineFlow(seconds=20.0),
    "wgflow": WGFlow(),
}
SAMPLES = 5000


def settings(method: Method) -> dict[str, Any]:
    """The settings of a method as they come back from a file."""
    return json.loads(json.dumps(asdict(method)))  # pyright: ignore[reportArgumentType]


def of_density(fitted: Fitted, test: np.ndarray, law: Mixture | None, seed: int) -> dict[str, Any]:
    """The protocol's numbers for a density; see the top of the file."""
    assert fitted.log_prob is not None
    start = time.process_time()
    log_q = fitted.log_prob(test)
    found = {"nll": -float(log_q.mean()), "nll_error": _error(log_q)}
    found |= {"scoring": time.process_time() - start, **fitted.told()}
    return found if law is None else found | of_truth(fitted, test, log_q, law, seed)


def of_truth(
    fitted: Fitted, test: np.ndarray, log_q: np.ndarray, law: Mixture, seed: int
) -> dict[str, Any]:
    """Divergence from a known law, mass, and shares of the modes."""
    assert fitted.sample is not None
    gap = law.log_prob(test) - log_q
    ratio = np.exp(-gap)
    density = ratio @ law.parts(test) / ratio.sum()
    samples = law.parts(fitted.sample(SAMPLES, 1000 + seed)).mean(0)
    return {
        "true_nll": -float(law.log_prob(test).mean()),
        "kl": float(gap.mean()),
        "kl_error": _error(gap),
        "mass": float(ratio.mean()),
        "mass_error": _error(ratio),
        "effective": float(ratio.sum() ** 2 / (ratio**2).sum() / len(ratio)),
        "shares": law.weights.tolist(),
        "shares_samples": samples.tolist(),
        "shares_density": density.tolist(),
    }


def _error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(len(values)))


def of_outliers(fitted: Fitted, test: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The areas of the scores of a method."""
    start = time.process_time()
    found: dict[str, Any] = {"auroc": float(roc_auc_score(y, fitted.score(test)))}
    found["scoring"] = time.process_time() - start
    if fitted.others is not None:
        scores = fitted.others(test)
        found["others"] = {name: float(roc_auc_score(y, s)) for name, s in scores.items()}
    return found


class Bench:
    """What is measured: sets by name, and where their files are.

    Args:
        folder: of tables and runs, made where it is missing.
        adbench: of ADBench's arrays; None without them.
        changes: of the defaults of WGFlow, ``key=value`` each.
    """

    def __init__(self, folder: Path, adbench: Path | None, changes: Iterable[str] = ()) -> None:
        self.folder = folder
        arrays = [] if adbench is None else adbench.glob("*.npz")
        self.anomalies = {file.stem: file for file in sorted(arrays, key=_number)}
        self.changes = tuple(changes)

    @property
    def sets(self) -> list[str]:
        """The rows of the table of densities, and the sets with anomalies that were found."""
        return [*DENSITIES, *self.anomalies]

    def methods(self, data: str) -> dict[str, Method]:
        """What competes on a set."""
        methods = OUTLIER_METHODS if data in self.anomalies else DENSITY_METHODS
        return {**methods, "wgflow": WGFlow(self.changes)}

    def cases(
        self, names: Iterable[str], sets: Iterable[str], seeds: int
    ) -> Iterator[dict[str, Any]]:
        """The keys of the rows; a method is left out where it does not compete."""
        for seed in range(seeds):
            for data in sets:
                methods = self.methods(data)
                for name in (n for n in names if n in methods):
                    chosen = settings(methods[name])
                    yield {"name": name, "data": data, "seed": seed, "settings": chosen}

    def measure(self, name: str, data: str, seed: int, settings: Any) -> dict[str, Any]:
        """Learn and score; the rest of a row."""
        method, outliers = self.methods(data)[name], data in self.anomalies
        task = {"task": "outliers" if outliers else "density"}
        try:
            found = (self._outliers if outliers else self._density)(method, data, seed)
        except (ArithmeticError, ValueError, WGFlowError) as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        return task | found

    def _density(self, method: Method, data: str, seed: int) -> dict[str, Any]:
        table = load(data, self.folder)
        fitted, seconds = _timed(method, Part(data, *table, seed, self.folder))
        scored = of_density(fitted, table.test, mixture(data), seed) | true_nll(data, table.test)
        return {"d": table.train.shape[1], "seconds": seconds, **scored}

    def _outliers(self, method: Method, data: str, seed: int) -> dict[str, Any]:
        train, test, y = one_class(self.anomalies[data], seed)
        columns = tuple(f"x{i}" for i in range(train.shape[1]))
        part = Part(f"{data}-{seed}", columns, train, train, seed, self.folder)
        fitted, seconds = _timed(method, part)
        scored = of_outliers(fitted, test, y)
        return {"d": train.shape[1], "seconds": seconds, **scored}


def _timed(method: Method, part: Part) -> tuple[Fitted, float]:
    start = time.process_time()
    return method.fit(part), time.process_time() - start


def _number(file: Path) -> tuple[int, str]:
    first = file.stem.split("_")[0]
    return int(first) if first.isdigit() else 0, file.stem


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    known = [*DENSITY_METHODS, *(n for n in OUTLIER_METHODS if n not in DENSITY_METHODS)]
    parser.add_argument("--only", nargs="*", default=known, choices=known, help="methods")
    parser.add_argument(
        "--sets",
        nargs="*",
        help="of the tables, mixD, toy sets joined by +, or stems of .npz files",
    )
    parser.add_argument("--mixture-seed", type=int, default=0, help="another law of mixtures")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of wgflow")
    parser.add_argument("--data", type=Path, default=Path("runs/tables"), help="tables and runs")
    parser.add_argument("--adbench", type=Path, help="folder of ADBench's .npz files")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tables.jsonl"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    bench = Bench(a.data, a.adbench, a.set)
    names = bench.sets if a.sets is None else a.sets
    sets = [drawn_anew(name, a.mixture_seed) for name in names]
    cases = list(bench.cases(a.only, sets, a.seeds))
    with threadpool_limits(1), Progress(console=Console(stderr=True)) as bar:
        rows = measured(a.out, bar.track(cases, description="rows"), bench.measure)
    print(shown(rows))


if __name__ == "__main__":
    main()
