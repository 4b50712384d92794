"""Is anything silently wrong? Runs that go well and runs that cannot, and what they say of it.

    python -m benchmarks.silent --seeds 1            # every case that has no row yet
    python -m benchmarks.silent --schemes near-proximal --cases outlier

Each case is `wgflow train FILE --json` in this process, small and short, on 5000 rows of a set in
the plane, of which the command is told nothing. What it says is set against the truth: the KL
divergence of ``log_prob`` on 2000 fresh points, and the sliced W2 of fresh samples over its floor,
of ``asinh`` of the standardised coordinates, so that a few points far away decide nothing.

A run is wrong when its KL divergence is beyond `FAR`, or its distance is beyond `FARTHER` floors
and beyond chance; it rings when its exit code is not 0. An outlier that the data have is no fault
of samples that have it as often. Rows are kept and not measured again; they hold the scores, of
which the tables take the alarms anew. Cases come in random order, so that those before
`--at-most` are spread over all of them.
"""

import argparse
import contextlib
import json
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typer.testing import CliRunner

from benchmarks.rows import measured, table
from wgflow.cli import app
from wgflow.config.recipes import configure
from wgflow.data.toys import TOYS
from wgflow.metrics import alarms
from wgflow.metrics.chance import QUICK, chance
from wgflow.metrics.samples import SlicedWasserstein
from wgflow.report import finish
from wgflow.runs import evaluate
from wgflow.runs.load import load

ROWS, FRESH = 5000, 2000
FAR = 0.5
"""Nats of KL divergence from which a density is wrong."""

NEAR = alarms.FAR
"""Nats up to which it is good: what the library itself demands where the law is known."""

FARTHER = 4.0
"""Floors from which samples are wrong; a good density has less than half as many."""

OUTLIER = 1e6
DRAWN = 5
"""Samples that may lie at the outlier: with its share of the rows more do in 4 of 10⁶ cases."""

MIDDLE = torch.tensor([0.5, 0.75], dtype=torch.float64)
"""Quantiles that coordinates are standardised by."""

TAILS = 0.1
"""Share of rows that are standard Cauchy in both coordinates."""

SMALL = [
    *("training.steps=200", "training.batch_size=256", "training.warmup=20"),
    *("training.average=0.95", "training.checkpoint_every=100", "data.transform=auto"),
    *("energy.width=64", "energy.features=32"),
]
"""A short run."""

STOPPED = (130, 143)
"""Exit codes of Ctrl-C and SIGTERM."""

PARTICLES = "scheme.dynamics"
SCHEMES = {
    "near-proximal": [],
    "maximum-likelihood": ['scheme.kind="maximum-likelihood"'],
    "gradient-norm": ['scheme.kind="gradient-norm"'],
    "joint": ['scheme.kind="joint"'],
    "energy-matching": ['scheme.kind="energy-matching"'],
    "across-levels": [],
}
"""Settings of each scheme; the last is that of the recipe of tables."""

HOLDERS = {
    "joint": "scheme.equilibrium.dynamics",
    "across-levels": "scheme.scheme.dynamics",
    "energy-matching": None,
}
"""Where the particles of a scheme are, if not at its top."""

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "rate x 30": {},
    "rate x 300": {},
    "step x 30": {"sampler.step_size": 0.3},
    "16 particles": {"size": 16, "held_out": 16},
    "scale 1e6": {},
    "shift 1e8": {},
    "one outlier": {},
    "Cauchy tails": {},
}
"""Settings that a case changes, of particles where they have no room."""

TIMES = {"rate x 30": 30, "rate x 300": 300}
"""What a case multiplies the learning rate of the recipe by."""


def points(data: str, case: str, count: int, *, generator: torch.Generator) -> Tensor:
    """Rows of a set, of which some may have Cauchy tails, in its own units, float64."""
    x = TOYS[data]().sample(count, dtype=torch.float64, generator=generator)
    if case != "Cauchy tails":
        return x
    uniform = torch.rand(count, 3, dtype=torch.float64, generator=generator)
    far = torch.tan(torch.pi * (uniform[:, :2] - 0.5))
    return torch.where(uniform[:, 2:] < TAILS, far, x)


