"""Densities in the plane: WGFlow, its oracle, its baselines and its peers, in one run.

    python -m benchmarks.density2d                          # everything: hours
    python -m benchmarks.density2d --only wgflow --seeds 10
    python -m benchmarks.density2d --only oracle --seeds 3

One protocol for all. KL gap: mean of ``log p_d - log p_θ`` on 5000 fresh points, the model
normalised on 400×400 nodes over [-6, 6]². Sliced W2: 5000 fresh samples of the model against 5000
exact points, 1000 projections; its floor is the same number between two exact sets. CPU seconds
are of this process, on one thread, training alone. Each finished row is appended to a JSON-lines
file and is not repeated when the command is given again.

The oracle is the same network with the same optimiser, batches and number of updates (learning
steps times inner steps, of which WGFlow may take fewer when it loses trust), at a quarter of the
rate, but with the gradient of log Z by stratified quadrature over the plane (a fresh uniform
point in each of 160×160 cells): what no particles could improve on.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.peers import PEERS, diverged
from benchmarks.rows import measured, table
from wgflow.config import Config, Data, Training
from wgflow.config.recipes import configure
from wgflow.data.toys import TOYS
from wgflow.energies.base import Energy, Rescaled
from wgflow.energies.mlp import MLPSpec
from wgflow.likelihood.quadrature import Grid, kl_gap
from wgflow.metrics.samples import SlicedWasserstein
from wgflow.samplers import MALA
from wgflow.samplers.population import draw
from wgflow.schemes import GradientNorm, MaximumLikelihood, NearProximal, Population
from wgflow.training.learner import Learner
from wgflow.training.loop import descend

SETS = ("moons", "eight-gaussians", "checkerboard")
PROTOCOL = Grid.box([-6.0, -6.0], [6.0, 6.0], 400, dtype=torch.float32)
FRESH = 5000


class Trained(NamedTuple):
    """An energy in original units, a sampler of it, and the CPU seconds of its training."""

    energy: Energy
    sample: Callable[[int, int], Tensor]
    seconds: float


def flow(*settings: str) -> Callable[[str, int], Trained]:
    """WGFlow as ``wgflow train`` learns the set, but for settings."""
    return lambda data, seed: learned(configure(data, None, f"seed={seed}", *settings))


def learned(config: Config) -> Trained:
    """WGFlow with a configuration."""
    learner = Learner.build(config)
    start = time.process_time()
    carry = learner.start()
    steps = learner.steps(carry)
    for _ in range(learner.config.training.steps):
        carry = next(steps).carry
    seconds = time.process_time() - start
    energy, dataset = learner.average.module, learner.dataset

    def sample(count: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        u = draw(energy, carry.particles, count, MALA(), generator=generator)
        return dataset.unstandardise(u)

    return Trained(Rescaled(energy, dataset.shift, dataset.scale), sample, seconds)


def oracle(data: str, seed: int) -> Trained:
    """The default network by exact likelihood gradients: quadrature on 160×160 cells."""
    config = configure(data, None, f"seed={seed}")
    rate = config.training.learning_rate / 4
    learner = Learner.build(replace(config, training=replace(config.training, learning_rate=rate)))
    generator = torch.Generator().manual_seed(seed)
    grid = Grid.box([-6.0, -6.0], [6.0, 6.0], 160, dtype=torch.float32)
    start = time.process_time()
    for _ in range(learner.config.training.steps):
        batch = next(learner.batches)
        for _ in range(learner.config.scheme.inner_steps):
            # A new point in each cell every time: between fixed nodes the network hides mass.
            jitter = torch.rand(grid.nodes.shape, generator=generator) - 0.5
            nodes = grid.nodes + jitter * grid.volume**0.5
            values = learner.energy(torch.cat([batch, nodes]))
            loss = values[: len(batch)].mean() + torch.logsumexp(-values[len(batch) :], 0)
            descend(loss, learner.energy, learner.optimizer, None)
        learner.scheduler.step()
        learner.average.update_parameters(learner.energy)
    seconds = time.process_time() - start
    dataset = learner.dataset
    energy = Rescaled(learner.average.module, dataset.shift, dataset.scale)

    def sample(count: int, number: int) -> Tensor:
        # Exact up to the protocol's cells: a node by its mass, then uniform in its cell.
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            mass = torch.softmax(-energy(PROTOCOL.nodes), 0)
        index = torch.multinomial(mass, count, replacement=True, generator=generator)
        jitter = torch.rand(count, 2, generator=generator) - 0.5
        return PROTOCOL.nodes[index] + jitter * PROTOCOL.volume**0.5

    return Trained(energy, sample, seconds)


def variant(scheme: Any, steps: int) -> Callable[[str, int], Trained]:
    """Another scheme of ours, with as many learning steps as earlier defaults had CPU seconds."""
    training = Training(steps=steps, learning_rate=1e-3)
    changed = Config(energy=MLPSpec(frequency=4.0), scheme=scheme, training=training)
    return lambda data, seed: learned(replace(changed, seed=seed, data=Data(data)))


PERSISTENT = Population(reaction=False, global_moves=0, restart=0.05, steps=10, held_out=0)
JUMPING = Population(reaction=False, held_out=0)
ALONE = Population(global_moves=0, steps=3)
TWO = ("scheme.inner_steps=2", "training.steps=700")


def peer(name: str) -> Callable[[str, int], Trained]:
    """Another library at its own recommended settings, on as many points as WGFlow is given."""

    def train(data: str, seed: int) -> Trained:
        generator = torch.Generator().manual_seed(seed)
        points = TOYS[data]().sample(500_000, dtype=torch.float32, generator=generator)
        start = time.process_time()
        fitted = PEERS[name].train(points, seed=seed)
        seconds = time.process_time() - start
        return Trained(fitted.energy, lambda n, s: fitted.sample(n, seed=s), seconds)

    return train


COMPETITORS: dict[str, Callable[[str, int], Trained]] = {
    "wgflow": flow(),
    "wgflow with two inner steps": flow(*TWO),
    "wgflow with two inner steps, h = .001": flow(*TWO, "scheme.h=0.001"),
    "wgflow with AdamW": flow("training.optimizer=adamw", "training.learning_rate=0.004"),
    "wgflow with frequency 4": flow("energy.frequency=4.0"),
    "oracle": oracle,
    "PCD": variant(MaximumLikelihood(PERSISTENT), 480),
    "PCD, energies regularised": variant(MaximumLikelihood(PERSISTENT, 0.1), 480),
    "gradient norm": variant(GradientNorm(PERSISTENT), 480),
    "PCD with global moves": variant(MaximumLikelihood(JUMPING), 1100),
    "wgflow without global moves": variant(NearProximal(ALONE), 650),
    **{name: peer(name) for name in PEERS},
}


def score(trained: Trained, data: str, seed: int) -> dict[str, Any]:
    """The protocol's numbers for one trained energy."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    target = TOYS[data]()
    test, exact = (target.sample(FRESH, dtype=torch.float32, generator=generator) for _ in "ab")
    distance = SlicedWasserstein()
    samples = trained.sample(FRESH, seed)
    with torch.no_grad():
        values = trained.energy(test)
        gap = float(kl_gap(trained.energy, target.log_prob, test, PROTOCOL).value)
        finite = samples.isfinite().all()
        w2 = float(distance(samples, test)) if finite else float("nan")
        floor = float(distance(exact, test))
    return {
        "kl": gap,
        "sliced_w2": w2,
        "floor": floor,
        "seconds": trained.seconds,
        "diverged": diverged(values, samples, gap),
    }


