"""The tables of the benchmark: real ones from packages, mixtures of known density, anomalies.

Every column of a real table gets uniform noise as wide as its resolution, so that it has a
density. A share of the rows, of one class where that is said, is for tests. Both by seed 0: all
methods and all machines see the same rows. They are kept as ``NAME_train.csv`` and
``NAME_test.csv`` in a folder, and read from there.

ADBench's arrays are in no package: ``.npz`` files with X and y, y = 1 for anomalies.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from benchmarks.tables_real import MANY, REAL
from wgflow.data.table_files import read_table
from wgflow.data.targets import Target
from wgflow.data.toys import TOYS

WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])
"""Of the parts of a known mixture."""
TRAIN, TEST = 20_000, 5000
"""Rows drawn from it."""
LARGE = 100_000
"""Rows to learn from that are drawn from a product of toy sets."""


class Table(NamedTuple):
    """Rows to learn from and rows to score, float64, with the names of their columns."""

    columns: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray


def load(name: str, folder: Path) -> Table:
    """The table of a name of `REAL`, ``mixD-SEED`` or toy sets joined by +, made if it is missing.

    Raises:
        ValueError: on another name.
    """
    files = files_of(name, folder)
    if not all(file.exists() for file in files):
        write(make(name), files)
    tables = [read_table(file) for file in files]
    train, test = (np.stack([c.to_numpy() for c in table.columns], 1) for table in tables)
    columns = tuple(tables[0].column_names)
    return Table(columns, train, test)


def files_of(name: str, folder: Path) -> tuple[Path, Path]:
    """Where the rows to learn from and the rows to score are kept."""
    return folder / f"{name}_train.csv", folder / f"{name}_test.csv"


def write(table: Table, files: tuple[Path, Path]) -> None:
    """The table as two files, every digit kept."""
    for rows, file in zip((table.train, table.test), files, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        csv.write_csv(pa.table(dict(zip(table.columns, rows.T, strict=True))), file)


def make(name: str) -> Table:
    """The table of a name, from its package or its law."""
    if law := mixture(name):
        columns = tuple(f"v{i}" for i in range(law.means.shape[1]))
        return Table(columns, *law.draws)
    if laws := product(name):
        generator = torch.Generator().manual_seed(0)
        train, test = (
            np.concatenate([law.sample(n, generator=generator).numpy() for law in laws], 1)
            for n in (LARGE, TEST)
        )
        return Table(tuple(f"v{i}" for i in range(train.shape[1])), train, test)
    tables = REAL | MANY
    if name not in tables:
        expected = f"{', '.join(tables)}, mixD or toy sets joined by +"
        raise ValueError(f"`sets` must be {expected}: got {name!r}.")
    columns, rows, inside, share = tables[name]()
    noisy = dequantised(rows)
    test, train = split(np.flatnonzero(inside), share)
    return Table(columns, noisy[train], noisy[test])


def product(name: str) -> list[Target]:
    """The laws of the pairs of columns of toy sets joined by +; none of another name."""
    parts = name.split("+")
    return [TOYS[part]() for part in parts] if set(parts) <= set(TOYS) else []


def true_nll(name: str, test: np.ndarray) -> dict[str, float]:
    """What the law itself scores on points of such a product; nothing of another name."""
    pairs = torch.from_numpy(test).split(2, 1)
    values = [law.log_prob(x) for law, x in zip(product(name), pairs, strict=False)]
    return {"true_nll": -float(torch.stack(values).sum(0).mean())} if values else {}


def split(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices for tests, a share of them at random, and the others."""
    order = np.random.default_rng(0).permutation(rows)
    count = round(share * len(order))
    return order[:count], order[count:]


def dequantised(rows: np.ndarray) -> np.ndarray:
    """The rows with uniform noise of one resolution in every column."""
    steps = np.array([resolution(column) for column in rows.T])
    return rows + np.random.default_rng(0).random(rows.shape) * steps


def resolution(column: np.ndarray) -> float:
    """The power of ten at or below the smallest gap between distinct values; 1 without any."""
    gaps = np.diff(np.unique(column))
    gaps = gaps[gaps > 1e-9 * max(1, np.abs(column).max())]  # not what rounding parts
    return float(10.0 ** np.floor(np.log10(gaps.min() * (1 + 1e-7)))) if len(gaps) else 1.0


