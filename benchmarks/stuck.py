"""Does learning get stuck? Exact KL along the way: PCD, gradient norm and near-proximal.

    python -m benchmarks.stuck [--out docs/stuck.png]

Eight Gaussians, one network, one learning rate and about the same CPU time for all three. PCD and
the gradient norm compare consecutive laws with an unweighted population of ten MALA steps per
learning step; near-proximal is the default. KL is that of the running average of the energy, by
quadrature; a rollback of the health monitor is drawn as it happened, and a run that the monitor
gives up is drawn as far as it came.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.density2d import PERSISTENT
from wgflow import folder
from wgflow.config import Config, Training
from wgflow.plots import compared_curves, png
from wgflow.run import Diverged, fit
from wgflow.schemes import GradientNorm, MaximumLikelihood, Scheme

SCHEMES: dict[str, tuple[Scheme, int]] = {
    "PCD": (MaximumLikelihood(PERSISTENT), 480),
    "PCD, energies regularised": (MaximumLikelihood(PERSISTENT, 0.1), 480),
    "gradient norm": (GradientNorm(PERSISTENT), 480),
    "near-proximal (default)": (Config().scheme, Training().steps),
}


def learn(name: str, path: Path) -> list[dict]:
    """The metrics of one run, printed as it goes."""
    scheme, steps = SCHEMES[name]
    training = replace(Training(), steps=steps, evaluate_every=20)
    try:
        fit(replace(Config(), scheme=scheme, training=training), path)
    except Diverged as error:
        print(f"{name}: {error}")
    records = folder.read_lines(path / folder.METRICS)
    for record in records:
        if "kl" in record and record["step"] % 60 == 0:
            print(f"{name}: step {record['step']}, KL {record['kl']:.4f}", flush=True)
    events = folder.read_lines(path / folder.EVENTS)
    print(f"{name}: {len(events)} events of the health monitor {[e['name'] for e in events]}")
    return records


def main() -> None:
    """Learn all three and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/stuck.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: learn(name, Path(scratch) / name) for name in SCHEMES}
    arguments.out.write_bytes(png(compared_curves(found)))


if __name__ == "__main__":
    main()
