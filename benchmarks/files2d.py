"""Points of the plane in a file: the recipe that the command takes, beside `plane`.

    python -m benchmarks.files2d
    python -m benchmarks.files2d --data moons --rows-of 10000 --only plane

Rows of a toy set, of which the command is told nothing but the file. KL gap: the mean of
``log p - log q`` on 20,000 fresh points, in nats, with its standard error. Sliced W2: 5000 fresh
samples of the model against 5000 exact points, 1000 projections; its floor is the same number
between two exact sets. CPU seconds are of this process, on one thread, of learning with every
choice by the data. Finished rows are kept in a JSON-lines file and not measured again.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import measured, table
from wgflow.config.recipes import by_rows, configure
from wgflow.data.toys import TOYS
from wgflow.metrics.samples import SlicedWasserstein
from wgflow.runs.fit import fit
from wgflow.runs.run import Run

POINTS, FRESH, SAMPLES = (3_000, 10_000, 40_000), 20_000, 5_000
RECIPES = {"by rows": None, "plane": "plane"}


def measure(data: str, rows: int, recipe: str, seed: int, *settings: str) -> dict[str, Any]:
    """Learn from a file of so many rows, and compare with fresh ones: a row of the table."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x = TOYS[data]().sample(rows, dtype=torch.float64, generator=generator)
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "rows.npy"
        np.save(file, x.numpy())
        begun = time.process_time()
        config = configure(str(file), RECIPES[recipe], f"seed={seed}", *settings)
        run = fit(config, Path(home) / "run")
        seconds = time.process_time() - begun
        return {**compared(run, data, generator), "cpu_s": round(seconds, 1)}


@torch.no_grad()
def compared(run: Run, data: str, generator: torch.Generator) -> dict[str, float]:
    """The scores of a run, from fresh points of the law."""
    law, metric = TOYS[data](), SlicedWasserstein(projections=1000)
    fresh = law.sample(FRESH, dtype=torch.float64, generator=generator)
    log_q = torch.cat([run.log_prob(part.to(run.dtype)) for part in fresh.split(4096)])
    gap = law.log_prob(fresh) - log_q.double()
    first, other = fresh[:SAMPLES], fresh[SAMPLES : 2 * SAMPLES]
    drawn = run.sample(SAMPLES, generator=generator).to(first)
    found = {"kl": gap.mean(), "error": gap.std() / FRESH**0.5}
    found |= {"sliced_w2": metric(drawn, first), "floor": metric(other, first)}
    return {name: round(float(value), 5) for name, value in found.items()}


def shown(rows: list[dict[str, Any]]) -> Iterator[list[object]]:
    """Lines of the table: a set and its number of rows, with a cell for each recipe."""
    for data, count in dict.fromkeys((row["data"], row["rows"]) for row in rows):
        found = {r["recipe"]: r for r in rows if (r["data"], r["rows"]) == (data, count)}
        cells = (cell(found[recipe]) if recipe in found else "" for recipe in RECIPES)
        yield [data, f"{count:,}", f"`{by_rows(count)}`", *cells]


def cell(row: dict[str, Any]) -> str:
    """Divergence with its error, sliced W2 over its floor, and CPU seconds."""
    ratio = row["sliced_w2"] / row["floor"]
    return f"{row['kl']:.4f} ± {row['error']:.4f}, {ratio:.2f} ({row['cpu_s']:.0f})"


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    usual = ["moons", "eight-gaussians", "two-spirals", "checkerboard"]
    parser.add_argument("--data", nargs="*", default=usual, choices=list(TOYS))
    parser.add_argument("--rows-of", nargs="*", type=int, default=list(POINTS))
    parser.add_argument("--only", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/files2d.jsonl"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cases = [
        {"data": data, "rows": count, "recipe": recipe, "seed": 0}
        for count in asked.rows_of
        for data in asked.data
        for recipe in asked.only
    ]
    rows = measured(asked.rows, cases, measure)
    print(table(["set", "rows", "recipe by rows", *RECIPES], shown(rows)))


if __name__ == "__main__":
    main()
