"""CPU seconds of learning until the relative entropy of a density in the plane is below levels.

`wgflow.likelihood.quadrature.kl` of the running average, as both libraries keep one, on 240×240
nodes over [-6, 6]², target and model normalised there. The clock counts learning alone: it stands
while the density is looked at, every few steps. WGFlow learns by its defaults unless settings say
otherwise, ebmkit by the recipe of its energy discrepancy; see `benchmarks.peers`.
"""

import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from wgflow.config.recipes import configure
from wgflow.data.toys import TOYS
from wgflow.energies.base import Energy, Rescaled
from wgflow.likelihood.quadrature import Grid, kl, log_density
from wgflow.training.learner import Learner

SETS = ("moons", "eight-gaussians", "checkerboard")
LEVELS = (0.2, 0.1, 0.05, 0.02, 0.01)
NODES = Grid.box([-6.0, -6.0], [6.0, 6.0], 240, dtype=torch.float32)
LOOK, LOOK_ED = 5, 50
"""Learning steps between two looks: about half a second."""

Course = Iterator[Energy]
"""The running average in the units of the data, after every so many steps."""

Learn = Callable[[str, int], Course]
"""Of a set, with a seed."""


def flow(data: str, seed: int, settings: Sequence[str] = ()) -> Course:
    """WGFlow as ``wgflow train`` learns the set, but for settings ``key=value``."""
    learner = Learner.build(configure(data, None, f"seed={seed}", *settings))
    steps, dataset = learner.steps(learner.start()), learner.dataset
    for number in range(1, learner.config.training.steps + 1):
        next(steps)
        if number % LOOK == 0:
            yield Rescaled(learner.average.module, dataset.shift, dataset.scale)


def energy_discrepancy(data: str, seed: int) -> Course:
    """ebmkit's, as `benchmarks.peers.EbmkitEnergyDiscrepancy` trains it."""
    import ebm

    from benchmarks.peers import EbmkitEnergyDiscrepancy

    recipe = EbmkitEnergyDiscrepancy()
    generator = torch.Generator().manual_seed(seed)
    points = TOYS[data]().sample(100_000, dtype=torch.float32, generator=generator)
    torch.manual_seed(seed)
    energy = ebm.nets.MLPEnergy(dim=2, hidden=(128, 128))
    loss: nn.Module = ebm.EnergyDiscrepancy(sigma=0.3, m_particles=16, w_stable=1.0)
    trainer = ebm.Trainer(energy, loss, lr=1e-3, ema_decay=0.999, device="cpu")
    for _ in range(recipe.iterations // LOOK_ED):
        trainer.fit(points, steps=LOOK_ED, batch_size=recipe.batch, verbose=False)
        yield trainer.ema.module


def course(learn: Learn, data: str, seed: int) -> tuple[dict[float, float], float, float]:
    """Seconds to each level that is reached, the lowest entropy seen, and all seconds."""
    target = TOYS[data]()
    exact = log_density(lambda x: -target.log_prob(x), NODES)
    reached: dict[float, float] = {}
    seconds, lowest, start = 0.0, math.inf, time.process_time()
    for energy in learn(data, seed):
        seconds += time.process_time() - start
        lowest = min(lowest, float(kl(exact, log_density(energy, NODES), NODES)))
        reached |= {level: seconds for level in LEVELS if lowest < level and level not in reached}
        start = time.process_time()
    return reached, lowest, seconds


def lines(
    sets: Sequence[str] = SETS, seed: int = 0, settings: Sequence[str] = ()
) -> Iterator[str]:
    """A line for each set and learner."""
    learners: dict[str, Learn] = {"WGFlow": partial(flow, settings=settings)}
    if importlib.util.find_spec("ebm"):
        learners["ebmkit energy discrepancy"] = energy_discrepancy
    yield f"{'KL below':<42}" + "".join(f"{level:>8g}" for level in LEVELS) + "  lowest     all"
    for data in sets:
        for name, learn in learners.items():
            reached, lowest, seconds = course(learn, data, seed)
            cells = (f"{reached[level]:.1f}" if level in reached else "–" for level in LEVELS)
            told = "".join(f"{cell:>8}" for cell in cells)
            yield f"{data:<16} {name:<25}{told}  {lowest:.4f} {seconds:7.1f}"