@dataclass(frozen=True, eq=False)
class Mixture:
    """``p(x) = Σ_k w_k N(x; m_k, C_k)``, and points of it.

    Args:
        weights: ``w_k``, (K,).
        means: ``m_k``, (K, d).
        covariances: ``C_k``, (K, d, d).
        draws: rows to learn from, (n, d), and to score, (m, d).
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    draws: tuple[np.ndarray, np.ndarray]

    def log_parts(self, x: np.ndarray) -> np.ndarray:
        """``log w_k N(x; m_k, C_k)``, (n, K)."""
        factors = np.linalg.cholesky(self.covariances)
        u = [
            solve_triangular(f, (x - m).T, lower=True)
            for f, m in zip(factors, self.means, strict=True)
        ]
        log_det = np.log(factors.diagonal(axis1=1, axis2=2)).sum(1)
        squares = np.square(u).sum(1).T
        constant = x.shape[1] / 2 * np.log(2 * np.pi)
        return np.log(self.weights) - log_det - constant - squares / 2

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """``log p(x)``, (n,)."""
        return np.asarray(logsumexp(self.log_parts(x), 1))

    def parts(self, x: np.ndarray) -> np.ndarray:
        """The posterior ``w_k N(x; m_k, C_k) / p(x)``, (n, K), whose mean under p is w."""
        found = self.log_parts(x)
        return np.exp(found - logsumexp(found, 1, keepdims=True))


def mixture(name: str) -> Mixture | None:
    """The law of ``mixD`` or ``mixD-SEED``; None for other names.

    Four Gaussians of random means and axes, whose variances span .1 to 1.5, then each coordinate
    in a unit of its own. The modes are apart at every d: their means are 2 √(2d) apart at d = 10
    and 1.2 √(2d) elsewhere, in the mean.
    """
    if not (found := re.fullmatch(r"mix(\d+)(?:-(\d+))?", name)):
        return None
    d, seed = int(found[1]), int(found[2] or 0)
    rng, k = np.random.default_rng([d, seed] if seed else d), len(WEIGHTS)
    means = rng.normal(0, 2.0 if d == 10 else 1.2, (k, d))
    covariances = np.stack([_covariance(d, rng) for _ in range(k)])
    scale, shift = np.exp(rng.normal(0, 1.0, d)), rng.normal(0, 10, d)
    draws = [_draw(means, covariances, count, rng) * scale + shift for count in (TRAIN, TEST)]
    units = scale[:, None] * covariances * scale
    return Mixture(WEIGHTS, means * scale + shift, units, (draws[0], draws[1]))


def drawn_anew(name: str, seed: int) -> str:
    """The name of another law, for ``mixD``; other names, and the seed 0, change nothing."""
    return f"{name}-{seed}" if seed and re.fullmatch(r"mix\d+", name) else name


def _covariance(d: int, rng: np.random.Generator) -> np.ndarray:
    axes, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return axes @ np.diag(np.exp(rng.uniform(np.log(0.1), np.log(1.5), d))) @ axes.T


def _draw(
    means: np.ndarray, covariances: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    k = rng.choice(len(means), count, p=WEIGHTS)
    z = rng.standard_normal((count, means.shape[1]))
    x = np.empty_like(z)
    for part, covariance in enumerate(covariances):
        # The root of `Generator.multivariate_normal`, so that seeds give the points it would.
        u, s, _ = np.linalg.svd(covariance)
        x[k == part] = means[part] + z[k == part] @ (u * np.sqrt(s)).T
    return x


DENSITIES = (*REAL, "mix10", "mix30")
"""The rows of the table of densities."""


class OneClass(NamedTuple):
    """Normal rows to learn from, and rows to score, of which ``y = 1`` are anomalies."""

    train: np.ndarray
    test: np.ndarray
    y: np.ndarray


def one_class(file: Path, seed: int) -> OneClass:
    """The clean protocol: a random half of the normal rows to learn from, all others to score."""
    with np.load(file, allow_pickle=False) as arrays:
        x, y = arrays["X"].astype(float), arrays["y"].astype(int)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    half = len(order) // 2
    test = np.concatenate([order[half:], np.flatnonzero(y == 1)])
    return OneClass(x[order[:half]], x[test], y[test])
