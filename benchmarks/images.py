"""Images from one scalar energy: WGFlow, energy matching and a peer, with the same CPU seconds.

    python -m benchmarks.images --minutes 60                      # MNIST and Fashion-MNIST
    python -m benchmarks.images --minutes 15 --data mnist --only wgflow "energy matching"

Each competitor trains for the given CPU minutes on one thread, at its own settings, then draws
samples from noise. Scores are Fréchet and kernel distances to test images in the features of a
classifier trained on the labels of the data set, beside their floors, what as many other real
images score. Evaluations are gradients of the energy per sample. Finished rows are appended to a
JSON-lines file and not repeated; grids of samples are written beside it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import measured, table
from wgflow.architectures import ImageUNet
from wgflow.config import Config, Data, Training
from wgflow.data import load as load_data
from wgflow.evaluation import classifier_of
from wgflow.fidelity import fidelity
from wgflow.learning import MIXED, Learner
from wgflow.output import write_images
from wgflow.samplers import ULA
from wgflow.sampling import follow
from wgflow.schemes import EnergyMatching, Joint, NearProximal, Population, Scheme

SETS = ("mnist", "fashion-mnist")
MATCHING = EnergyMatching()
PARTICLES = Population(
    ULA(0.02 * MATCHING.temperature),
    steps=10,
    size=64,
    held_out=0,
    reaction=False,
    global_moves=0,
    settle=150,
)
EQUILIBRIUM = Joint(MATCHING, NearProximal(PARTICLES))
TRAINING = Training(batch_size=96, betas=(0.9, 0.95), warmup=100, average=0.999, clip=500.0)
TRIAL = 8
"""Learning steps that are timed to know how many the budget allows."""


class Trained(NamedTuple):
    """A sampler of images in [0, 1], its gradients per sample; CPU seconds and learning steps."""

    sample: Callable[[int, int], Tensor]
    evaluations: int
    seconds: float
    steps: int


def config(data: str, seed: int, scheme: Scheme[Any], **training: Any) -> Config:
    """The image settings: those of experiments/mnist.toml."""
    smoothing = 0.0 if isinstance(scheme, EnergyMatching) else 0.05
    return Config(
        seed=seed,
        dtype=MIXED,
        data=Data(data, smoothing=smoothing),
        energy=ImageUNet(),
        scheme=scheme,
        training=replace(TRAINING, **training),
    )


def learn(settings: Config, seconds: float, begin: Learner | None = None) -> tuple[Learner, int]:
    """A learner after about so many CPU seconds, the whole schedule in them."""
    start = time.process_time()
    learner = begun(settings, begin)
    steps = learner.steps(learner.start())
    setup = time.process_time() - start
    for _ in range(TRIAL):
        next(steps)
    each = (time.process_time() - start - setup) / TRIAL
    count = max(1, int((seconds - 2 * setup) / each) - TRIAL)
    learner = begun(replace(settings, training=replace(settings.training, steps=count)), begin)
    steps = learner.steps(learner.start())
    for done in range(1, count + 1):
        step = next(steps)
        if done % 100 == 0:
            shown = {k: round(float(v), 3) for k, v in step.metrics.items()}
            print(f"  step {done}/{count} {shown}", flush=True)
    return learner, count


def begun(settings: Config, begin: Learner | None) -> Learner:
    """A learner that begins with the averaged energy of another."""
    learner = Learner.build(settings)
    if begin is not None:
        for module in (learner.energy, learner.average.module):
            module.load_state_dict(begin.average.module.state_dict())
    return learner


def drawer(learner: Learner, **path: Any) -> Callable[[int, int], Tensor]:
    """Samples that follow the averaged energy from noise, in [0, 1]."""
    dataset, energy = learner.dataset, learner.average.module

    def sample(count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, *dataset.event_shape, generator=generator)
        u = follow(energy, x, temperature=MATCHING.temperature, generator=generator, **path)
        return dataset.unstandardise(u).clamp(0, 1)

    return sample


def wgflow(data: str, seed: int, seconds: float) -> Trained:
    """Transport to wells at the data, then transport and equilibrium together."""
    start = time.process_time()
    first, a = learn(config(data, seed, MATCHING), 0.6 * seconds)
    left = seconds - (time.process_time() - start)
    second = config(data, seed, EQUILIBRIUM, learning_rate=5e-5, batch_size=64)
    learner, b = learn(second, left, first)
    spent = time.process_time() - start
    return Trained(drawer(learner, time=2.0, steps=80), 80, spent, a + b)


def transport(cutoff: float) -> Callable[[str, int, float], Trained]:
    """The transport phase alone; with cutoff one, energy matching as published."""

    def train(data: str, seed: int, seconds: float) -> Trained:
        start = time.process_time()
        learner, steps = learn(config(data, seed, replace(MATCHING, cutoff=cutoff)), seconds)
        spent = time.process_time() - start
        # Without wells the path goes on past the data: a little past one it is crispest.
        path = {"time": 2.0, "steps": 80} if cutoff < 1 else {"time": 1.2, "steps": 80}
        return Trained(drawer(learner, **path), 80, spent, steps)

    return train


def ebmkit(data: str, seed: int, seconds: float) -> Trained:
    """Persistent contrastive divergence of ebmkit 0.16.0: examples/train_mnist.py.

    A convolutional energy (32, 64, 128), 60 steps of a large, cold, clipped Langevin chain on a
    buffer of 10,000, 5 % of it new; energy regularisation 1, Adam at 1e-4, weights averaged with
    decay .999, batches of 128; samples by 300 such steps from uniform noise. All the library's.
    """
    import ebm

    torch.manual_seed(seed)
    x = 2 * load_data(data).train[:] - 1

    def uniform(shape):
        return torch.rand(shape) * 2 - 1

    sampler = ebm.LangevinDynamics(
        step_size=10.0, noise_scale=0.005, grad_clip=0.01, steps=60, clamp=(-1, 1)
    )
    buffer = ebm.ReplayBuffer(10_000, (1, 28, 28), reinit_prob=0.05, init_fn=uniform)
    loss = ebm.ContrastiveDivergence(sampler, buffer=buffer, energy_reg=1.0)
    energy = ebm.nets.ConvEnergy(in_channels=1, channels=(32, 64, 128))
    trainer = ebm.Trainer(energy, loss, lr=1e-4, ema_decay=0.999, device="cpu")
    start, steps = time.process_time(), 0
    while time.process_time() - start < seconds and steps < 8000:  # its own number of steps
        trainer.fit(x, steps=20, batch_size=128, verbose=False)
        steps += 20
    spent = time.process_time() - start
    model = trainer.ema.module.eval()

    def sample(count: int, number: int) -> Tensor:
        torch.manual_seed(number)
        parts = uniform((count, 1, 28, 28)).split(256)
        drawn = [sampler.sample(model, part, steps=300) for part in parts]
        return ((torch.cat(drawn) + 1) / 2).clamp(0, 1).detach()

    return Trained(sample, 300, spent, steps)


COMPETITORS: dict[str, Callable[[str, int, float], Trained]] = {
    "wgflow": wgflow,
    "wgflow, transport alone": transport(MATCHING.cutoff),
    "energy matching": transport(1.0),
    "ebmkit PCD": ebmkit,
}


def measure(name: str, data: str, seed: int, minutes: float, count: int, folder: Path) -> Any:
    """Train, draw, score one competitor: the rest of its row."""
    dataset = load_data(data)
    trained = COMPETITORS[name](data, seed, 60 * minutes)
    x = trained.sample(count, 1000 + seed)
    stem = f"{data}-{name.replace(' ', '-').replace(',', '')}-{minutes:g}-{seed}"
    np.save(folder / f"{stem}.npy", (255 * x[:500]).round().to(torch.uint8).numpy())
    write_images(folder / f"{stem}.png", x[:100].numpy())
    scores = fidelity(x, dataset.test, classifier_of(dataset), seed=seed)
    return {
        "samples": count,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "evaluations": trained.evaluations,
        **scores,
    }


COLUMNS = (
    *("competitor", "data", "CPU min", "steps", "evaluations", "Fréchet (floor)"),
    *("kernel ± error (floor)", "precision", "recall", "coverage"),
)


def line(r: dict[str, Any]) -> list[object]:
    """What the table shows of a row."""
    frechet = f"{r['frechet']:.1f} ({r['frechet_floor']:.1f})"
    kernel = f"{r['kernel']:.3f} ± {r['kernel_error']:.3f} ({r['kernel_floor']:.3f})"
    overlap = [f"{r[name]:.2f}" for name in ("precision", "recall", "coverage")]
    cost = [f"{r['seconds'] / 60:.0f}", r["steps"], r["evaluations"]]
    return [r["name"], r["data"], *cost, frechet, kernel, *overlap]


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(COMPETITORS), help="competitors by name")
    parser.add_argument("--data", nargs="*", default=list(SETS))
    parser.add_argument("--minutes", type=float, default=60, help="CPU minutes of training")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/images.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("runs/images"), help="sample grids")
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    a.out.mkdir(parents=True, exist_ok=True)
    cases = (
        {"name": name, "data": data, "seed": a.seed, "minutes": a.minutes}
        for data in a.data
        for name in a.only
    )
    found = measured(a.rows, cases, partial(measure, count=a.samples, folder=a.out))
    print(table(COLUMNS, map(line, found)))


if __name__ == "__main__":
    main()