def log_prob(data: str, case: str, x: Tensor) -> Tensor:
    """Of the law of `points`."""
    known = TOYS[data]().log_prob(x)
    if case != "Cauchy tails":
        return known
    cauchy = -(torch.pi * (1 + x.square())).log().sum(1)
    return torch.logaddexp(known + np.log1p(-TAILS), cauchy + np.log(TAILS))


def units(case: str) -> tuple[float, float]:
    """Shift and scale of the numbers in the file."""
    return {"scale 1e6": (0.0, 1e6), "shift 1e8": (1e8, 3.0)}.get(case, (0.0, 1.0))


def settings(scheme: str, case: str) -> list[str]:
    """Words of the command line."""
    holder = HOLDERS.get(scheme, PARTICLES)
    small = {"size": 512, "held_out": 256} | ({"held_out_every": 10} if holder else {})
    if scheme == "across-levels":
        small["draws"] = 2048
    changes = (small if holder else {}) | CASES[case]
    recipe = "tables" if scheme == "across-levels" else "plane"
    if case in TIMES:
        rate = configure("moons", recipe).training.learning_rate
        changes["training.learning_rate"] = TIMES[case] * rate
    words = [*SMALL, *SCHEMES[scheme]]
    for key, value in changes.items():
        inner = not key.startswith("training")
        if inner and (holder is None or (scheme == "across-levels" and "sampler" in key)):
            continue  # it has no such particles
        words.append(f"{holder}.{key}={value}" if inner else f"{key}={value}")
    given = [part for word in words for part in ("--set", word)]
    return [*given, "--config", recipe]


def measure(data: str, case: str, scheme: str, seed: int) -> dict[str, Any]:
    """What the command says, and what is true: a row."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as home:
        file, out = Path(home) / "rows.npy", Path(home) / "run"
        generator = torch.Generator().manual_seed(seed)
        x, (shift, scale) = points(data, case, ROWS, generator=generator), units(case)
        if case == "one outlier":
            x[0] += OUTLIER * x.std(0)
        np.save(file, (shift + scale * x).numpy())
        words = ["train", str(file), "--out", str(out), "--json", "--no-report"]
        result = CliRunner().invoke(
            app, [*words, "--seed", str(seed), *settings(scheme, case)], catch_exceptions=True
        )
        if result.exit_code in STOPPED:  # it says nothing of the case
            raise SystemExit(result.exit_code)
        said = told(result)
        true = truth(out, data, case, seed) if said["scored"] else {}
    return said | true | {"seconds": round(time.process_time() - begun, 1)}


def told(result: Any) -> dict[str, Any]:
    """The exit code, the alarms, and the last line of a run that has no scores."""
    if not result.stdout.startswith("{"):
        last = (result.stderr.strip().splitlines() or [""])[-1]
        if not isinstance(result.exception, SystemExit):
            last = f"Traceback: {result.exception!r}"
        return {"code": result.exit_code, "line": last[:300], "scored": False}
    told = json.loads(result.stdout)
    scores = {name: value for name, value in told.items() if isinstance(value, float)}
    return {"code": result.exit_code, "line": "", "scored": True, "scores": scores}


def rung(row: dict[str, Any]) -> dict[str, str]:
    """The alarms of a row, by name, with their grades."""
    return {
        alarm.name: alarm.grade for alarm in alarms.alarms(row.get("scores", {})) if alarm.grade
    }


@torch.no_grad()
def truth(path: Path, data: str, case: str, seed: int) -> dict[str, Any]:
    """``kl`` and ``distance`` of a run, from fresh points; none where there is no density."""
    run, (shift, scale) = load(path), units(case)
    generator = torch.Generator().manual_seed(10_000 + seed)
    fresh, other = (points(data, case, FRESH, generator=generator) for _ in "ab")
    x = run.sample(FRESH, generator=generator)
    drawn, center, width = (x.double() - shift) / scale, *fresh.quantile(MIDDLE, 0)

    def seen(x: Tensor) -> Tensor:
        return ((x - center) / (width - center)).asinh()

    metric = SlicedWasserstein()
    exact, u = torch.cat([seen(other), seen(fresh)]), seen(drawn)
    if case == "one outlier":
        u = without_outlier(u, seen(OUTLIER * fresh.std(0)))
    found = {"distance": float(metric(u, seen(fresh)))}
    found |= {"floor": float(metric(seen(other), seen(fresh))), "chance": chance(QUICK, exact)}
    with contextlib.suppress(ValueError):
        density = run.log_prob((shift + scale * fresh).to(x)).double() + 2 * np.log(scale)
        found["kl"] = float((log_prob(data, case, fresh) - density).mean())
    return {name: round(value, 5) if value < 1e9 else 1e9 for name, value in found.items()}


def without_outlier(u: Tensor, row: Tensor) -> Tensor:
    """Samples but for those at the outlier: it is one of the rows, though none of the law's."""
    there = (u - row).abs().amax(1) < 1
    return u[~there] if int(there.sum()) <= DRAWN else u


