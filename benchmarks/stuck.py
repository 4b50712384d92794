"""Does learning get stuck? Exact KL along the way: PCD, gradient norm and near-proximal.

    python -m benchmarks.stuck [--out docs/stuck.png]

Eight Gaussians, one network, one learning rate, one seed and about the same CPU time for all. PCD
and the gradient norm compare consecutive laws, with an unweighted population of ten MALA steps per
learning step; near-proximal has the settings of its class. KL is of the running average, by
quadrature. No health monitor watches here: a run that diverges is drawn as it does.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import torch

from benchmarks.density2d import PERSISTENT
from wgflow.config import Config, Training
from wgflow.energies.mlp import MLPSpec
from wgflow.plots import compared_curves, png
from wgflow.schemes import GradientNorm, MaximumLikelihood, Scheme
from wgflow.training.flat import by_quadrature
from wgflow.training.learner import Learner

SCHEMES: dict[str, tuple[Scheme, int]] = {
    "PCD": (MaximumLikelihood(PERSISTENT), 480),
    "PCD, energies regularised": (MaximumLikelihood(PERSISTENT, 0.1), 480),
    "gradient norm": (GradientNorm(PERSISTENT), 480),
    "near-proximal (default)": (Config().scheme, Training().steps),
}


def learn(name: str, every: int = 20) -> list[dict[str, float]]:
    """KL every so many learning steps, printed as it goes; CPU seconds are of training alone."""
    scheme, steps = SCHEMES[name]
    training, energy = Training(steps=steps), MLPSpec(frequency=4.0)
    learner = Learner.build(Config(energy=energy, scheme=scheme, training=training))
    validate = by_quadrature(learner.dataset, torch.device("cpu"))
    run, seconds, records = learner.steps(learner.start()), 0.0, []
    for done in range(every, steps + 1, every):
        start = time.process_time()
        for _ in islice(run, every):
            pass
        seconds += time.process_time() - start
        kl = validate(learner.energy, learner.average.module, None)["kl"]
        records.append({"step": done, "cpu_seconds": seconds, "kl": kl})
        print(f"{name}: step {done}, {seconds:.0f} CPU s, KL {kl:.4f}", flush=True)
    return records


def main() -> None:
    """Learn by every scheme, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/stuck.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found = {name: learn(name) for name in SCHEMES}
    arguments.out.write_bytes(png(compared_curves(found)))


if __name__ == "__main__":
    main()