def measure(name: str, data: str, seed: int) -> dict[str, Any]:
    """Train and score one competitor; a row."""
    try:
        return score(COMPETITORS[name](data, seed), data, seed)
    except (FloatingPointError, ValueError) as error:
        return {"diverged": True, "error": str(error)}


COLUMNS = (
    *("competitor", "data", "seeds", "KL gap median (worst)", "sliced W2 (floor)"),
    *("W2/floor", "CPU s", "diverged"),
)


def summary(name: str, data: str, group: list[dict[str, Any]]) -> list[object]:
    """Medians over seeds, worst KL, sliced W2 over its floor, CPU seconds, diverged seeds."""
    good = [r for r in group if not r["diverged"]]
    lost = len(group) - len(good)
    if not good:
        return [name, data, len(group), *"––––", lost]
    kl, w2, floor, seconds = (
        [r[key] for r in good] for key in ("kl", "sliced_w2", "floor", "seconds")
    )
    ratio = statistics.median(a / b for a, b in zip(w2, floor, strict=True))
    middle = statistics.median
    gap = f"{middle(kl):.4f} ({max(kl):.4f})"
    distance = f"{middle(w2):.3f} ({middle(floor):.3f})"
    cost = f"{middle(seconds):.0f}"
    return [name, data, len(group), gap, distance, f"{ratio:.2f}", cost, lost]


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(COMPETITORS), help="competitors by name")
    parser.add_argument("--data", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/density2d.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cases = (
        {"name": name, "data": data, "seed": seed}
        for seed in range(arguments.seeds)
        for data in arguments.data
        for name in arguments.only
    )
    found = measured(arguments.rows, cases, measure)
    groups = {
        (name, data): [r for r in found if (r["name"], r["data"]) == (name, data)]
        for name in COMPETITORS
        for data in SETS
    }
    print(table(COLUMNS, [summary(*key, group) for key, group in groups.items() if group]))


if __name__ == "__main__":
    main()