def outcome(row: dict[str, Any]) -> str:
    """One of `OUTCOMES`."""
    rings, poor = bool(rung(row)), alarms.worst(row.get("scores", {})) == "poor"
    if not row["scored"]:
        said = row["line"] and not row["line"].startswith("Traceback")
        return "refused or stopped" if row["code"] in (1, 2) and said else "TRACEBACK"
    kl, distance, floor = row.get("kl", 0.0), row["distance"], row["floor"]
    wrong = not (abs(kl) <= FAR and distance <= max(FARTHER * floor, row["chance"]))
    good = abs(kl) <= NEAR and distance <= max(FARTHER * floor / 2, row["chance"])
    if wrong:
        return "SILENTLY WRONG" if not rings else "rings, wrong" if poor else "remarks, wrong"
    if poor:
        return "FALSE ALARM" if good else "rings, between"
    return "right" if good else "between"


OUTCOMES = (
    *("right", "between", "rings, between", "rings, wrong", "refused or stopped"),
    *("remarks, wrong", "FALSE ALARM", "SILENTLY WRONG", "TRACEBACK"),
)
"""Without an alarm of the grade poor, and with one; remarks are alarms of the grade fair."""


def printed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The tables by case and by scheme, then every row that is not as it should be."""
    for key, names in {"case": CASES, "scheme": SCHEMES}.items():
        counts = {n: Counter(outcome(r) for r in rows if r[key] == n) for n in names}
        lines = ([n, *(counts[n][o] for o in OUTCOMES), counts[n].total()] for n in names)
        yield table([key, *OUTCOMES, "runs"], lines)
    for row in rows:
        if outcome(row) in OUTCOMES[-4:]:
            where = " · ".join(str(row[key]) for key in ("data", "case", "scheme", "seed"))
            numbers = {key: row.get(key) for key in ("kl", "distance", "floor", "chance", "line")}
            yield f"{outcome(row)}: {where}: {numbers} {rung(row)}"


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", nargs="*", default=list(TOYS))
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--schemes", nargs="*", default=list(SCHEMES))
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/silent.jsonl"))
    parser.add_argument("--at-most", type=float, default=float("inf"), help="seconds, then stop")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    evaluate.POINTS, finish.SAVED = FRESH, FRESH
    end = time.monotonic() + asked.at_most
    cases = [
        {"data": data, "case": case, "scheme": scheme, "seed": seed}
        for seed in range(asked.seeds)
        for data in asked.data
        for scheme in asked.schemes
        for case in asked.cases
    ]
    random.Random(0).shuffle(cases)
    timely = (case for case in cases if time.monotonic() < end)
    print("\n\n".join(printed(measured(asked.rows, timely, measure))))


if __name__ == "__main__":
    main()
