"""The flow as numerics: densities along the Wasserstein gradient flow of ``KL(ρ‖e^{-V}/Z)``.

    pip install .[benchmarks]
    python -m benchmarks.flow                                # what is missing, then the tables
    python -m benchmarks.flow --only stack --dims 2 12 32

Particles start at a Gaussian and move by `wgflow.samplers.diffuse`, which knows V and no law, with
noise that is matched: where ∇V is linear, their first two moments have no error of sampling. A
learner gets them at a time t and makes a density of them. Two problems, whose laws are known:

- ``ou``, Ornstein-Uhlenbeck to a Gaussian of a random covariance, at t = .1, .5 and 1. The score
  is against the law at t.
- ``mixture``, from N(0, 16 I) to 5 (d < 8) or 10 Gaussians of unit covariance, equal weights and
  means uniform in [-5, 5]^d, at T = 4. The score is against the mixture, *where the flow is not
  yet*: the modes have other masses than in the end. So the divergence is shown too of the same
  Gaussians with the masses that the particles have.

The score is the symmetric KL, ``KL(p‖q) + KL(q‖p)``, of the law p and the learned density q. With
``r = log p - log q`` it is the mean of ``2 r tanh(r/2)`` over draws of both, half of each: never
negative, without heavy tails, and an error of log Z enters squared. CPU seconds are of this
process, on one thread: of moving the particles up to t, and of learning. Finished rows are kept in
a JSON-lines file, as those of `benchmarks.tables` are.
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.flow_learners import LEARNERS, Density
from benchmarks.flow_problems import PROBLEMS, Problem
from benchmarks.flow_shown import shown
from benchmarks.rows import measured
from wgflow.samplers.diffusion import diffuse, uncorrelated

PARTICLES = 25_000
"""Of which a fifth is for the choices of a learner."""

DRAWS = 10_000
"""Of each of the two laws, for the divergence."""

STEP = 0.02


def symmetric_kl(p: Density, q: Density, draws: int, seed: int) -> tuple[float, float]:
    """``KL(p‖q) + KL(q‖p)`` of normalised densities, and its standard error."""
    halves = []
    for law, number in ((p, seed), (q, seed + 1)):
        x = law.sample(draws, number)
        r = p.log_prob(x) - q.log_prob(x)
        halves.append(2 * r * torch.tanh(r / 2))
    error = torch.stack([half.var() for half in halves]).sum().sqrt() / 2 / draws**0.5
    return float(torch.stack(halves).mean()), float(error)


def particles(problem: Problem, at: float, seed: int) -> tuple[Tensor, float]:
    """Particles of the flow at a time, (n, d), and the CPU seconds that they took.

    The start has exact moments, and noise is not correlated with particles.
    """
    generator = torch.Generator().manual_seed(seed)
    clock = time.process_time()
    start = problem.start
    noise = torch.randn(PARTICLES, start.dim, dtype=torch.float64, generator=generator)
    x = start.mean + uncorrelated(noise, noise[:, :0]) @ start.factor.T
    x = diffuse(problem.target, x, at, STEP, matched=True, generator=generator)
    return x, time.process_time() - clock


def measure(name: str, problem: str, d: int, t: float, seed: int, folder: Path) -> dict[str, Any]:
    """Move, learn and score; the rest of a row."""
    given = PROBLEMS[problem](d, 100 * d + seed)
    x, moving = particles(given, t, seed)
    clock = time.process_time()
    learned = LEARNERS[name](x, seed, folder)
    learning = time.process_time() - clock
    value, error = symmetric_kl(given.law(t), learned, DRAWS, 7 + seed)
    told = {"particles": len(x), "moving": moving, "seconds": moving + learning}
    return {**told, "kl": value, "error": error, **given.beside(x, t, STEP), **learned.told}


def cases(problem: str, names: Iterable[str], seeds: int) -> Iterator[dict[str, Any]]:
    """The keys of the rows. The residual network learns at the last time alone."""
    kind = PROBLEMS[problem]
    for name, seed in product(names, range(seeds)):
        times = kind.times[-1:] if name == "residual" else kind.times
        for t, d in product(reversed(times), kind.dims):
            yield {"name": name, "problem": problem, "d": d, "t": t, "seed": seed}


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(LEARNERS), choices=LEARNERS)
    known = list(PROBLEMS)
    parser.add_argument("--problems", nargs="*", default=known, choices=known)
    parser.add_argument("--dims", nargs="*", type=int, help="of these dimensions alone")
    parser.add_argument("--times", nargs="*", type=float, help="at these times alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("runs/flow"), help="runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/flow.jsonl"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    every = [case for problem in a.problems for case in cases(problem, a.only, a.seeds)]
    every = [c for c in every if a.dims is None or c["d"] in a.dims]
    todo = [c for c in every if a.times is None or c["t"] in a.times]
    with threadpool_limits(1), Progress(console=Console(stderr=True)) as bar:
        tracked = bar.track(todo, description="rows")
        rows = measured(a.out, tracked, lambda **case: measure(**case, folder=a.data))
    print(shown(rows))


if __name__ == "__main__":
    main()
